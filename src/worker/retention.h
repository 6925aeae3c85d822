/*
 * retention.h
 *		An account's finished messages, which are deleted or redacted when old.
 */
#ifndef SMS3300_WORKER_RETENTION_H
#define SMS3300_WORKER_RETENTION_H

#include "outbox/candidates.h"

/* Where a pass over the messages that are old enough has come to. */
typedef struct RetentionPass
{
	int			step;			/* which kind of messages */
	QueuePlace	place;			/* the last of them that was looked at */
} RetentionPass;

typedef struct Retention
{
	/* Of the account */
	int64		delete_after;	/* -1: never */
	int64		redact_after;	/* -1: never */

	TimestampTz tidy_at;		/* when there is something to do; DT_NOEND: never */
	TimestampTz not_before;		/* left alone until then */
	RetentionPass pass;
	RetentionPass ahead;		/* likewise, once the current transaction is committed */
	int			limit;			/* how many messages a transaction takes */
	bool		failed;			/* a message had to be passed over in this pass */
	bool		told;			/* the log says so */
} Retention;

/* Take what the account's options say (-1: none), and try again at once. */
extern void retention_configure(Retention *retention, int64 delete_after, int64 redact_after);

/* Note that a message was finished. */
extern void retention_recorded(Retention *retention, TimestampTz finished_at);

/* When there is something to do; DT_NOEND: never. */
extern TimestampTz retention_next(const Retention *retention);

/* Forget what was to be waited for: the clock was set back. */
extern void retention_set_back(Retention *retention, TimestampTz now);

/* In a transaction: find out when there is something to do, by what is in the table. */
extern void retention_look(Retention *retention, const char *account);

/* Delete and redact some of what is old enough, in a transaction of its own. */
extern void retention_run(Retention *retention, const char *account);

#endif							/* SMS3300_WORKER_RETENTION_H */
