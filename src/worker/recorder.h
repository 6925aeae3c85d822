/*
 * recorder.h
 *		Finished jobs, until their results are recorded.
 */
#ifndef SMS3300_WORKER_RECORDER_H
#define SMS3300_WORKER_RECORDER_H

#include "worker/transaction.h"
#include "worker/wire.h"

/* A row that is locked, or left alone, is tried again after this. */
#define LOCKED_ROW_DELAY USECS_PER_SEC

/* The finished jobs.  Changed by recorder.c only. */
typedef struct Recorder
{
	dlist_head	jobs;
} Recorder;

/* What one transaction records. */
typedef struct Recording
{
	Job		  **jobs;
	int			njobs;
	bool		skip_locked;	/* leave results alone whose row is locked */
	MessageResult *results;		/* of the jobs, once they are written */
} Recording;

extern void recorder_init(Recorder *recorder);
extern bool recorder_is_empty(Recorder *recorder);

/* Take a finished job over. */
extern void recorder_add(Recorder *recorder, Job *job);

/* When the next result can be recorded; DT_NOEND: there is none. */
extern TimestampTz recorder_next(Recorder *recorder);

/* Forget what was to be waited for: the clock was set back. */
extern void recorder_set_back(Recorder *recorder, TimestampTz now);

/*
 * The results that may be recorded by now; with "all", the others, too.  In memory
 * of the current context, like all of a recording.
 */
extern Recording recorder_due(Recorder *recorder, TimestampTz now, bool all);

/* In a transaction: write the results. */
extern void recording_write(Recording *recording);

/* In a transaction: tell whether the result of a job has been written in it. */
extern bool recording_has(const Recording *recording, const Job *job);

/*
 * After the commit: count what is recorded and let go of it.  The jobs that are not
 * recorded stay with the recorder; those whose row was locked, until later.
 */
extern void recording_settle(Recording *recording, Wire *wire);

/*
 * Record one result in a transaction of its own, in the end with triggers off.
 * False if that does not work now; it is tried again later.
 */
extern bool recorder_record_alone(Job *job, Wire *wire);

/*
 * Take over the rows that a former worker left behind as sending, in a transaction
 * of its own, before the first claim.
 */
extern TransactionOutcome recorder_find_orphans(Recorder *recorder);

#endif							/* SMS3300_WORKER_RECORDER_H */
