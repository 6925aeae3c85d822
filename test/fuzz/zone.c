/*
 * zone.c
 *		A time zone whose clocks change as the input says, and what PostgreSQL's own code
 *		would do about times.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "zone.h"

#define MAX_CHANGES 8

/* The clocks of no zone are set by more than a day, nor twice within two of them. */
#define MAX_OFFSET (12 * SECS_PER_HOUR)
#define MIN_GAP (2 * SECS_PER_DAY)

/* In seconds, what there is between the two epochs. */
#define EPOCHS (((int64) POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

static int	nchanges;
static pg_time_t changes[MAX_CHANGES];
static int	offsets[MAX_CHANGES + 1];
static uintptr_t zones;

uint64_t
bytes_take(Bytes *bytes, int n)
{
	uint64_t	value = 0;

	for (; n > 0; n--)
	{
		value = value << 8 | (bytes->size > 0 ? *bytes->data : 0);
		if (bytes->size > 0)
		{
			bytes->data++;
			bytes->size--;
		}
	}
	return value;
}

/* Read an offset; most are whole quarters of an hour. */
static int
read_offset(Bytes *bytes)
{
	int			offset = (int) (bytes_take(bytes, 3) % (2 * MAX_OFFSET + 1)) - MAX_OFFSET;

	return offset % 3 == 0 ? offset : offset / 900 * 900;
}

pg_tz *
zone_read(Bytes *bytes)
{
	pg_time_t	at = EPOCHS;

	nchanges = (int) bytes_take(bytes, 1) % (MAX_CHANGES + 1);
	offsets[0] = read_offset(bytes);
	for (int i = 0; i < nchanges; i++)
	{
		at += MIN_GAP + (pg_time_t) bytes_take(bytes, 3) % (100 * SECS_PER_DAY);
		changes[i] = at;
		offsets[i + 1] = read_offset(bytes);
	}
	return zone_rename();
}

pg_tz *
zone_rename(void)
{
	return (pg_tz *) ++zones;
}

/* Return how many changes there were up to a time. */
static int
changes_until(pg_time_t at)
{
	int			n = 0;

	while (n < nchanges && changes[n] <= at)
		n++;
	return n;
}

int
zone_offset(pg_time_t at)
{
	return offsets[changes_until(at)];
}

pg_time_t
zone_next_change(pg_time_t at)
{
	int			n = changes_until(at);

	return n < nchanges ? changes[n] : PG_INT64_MAX;
}

int
pg_next_dst_boundary(const pg_time_t *timep, long int *before_gmtoff, int *before_isdst,
					 pg_time_t *boundary, long int *after_gmtoff, int *after_isdst, const pg_tz *tz)
{
	*before_gmtoff = zone_offset(*timep);
	*before_isdst = 0;
	*boundary = zone_next_change(*timep);
	if (*boundary == PG_INT64_MAX)
		return 0;
	*after_gmtoff = zone_offset(*boundary);
	*after_isdst = 1;
	return 1;
}

pg_time_t
timestamptz_to_time_t(TimestampTz t)
{
	return t / USECS_PER_SEC + EPOCHS;
}

TimestampTz
time_t_to_timestamptz(pg_time_t tm)
{
	return (tm - EPOCHS) * USECS_PER_SEC;
}
