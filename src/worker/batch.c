/*
 * batch.c
 *		How many rows a transaction works on: as many as the time allows.
 */
#include "postgres.h"

#include "worker/batch.h"

void
batch_init(Batch *batch, int first, int max)
{
	batch->limit = first;
	batch->max = max;
	batch->once = 0;
}

int
batch_next(Batch *batch)
{
	int			next = batch->once > 0 ? Min(batch->once, batch->limit) : batch->limit;

	batch->once = 0;
	return next;
}

/* It grows by doubling at most: what many rows take is not known from a few. */
void
batch_took(Batch *batch, int n, int64 took, int64 wish)
{
	if (n == 0)
		return;
	if (took > wish)
		batch->limit = Max((int) (n * wish / took), 1);
	else if (n >= batch->limit && took <= wish / 2)
		batch->limit = Min(batch->limit * 2, batch->max);
}

/* What takes this long may take this part of the time. */
#define SLOW (10 * INT64CONST(1000))
#define SLOW_FACTOR 10

TimestampTz
batch_again_at(TimestampTz now, int64 interval, int64 took)
{
	return now + Max(interval, took > SLOW ? SLOW_FACTOR * took : 0);
}

void
batch_failed(Batch *batch, int n, int64 took, int64 wish)
{
	if (took > wish)
		batch_took(batch, n, took, wish);
	else
		batch->limit = Max(Min(batch->limit, n) / 2, 1);
}
