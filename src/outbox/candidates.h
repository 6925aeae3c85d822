/*
 * candidates.h
 *		The worker's statements on sms_outbox.
 */
#ifndef SMS3300_OUTBOX_CANDIDATES_H
#define SMS3300_OUTBOX_CANDIDATES_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

/* A place among messages in the order of a time: when they are due, expire or were finished. */
typedef struct QueuePlace
{
	TimestampTz at;
	int64		id;
} QueuePlace;

/* A message that may be claimed. */
typedef struct Candidate
{
	int64		id;
	int			priority;
	TimestampTz due_at;
	int			size;			/* bytes of its text */
	char	   *sender;			/* in memory of the caller; several may share it */
} Candidate;

/* Priorities are 0 to 9. */
#define NUM_PRIORITIES 10
#define MAX_PRIORITY (NUM_PRIORITIES - 1)

/* For the worker, between outbox_open() and outbox_close() */
extern int	outbox_candidates(const char *account, int least, const QueuePlace *after,
							  TimestampTz now, int limit, Candidate *candidates, TimestampTz *later);
extern List *outbox_waiting_accounts(void);
extern int	outbox_others(const char *account, const char *after, TimestampTz now, int senders,
						  int each, int limit, Candidate *candidates, char **last);
extern TimestampTz outbox_next_due(const char *account, int least, int most,
								   const QueuePlace *after);
extern TimestampTz outbox_next_expiry(QueuePlace after);
extern int	outbox_expiring(TimestampTz now, QueuePlace after, int limit, QueuePlace *expiring);
extern List *outbox_expire(TimestampTz now, const int64 *ids, int nids, TimestampTz refused_since,
						   TimestampTz refused_until);
extern int	outbox_hurry(const char *account, bool tried, int limit);
extern int	outbox_hurry_disbelieved(const char *account, TimestampTz until, int limit);
extern bool outbox_has_foreign(void);
extern bool outbox_has_prepared(void);

#endif							/* SMS3300_OUTBOX_CANDIDATES_H */
