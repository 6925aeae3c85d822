/*
 * batch.h
 *		How many rows a transaction works on: as many as the time allows.
 *
 * Pure: it knows nothing of rows.  Durations are in microseconds.
 */
#ifndef SMS3300_WORKER_BATCH_H
#define SMS3300_WORKER_BATCH_H

#include "datatype/timestamp.h"

/* What results or claims may take in a transaction, so that the network is heard. */
#define BATCH_TIME (USECS_PER_SEC / 4)

typedef struct Batch
{
	int			limit;			/* rows in the next transaction */
	int			max;
	int			once;			/* fewer, in that one only; 0: not fewer */
} Batch;

extern void batch_init(Batch *batch, int first, int max);

/* Return how many rows the next transaction may work on. */
extern int	batch_next(Batch *batch);

/* Adapt to what a number of rows took, of a time that they may take. */
extern void batch_took(Batch *batch, int n, int64 took, int64 wish);

/*
 * Return when to do again what took so long, at this interval otherwise.  An old snapshot keeps
 * the index entries of messages that are gone, and what reads many of them is done less often.
 */
extern TimestampTz batch_again_at(TimestampTz now, int64 interval, int64 took);

/*
 * Do less after a number of rows has failed: by what they took, if that was too long, or
 * half (0).
 */
extern void batch_failed(Batch *batch, int n, int64 took, int64 wish);

#endif							/* SMS3300_WORKER_BATCH_H */
