/*
 * hours.h
 *		The hours in which an account sends, and the days by which it counts.
 *
 * Both are those of a time zone, whose clocks may change.  A span of hours begins with
 * its first second and ends before the one that is written as its end.
 */
#ifndef SMS3300_ACCOUNT_HOURS_H
#define SMS3300_ACCOUNT_HOURS_H

#include "datatype/timestamp.h"
#include "pgtime.h"

#define HOURS_MAX_SPANS 24

typedef struct Hours
{
	pg_tz	   *zone;			/* for the life of the process */
	int			nspans;			/* 0: always open */
	struct
	{
		int			from;		/* in seconds of the day */
		int			until;		/* before "from": over midnight */
	}			spans[HOURS_MAX_SPANS];
} Hours;

/*
 * Read spans such as "08:00-13:00, 16:00-21:00"; "22:00-06:00" is over midnight.
 * Returns false if they are not such a list.
 */
extern bool hours_read(Hours *hours, const char *text);

/* Return the first time from a time on at which the hours are open: that time if they are. */
extern TimestampTz hours_opening(const Hours *hours, TimestampTz from);

/* Return when the day of a time began, in the zone of the hours, and when the next one begins. */
extern TimestampTz hours_day_begin(const Hours *hours, TimestampTz now);
extern TimestampTz hours_day_end(const Hours *hours, TimestampTz now);

#endif							/* SMS3300_ACCOUNT_HOURS_H */
