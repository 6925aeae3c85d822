/*
 * clock.h
 *		A clock that is never set, for durations.
 */
#ifndef SMS3300_SHARED_CLOCK_H
#define SMS3300_SHARED_CLOCK_H

#include <time.h>

/* Return the time since some moment in the past, in microseconds. */
static inline int64
clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

#endif							/* SMS3300_SHARED_CLOCK_H */
