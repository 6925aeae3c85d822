/*
 * histogram.h
 *		Histograms of durations, in microseconds.
 */
#ifndef SMS3300_SHARED_HISTOGRAM_H
#define SMS3300_SHARED_HISTOGRAM_H

/* Eight buckets per octave, from 16 us to about 400 days. */
#define NUM_BUCKETS 312

typedef struct Histogram
{
	int64		sum;
	int64		counts[NUM_BUCKETS];
} Histogram;

/* Return the bucket of a duration. */
extern int	histogram_bucket(int64 duration);

/*
 * Return the duration that a fraction of all entries does not exceed, assuming an
 * even distribution within a bucket.  Returns a negative number if there are no
 * entries.
 */
extern double histogram_percentile(const Histogram *histogram, double fraction);

#endif							/* SMS3300_SHARED_HISTOGRAM_H */
