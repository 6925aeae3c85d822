/*
 * zone.h
 *		A time zone whose clocks change as the input says, and what PostgreSQL's own code
 *		would do about times.
 */
#ifndef ZONE_H
#define ZONE_H

#include "datatype/timestamp.h"
#include "pgtime.h"

/* Bytes of an input that are read one after the other; zeros follow the last one. */
typedef struct Bytes
{
	const uint8_t *data;
	size_t		size;
} Bytes;

/* Return the next bytes, "n" of them, as a number. */
extern uint64_t bytes_take(Bytes *bytes, int n);

/* Read the changes of the clocks, and return a zone that no earlier call has returned. */
extern pg_tz *zone_read(Bytes *bytes);

/* Return the same zone under another name, of which nothing can be remembered. */
extern pg_tz *zone_rename(void);

/* Return how many seconds local time is ahead of UTC. */
extern int	zone_offset(pg_time_t at);

/* Return the first time after another one at which the clocks change. */
extern pg_time_t zone_next_change(pg_time_t at);

#endif							/* ZONE_H */
