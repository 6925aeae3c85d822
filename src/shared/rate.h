/*
 * rate.h
 *		The distance between two messages at a rate.
 */
#ifndef SMS3300_SHARED_RATE_H
#define SMS3300_SHARED_RATE_H

#include <math.h>

#include "datatype/timestamp.h"

/* Messages are a little further apart than the rate demands: see worker/pace.c. */
#define RATE_SPACING 1.06

/* Return the distance between two messages at a rate above 0, in microseconds. */
static inline int64
rate_slot_width(double rate)
{
	return (int64) ceil(RATE_SPACING * USECS_PER_SEC / rate);
}

#endif							/* SMS3300_SHARED_RATE_H */
