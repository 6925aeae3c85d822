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
	int			careful;		/* recordings that still are */
	OrphansPlace searched;		/* how far the queue was searched for orphans */
	bool		found_orphans;
} Recorder;

/* The results that a transaction records. */
typedef struct Recording
{
	Job		  **jobs;
	int			njobs;
	bool		skip_locked;	/* skip results whose row is locked */
	bool		careful;		/* let a result that fails not concern the others */
	MessageResult *results;		/* of the jobs, once written */
	MemoryContext memory;		/* of what is being written */
	TransactionError *errors;	/* careful: why one failed by itself; no message: it did not */
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
extern Recording recorder_due(Recorder *recorder, TimestampTz now, bool all);

/* Let the next recordings be careful, because one failed. */
extern void recorder_be_careful(Recorder *recorder);

/* Write the results, as many as there is time for.  Needs a transaction. */
extern void recording_write(Recorder *recorder, Recording *recording);

/* Return whether the current transaction has written the result of a job. */
extern bool recording_has(const Recording *recording, const Job *job);

/*
 * Count and release the recorded jobs after the commit.  The other jobs stay with the
 * recorder, and those with a locked row, or that failed by themselves, are delayed.
 */
extern void recording_settle(Recording *recording, Wire *wire);

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
