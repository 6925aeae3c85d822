/*
 * expiry.h
 *		Expire queued messages whose send_before has passed.
 */
#ifndef SMS3300_WORKER_EXPIRY_H
#define SMS3300_WORKER_EXPIRY_H

#include "outbox/candidates.h"
#include "worker/batch.h"

/* Written by expiry.c only. */
typedef struct Expiry
{
	TimestampTz next;			/* when the next message behind the place expires; DT_NOEND: never */
	TimestampTz not_before;		/* no attempt before this */
	QueuePlace	place;			/* what expires before it has been seen to, or passed by */
	TimestampTz head_at;		/* when to try what was passed by; DT_NOEND: nothing was */
	int64		took;			/* time spent since the head, in microseconds */
	Batch		batch;
} Expiry;

extern void expiry_init(Expiry *expiry);

/* Return when the next message expires; DT_NOEND: never. */
extern TimestampTz expiry_next(const Expiry *expiry);

/* Record that a message expires at a time. */
extern void expiry_expect(Expiry *expiry, TimestampTz when);

/* Find out from the table when the next message expires.  Needs a transaction. */
extern void expiry_look(Expiry *expiry);

/*
 * Expire due messages in a transaction.  If it fails, the next call tries fewer of them;
 * a single one is expired with triggers disabled, or passed by.
 */
extern void expiry_run(Expiry *expiry);

/* Discard waiting times, because the clock was set back. */
extern void expiry_set_back(Expiry *expiry, TimestampTz now);

#endif							/* SMS3300_WORKER_EXPIRY_H */
