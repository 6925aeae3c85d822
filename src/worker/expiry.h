/*
 * expiry.h
 *		Expire queued messages whose send_before has passed.
 */
#ifndef SMS3300_WORKER_EXPIRY_H
#define SMS3300_WORKER_EXPIRY_H

#include "datatype/timestamp.h"

/* Written by expiry.c only. */
typedef struct Expiry
{
	TimestampTz next;			/* when the next message expires; DT_NOEND: never */
	TimestampTz not_before;		/* no attempt before this */
} Expiry;

extern void expiry_init(Expiry *expiry);

/* Return when the next message expires; DT_NOEND: never. */
extern TimestampTz expiry_next(const Expiry *expiry);

/* Record that a message expires at a time. */
extern void expiry_expect(Expiry *expiry, TimestampTz when);

/* Find out from the table when the next message expires.  Needs a transaction. */
extern void expiry_look(Expiry *expiry);

/*
 * Expire due messages in a transaction.  If it fails, expire some of them one by
 * one, as a last resort with triggers disabled.
 */
extern void expiry_run(Expiry *expiry);

/* Discard waiting times, because the clock was set back. */
extern void expiry_set_back(Expiry *expiry, TimestampTz now);

#endif							/* SMS3300_WORKER_EXPIRY_H */
