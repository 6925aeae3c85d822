/*
 * orphans.h
 *		The rows that a former worker left in the state 'sending'.
 */
#ifndef SMS3300_OUTBOX_ORPHANS_H
#define SMS3300_OUTBOX_ORPHANS_H

#include "nodes/pg_list.h"

#include "outbox/candidates.h"

/* A row in the state 'sending'. */
typedef struct Orphan
{
	int64		id;
	char	   *account;
	int			attempts;
	TimestampTz started_at;
} Orphan;

/* How far the queue was searched, in the order of its index.  All zero: not at all. */
typedef struct OrphansPlace
{
	NameData	account;
	int			priority;
	QueuePlace	at;
	bool		ended;			/* it was searched to its end */
} OrphansPlace;

/*
 * Return the rows that are being sent among the next few of the queue, and move the place
 * behind those.  For the worker, between outbox_open() and outbox_close().
 */
extern List *outbox_orphans(OrphansPlace *place);

#endif							/* SMS3300_OUTBOX_ORPHANS_H */
