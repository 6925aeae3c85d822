/*
 * round.h
 *		The worker's rounds on the table.
 */
#ifndef SMS3300_WORKER_ROUND_H
#define SMS3300_WORKER_ROUND_H

#include "worker/expiry.h"
#include "worker/queue.h"
#include "worker/recorder.h"
#include "worker/wire.h"

/* The state of a worker. */
typedef struct Worker
{
	Wire		wire;			/* claimed messages, until there is a reply */
	Recorder	recorder;		/* finished messages, until their result is recorded */
	Expiry		expiry;
	bool		stopping;		/* record, but claim nothing; written by worker.c */
	bool		aborted;		/* requests were ended; written by worker.c */

	/* Written by round.c only */
	bool		orphans;		/* rows of a previous worker may exist */
	bool		outdated;		/* record, but claim nothing: the extension is newer than this
								 * library, or the table has another name */
	TimestampTz moved_at;		/* when to see if it has its name again; DT_NOEND: it has */
	bool		look;			/* the table or the accounts have changed */
	QueueLook	look_at;		/* what is new there */
	bool		prepared;		/* prepared transactions may contain messages */
	TimestampTz poll_at;		/* time of the next check for prepared transactions */
	TimestampTz retry_at;		/* after a failure: no transaction before this */
	TimestampTz claim_at;		/* likewise: no claim before this */
	int			failures;		/* consecutive */
	int			careful;		/* rounds that still claim row by row */
	Batch		claims;			/* messages claimed by a transaction */
} Worker;

/*
 * Initialize a worker.  "orphans" tells whether a previous worker may have left rows
 * with status 'sending'.  Raises 58000 if libcurl or a system call fails.
 */
extern void round_init(Worker *worker, bool orphans);

/* Return whether there is work for a round. */
extern bool round_is_wanted(Worker *worker, TimestampTz now);

/* Return when there may be work without a notification; DT_NOEND: never. */
extern TimestampTz round_next_event(Worker *worker, TimestampTz now);

/* Return until when the worker must keep running; DT_NOEND: as long as it has active work. */
extern TimestampTz round_stay_until(Worker *worker, TimestampTz now);

/* Run a round.  Returns false if the extension no longer exists in this database. */
extern bool round_run(Worker *worker);

/* Discard waiting times, because the clock was set back from another time. */
extern void round_set_back(Worker *worker, TimestampTz now, TimestampTz former);

#endif							/* SMS3300_WORKER_ROUND_H */
