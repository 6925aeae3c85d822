/*
 * retention.h
 *		Delete and redact the old finished messages of an account.
 */
#ifndef SMS3300_WORKER_RETENTION_H
#define SMS3300_WORKER_RETENTION_H

#include "outbox/candidates.h"
#include "worker/batch.h"

/* The position of a pass over the old messages. */
typedef struct RetentionPass
{
	int			step;			/* which kind of messages */
	QueuePlace	place;			/* the last message processed */
} RetentionPass;

typedef struct Retention
{
	/* Of the account */
	int64		delete_after;	/* -1: never */
	int64		redact_after;	/* -1: never */

	TimestampTz tidy_at;		/* when there is work; DT_NOEND: never */
	TimestampTz not_before;		/* no attempt before this */
	TimestampTz look_at;		/* no look for new messages before this */
	RetentionPass pass;
	RetentionPass ahead;		/* the position after the current transaction */
	Batch		batch;			/* messages per transaction */
	int			removed;		/* by the current one */
	bool		failed;			/* a message was skipped in this pass */
	bool		told;			/* and that was logged */
	bool		told_slow;		/* it was logged that it is slow */
} Retention;

/* Set the options of the account (-1: none), and retry at once. */
extern void retention_configure(Retention *retention, int64 delete_after, int64 redact_after);

/* Record that a message was finished. */
extern void retention_recorded(Retention *retention, TimestampTz finished_at);

/* Return when there is work; DT_NOEND: never. */
extern TimestampTz retention_next(const Retention *retention);

/*
 * Return a time before which no account has work, which changes of single accounts bring
 * forward; and set it to what was found out.
 */
extern TimestampTz retention_bound(void);
extern void retention_set_bound(TimestampTz next);

/* Discard waiting times, because the clock was set back. */
extern void retention_set_back(Retention *retention, TimestampTz now);

/* Find out from the table when there is work.  Needs a transaction. */
extern void retention_look(Retention *retention, const char *account);

/* The same, as there are new messages; not each time if it takes long. */
extern void retention_look_again(Retention *retention, const char *account, TimestampTz now);

/*
 * Delete and redact some old messages in a separate transaction of some 50 ms.  If the
 * worker is busy, leave most of the time to what else it does.
 */
extern void retention_run(Retention *retention, const char *account, bool busy);

#endif							/* SMS3300_WORKER_RETENTION_H */
