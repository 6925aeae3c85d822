/*
 * transaction.h
 *		One transaction of the worker: results, claims, and what else is due.
 */
#ifndef SMS3300_WORKER_TRANSACTION_H
#define SMS3300_WORKER_TRANSACTION_H

#include <signal.h>

#include "outbox/result.h"
#include "worker/job.h"
#include "worker/queue.h"
#include "worker/work.h"

/* The most that one transaction claims, or expires. */
#define BATCH_MAX_CLAIMS 1000

/* What one transaction is to do, and what it did. */
typedef struct Batch
{
	bool		look;
	bool		expire;
	AccountQueue *tidy;			/* whose history to tidy; NULL: none's */
	bool		triggers_off;
	bool		skip_locked;	/* leave results alone whose row is locked */
	Job		  **jobs;			/* to record */
	int			njobs;
	MessageResult *results;		/* of those jobs */
	int			limit;			/* how many to claim at the most */
	int64		ids[BATCH_MAX_CLAIMS];	/* to claim; taken from the queues if none are given */
	ItemPointerData places[BATCH_MAX_CLAIMS];	/* where those to claim were last seen */
	int			nids;
	dlist_head	claimed;		/* jobs */
	List	   *expired;		/* the account of each message that expired */
	int			sqlstate;		/* of the error, if it failed */
	const char *error;			/* likewise */
} Batch;

typedef enum BatchOutcome
{
	BATCH_DONE,
	BATCH_LOCKED,
	BATCH_MISSING,				/* the extension is not in this database */
	BATCH_FAILED
} BatchOutcome;

/* A row that is locked, or left alone, is tried again after this. */
#define LOCKED_ROW_DELAY USECS_PER_SEC

/* Whether a transaction is being committed, which a cancel must not cut short. */
extern volatile sig_atomic_t transaction_committing;

/* Whether the process is to end, because a trigger went on after it was cancelled. */
extern volatile sig_atomic_t transaction_overrun;

extern BatchOutcome transaction_run(Work *work, Batch *batch);
extern void transaction_count(const Batch *batch);
extern void transaction_settle(Work *work, Batch *batch);
extern void transaction_tell_error(const Batch *batch, const char *what);

#endif							/* SMS3300_WORKER_TRANSACTION_H */
