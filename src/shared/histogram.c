/*
 * histogram.c
 *		Histograms of durations.
 *
 * The unit is 16 us.  The first sixteen buckets are one unit wide.  From there on
 * the width doubles every eight buckets.
 */
#include "postgres.h"

#include "port/pg_bitutils.h"

#include "shared/histogram.h"

#define UNIT 16

int
histogram_bucket(int64 duration)
{
	uint64		units = (uint64) Max(duration, 0) / UNIT;
	int			shift;

	if (units < 8)
		return (int) units;
	shift = pg_leftmost_one_pos64(units) - 3;
	return Min(shift * 8 + (int) (units >> shift), NUM_BUCKETS - 1);
}

double
histogram_percentile(const Histogram *histogram, double fraction)
{
	int64		total = 0;
	double		left;

	for (int i = 0; i < NUM_BUCKETS; i++)
		total += histogram->counts[i];
	left = fraction * (double) total;

	for (int i = 0; i < NUM_BUCKETS; i++)
	{
		int64		n = histogram->counts[i];
		int			shift = Max(i / 8 - 1, 0);
		double		low = (double) ((uint64) (i - shift * 8) << shift);
		double		width = (double) (UINT64CONST(1) << shift);

		if (n > 0 && (double) n >= left)
			return UNIT * (low + width * left / (double) n);
		left -= (double) n;
	}
	return -1;
}
