/*
 * round.h
 *		The worker's work on the table: results and claims in one transaction.
 */
#ifndef SMS3300_ROUND_H
#define SMS3300_ROUND_H

#include <signal.h>

#include "http.h"
#include "job.h"

/* What a worker has under way. */
typedef struct Work
{
	Http	   *http;
	dlist_head	finished;		/* jobs whose result is to be recorded */
	int			in_flight;
	bool		orphans;		/* rows of a former worker are to be looked for */
	bool		look;			/* something changed in the table or the accounts */
	TimestampTz look_from;		/* nothing new in the table is due before */
	bool		prepared;		/* prepared transactions may hold messages */
	bool		stopping;		/* record, but claim nothing */
	bool		outdated;		/* likewise: the extension is newer than this library */
	TimestampTz poll_at;		/* when to look after prepared transactions */
	TimestampTz next_expiry;
	TimestampTz expire_not_before;
	TimestampTz retry_at;		/* after a failure: no transaction before this */
	int			failures;		/* in a row */
} Work;

/* Whether a transaction is being committed, which a cancel must not cut short. */
extern volatile sig_atomic_t work_committing;

extern void work_add_finished(Work *work, Job *job);
extern bool work_is_wanted(Work *work, TimestampTz now);
extern TimestampTz work_next_event(Work *work, TimestampTz now);
extern bool work_round(Work *work);
extern void work_set_back(Work *work, TimestampTz now);

#endif							/* SMS3300_ROUND_H */
