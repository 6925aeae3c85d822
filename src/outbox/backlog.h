/*
 * backlog.h
 *		What waits in sms_outbox, and what did not end well, for sms3300_problems.
 *
 * Each is found in an index, at a cost that does not depend on the history, and counted
 * up to a limit.  The table must be locked for reading: see locks.h.
 */
#ifndef SMS3300_OUTBOX_BACKLOG_H
#define SMS3300_OUTBOX_BACKLOG_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

/* Nothing is counted any further. */
#define BACKLOG_LIMIT 10000

/* Messages of an account, and of one of its senders where that matters. */
typedef struct Backlog
{
	char	   *account;
	char	   *sender;			/* NULL: of any */
	char	   *status;			/* NULL: queued */
	int64		n;
	TimestampTz since;			/* of the first: due, expires, or finished; 0: there is none */
	int64		id;				/* of one of them */
	TimestampTz last;			/* finished: when the last one was */
	char	   *reason;			/* of the last one that is unknown; NULL: none */
} Backlog;

/* Each returns a list of Backlog in the current memory context. */

/* The accounts that have anything queued, with their messages that are due. */
extern List *backlog_due(Oid namespace, TimestampTz now);

/* The senders of messages that are due, or have been put off: of the first ones of each account. */
extern List *backlog_senders(Oid namespace, TimestampTz now);

/* The queued messages that expire by a time, by account. */
extern List *backlog_expiring(Oid namespace, TimestampTz until);

/* What became unknown, or expired, after a time, by account and status. */
extern List *backlog_finished(Oid namespace, TimestampTz unknown_after, TimestampTz expired_after);

/* What is unfinished and was queued in another database, by account. */
extern List *backlog_foreign(Oid namespace);

#endif							/* SMS3300_OUTBOX_BACKLOG_H */
