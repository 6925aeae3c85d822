/*
 * round.h
 *		The worker's work on the table, from round to round.
 */
#ifndef SMS3300_WORKER_ROUND_H
#define SMS3300_WORKER_ROUND_H

#include "worker/expiry.h"
#include "worker/recorder.h"
#include "worker/wire.h"

/* What a worker knows, and has under way. */
typedef struct Worker
{
	Wire		wire;			/* messages that were claimed, until there is a reply */
	Recorder	recorder;		/* and from then on until it is recorded */
	Expiry		expiry;
	bool		stopping;		/* worker.c's: record, but claim nothing */

	/* Changed by round.c only */
	bool		orphans;		/* rows of a former worker are to be looked for */
	bool		outdated;		/* record, but claim nothing: the extension is newer than this library */
	bool		look;			/* something changed in the table or the accounts */
	TimestampTz look_from;		/* nothing new in the table is due before */
	bool		prepared;		/* prepared transactions may hold messages */
	TimestampTz poll_at;		/* when to look after prepared transactions */
	TimestampTz retry_at;		/* after a failure: no transaction before this */
	int			failures;		/* in a row */
} Worker;

/*
 * Begin; "orphans" tells whether a former worker may have left rows as sending.
 * Error 58000 if the operating system or libcurl refuses.
 */
extern void round_init(Worker *worker, bool orphans);

/* Tell whether there is anything for a round to do. */
extern bool round_is_wanted(Worker *worker, TimestampTz now);

/* When there may be something to do without being told; DT_NOEND: never. */
extern TimestampTz round_next_event(Worker *worker, TimestampTz now);

/* Until when the worker has to stay; DT_NOEND: there is something under way. */
extern TimestampTz round_stay_until(Worker *worker, TimestampTz now);

/* Record and claim what can be.  False if the extension is no longer in this database. */
extern bool round_run(Worker *worker);

/* Forget what was to be waited for: the clock was set back. */
extern void round_set_back(Worker *worker, TimestampTz now);

#endif							/* SMS3300_WORKER_ROUND_H */
