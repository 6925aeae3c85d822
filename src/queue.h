/*
 * queue.h
 *		The worker's statements on sms_outbox.
 */
#ifndef SMS3300_QUEUE_H
#define SMS3300_QUEUE_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "storage/itemptr.h"

/* An orphan: a row that a former worker left in the state 'sending'. */
typedef struct QueueOrphan
{
	int64		id;
	char	   *account;
	int			attempts;
	TimestampTz started_at;
} QueueOrphan;

/* A place among messages in the order of a time, when they are due or were finished. */
typedef struct QueuePlace
{
	TimestampTz at;
	int64		id;
} QueuePlace;

/* A message that may be claimed. */
typedef struct QueueCandidate
{
	int64		id;
	ItemPointerData place;		/* of its row, when it was found */
	int			priority;
	TimestampTz due_at;
} QueueCandidate;

/* Priorities are 0 to 9. */
#define QUEUE_PRIORITIES 10

/* Whether the worker can work on the table in this transaction. */
typedef enum QueueAccess
{
	QUEUE_OPEN,
	QUEUE_NEWER,				/* open, but for more than results this library is too old */
	QUEUE_LOCKED,				/* somebody holds a lock on it: try again */
	QUEUE_MISSING				/* the extension is not in this database */
} QueueAccess;

/* For the worker, in a transaction of its own */
extern QueueAccess queue_open(bool cautiously);
extern void queue_close(void);
extern Oid	queue_namespace(void);
extern Oid	queue_table(void);
extern bool queue_has_after_triggers(void);
extern bool queue_is_direct(void);
extern int	queue_candidates(const char *account, const NameData *but, int nbut,
							 const QueuePlace *after, TimestampTz now, int skip, int limit,
							 QueueCandidate *candidates);
extern TimestampTz queue_next_due(const char *account, const NameData *but, int nbut,
								  const QueuePlace *after);
extern TimestampTz queue_next_expiry(void);
extern int	queue_expiring(TimestampTz now, const int64 *but, int nbut, int limit, int64 *ids);
extern List *queue_expire(TimestampTz now, const int64 *ids, int nids);
extern void queue_hurry(const char *account);
extern TimestampTz queue_oldest_finished(const char *account, bool with_text);
extern bool queue_remove(const char *account, bool only_text, bool redacted, TimestampTz until,
						 int limit, QueuePlace *place);
extern List *queue_orphans(void);
extern bool queue_has_foreign(void);
extern bool queue_has_prepared(void);

#endif							/* SMS3300_QUEUE_H */
