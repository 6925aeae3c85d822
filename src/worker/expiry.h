/*
 * expiry.h
 *		Queued messages whose time is over.
 */
#ifndef SMS3300_WORKER_EXPIRY_H
#define SMS3300_WORKER_EXPIRY_H

#include "datatype/timestamp.h"

/* Changed by expiry.c only. */
typedef struct Expiry
{
	TimestampTz next;			/* when the next message expires; DT_NOEND: never */
	TimestampTz not_before;		/* left alone until then */
} Expiry;

extern void expiry_init(Expiry *expiry);

/* When there is something to expire; DT_NOEND: never. */
extern TimestampTz expiry_next(const Expiry *expiry);

/* Note that a message expires at a time. */
extern void expiry_expect(Expiry *expiry, TimestampTz when);

/* In a transaction: find out when there is, by what is in the table. */
extern void expiry_look(Expiry *expiry);

/*
 * Expire what is due, in a transaction of its own; where that fails, one message
 * a transaction, some at a time and in the end with triggers off.
 */
extern void expiry_run(Expiry *expiry);

/* Forget what was to be waited for: the clock was set back. */
extern void expiry_set_back(Expiry *expiry, TimestampTz now);

#endif							/* SMS3300_WORKER_EXPIRY_H */
