/*
 * recorder.h
 *		Record the results of finished jobs.
 */
#ifndef SMS3300_WORKER_RECORDER_H
#define SMS3300_WORKER_RECORDER_H

#include "outbox/orphans.h"
#include "worker/batch.h"
#include "worker/transaction.h"
#include "worker/wire.h"

/* A row that is locked or skipped is retried after this. */
#define LOCKED_ROW_DELAY USECS_PER_SEC

/* The finished jobs.  Written by recorder.c only. */
typedef struct Recorder
{
	dlist_head	jobs;
	Batch		batch;
	OrphansPlace searched;		/* how far the queue was searched for orphans */
	bool		found_orphans;
} Recorder;

/* The results that a transaction records. */
typedef struct Recording
{
	Job		  **jobs;
	int			njobs;
	bool		skip_locked;	/* skip results whose row is locked */
	bool		careful;		/* write one after the other, to see which one fails */
	int			at;				/* careful: which of them is being written; -1: none */
	MessageResult *results;		/* of the jobs, once written */
} Recording;

extern void recorder_init(Recorder *recorder);
extern bool recorder_is_empty(Recorder *recorder);

/* Take over a finished job. */
extern void recorder_add(Recorder *recorder, Job *job);

/* Return when the next result can be recorded; DT_NOEND: there is none. */
extern TimestampTz recorder_next(Recorder *recorder);

/*
 * Return when the first of the messages expires that were queued again since the last
 * call; DT_NOEND: none was.
 */
extern TimestampTz recorder_take_expiry(void);

/* Discard waiting times, because the clock was set back. */
extern void recorder_set_back(Recorder *recorder, TimestampTz now);

/*
 * Return the results that may be recorded now, with "all" also the others; no more than
 * a transaction has time for, and none that has failed by itself.  A recording is
 * allocated in the current memory context.
 */
extern Recording recorder_due(Recorder *recorder, TimestampTz now, bool all, bool careful);

/* Write the results, as many as there is time for.  Needs a transaction. */
extern void recording_write(Recorder *recorder, Recording *recording);

/* Return whether the current transaction has written the result of a job. */
extern bool recording_has(const Recording *recording, const Job *job);

/*
 * Count and release the recorded jobs after the commit.  The other jobs stay with
 * the recorder, and those with a locked row are delayed.
 */
extern void recording_settle(Recording *recording, Wire *wire);

/*
 * See to the results after the transaction of a careful recording failed for one of
 * them: record those before it, and that one with triggers disabled, if the error may
 * be a trigger's.  If that fails, it is retried later.
 */
extern void recorder_record_anyway(Recorder *recorder, const Recording *failed,
								   const TransactionError *error, Wire *wire);

/* Record a result whose update a trigger suppressed, with triggers disabled. */
extern void recorder_insist(Recorder *recorder, Job *job, Wire *wire);

/* Retry results that failed by themselves, each in its own transaction, if they are due. */
extern void recorder_retry(Recorder *recorder, TimestampTz now, bool all, Wire *wire);

/*
 * Take over rows that a previous worker left with status 'sending', in a separate
 * transaction that searches a part of the queue; the first one before the first claim.
 * Nothing is left once recorder->searched.ended.
 */
extern TransactionOutcome recorder_find_orphans(Recorder *recorder);

#endif							/* SMS3300_WORKER_RECORDER_H */
