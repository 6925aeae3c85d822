/*
 * hours.c
 *		The hours in which an account sends, and the days by which it counts.
 *
 * Between two changes of a zone's clocks the local time is that of UTC plus a constant.
 * Times are searched piece by piece, so that no local time is assumed to exist, or to
 * occur only once.
 */
#include "postgres.h"

#include <ctype.h>

#include "utils/timestamp.h"

#include "account/hours.h"

/* No zone changes its clocks as often as this within two days. */
#define MAX_PIECES 20

/* -------------------------------------------------------------------------
 * Reading
 * ------------------------------------------------------------------------- */

/* Skip spaces. */
static const char *
skip_spaces(const char *text)
{
	while (isspace((unsigned char) *text))
		text++;
	return text;
}

/* Read a time of the day, such as 8:00 or 24:00, in seconds.  Returns NULL if it is none. */
static const char *
read_time(const char *text, int *time)
{
	int			hour = 0;
	int			minute = 0;
	int			digits;

	text = skip_spaces(text);
	for (digits = 0; isdigit((unsigned char) *text) && digits < 3; digits++)
		hour = hour * 10 + (*text++ - '0');
	if (digits < 1 || digits > 2 || *text++ != ':')
		return NULL;
	for (digits = 0; isdigit((unsigned char) *text) && digits < 3; digits++)
		minute = minute * 10 + (*text++ - '0');
	if (digits != 2 || minute > 59)
		return NULL;
	*time = hour * SECS_PER_HOUR + minute * SECS_PER_MINUTE;
	return *time > SECS_PER_DAY ? NULL : skip_spaces(text);
}

/* Read one span. */
static const char *
read_span(const char *text, int *from, int *until)
{
	text = read_time(text, from);
	if (text == NULL || *text++ != '-' || (text = read_time(text, until)) == NULL)
		return NULL;
	return *from == *until || *from == SECS_PER_DAY || *until == 0 ? NULL : text;
}

bool
hours_read(Hours *hours, const char *text)
{
	for (hours->nspans = 0; hours->nspans < HOURS_MAX_SPANS;)
	{
		text = read_span(text, &hours->spans[hours->nspans].from, &hours->spans[hours->nspans].until);
		if (text == NULL)
			return false;
		hours->nspans++;
		if (*text == '\0')
			return true;
		if (*text++ != ',')
			return false;
	}
	return false;
}

/* -------------------------------------------------------------------------
 * Local time
 * ------------------------------------------------------------------------- */

/* A time in UTC, and the change of the zone's clocks that follows it. */
typedef struct Piece
{
	pg_time_t	at;
	int			offset;			/* local time is UTC plus this many seconds */
	bool		has_end;
	pg_time_t	end;			/* the clocks change */
} Piece;

/* Return the piece of a zone's time that begins at a time. */
static Piece
piece_from(pg_tz *zone, pg_time_t at)
{
	Piece		piece = {.at = at};
	long int	offset = 0;
	long int	next_offset;
	int			is_dst;
	int			next_is_dst;

	piece.has_end = pg_next_dst_boundary(&at, &offset, &is_dst, &piece.end,
										 &next_offset, &next_is_dst, zone) > 0;
	piece.offset = (int) offset;
	return piece;
}

/* Return the local time of the day at which a piece begins, in seconds. */
static int
second_of_day(const Piece *piece)
{
	int64		second = (piece->at + piece->offset) % SECS_PER_DAY;

	return (int) (second < 0 ? second + SECS_PER_DAY : second);
}

/* Return a time as whole seconds since 1970. */
static pg_time_t
seconds_of(TimestampTz at)
{
	int64		rest = at % USECS_PER_SEC;

	return timestamptz_to_time_t(at - (rest < 0 ? rest + USECS_PER_SEC : rest));
}

/* Return how many seconds after a time of the day another one is, also on the next day. */
static int
seconds_until(int from, int until)
{
	return (until - from + SECS_PER_DAY) % SECS_PER_DAY;
}

/* -------------------------------------------------------------------------
 * Openings
 * ------------------------------------------------------------------------- */

/* Return after how many seconds the hours are open, by a clock that shows a time of the day. */
static int
wait_for_opening(const Hours *hours, int now)
{
	int			wait = SECS_PER_DAY;

	for (int i = 0; i < hours->nspans; i++)
	{
		int			from = hours->spans[i].from;
		int			until = hours->spans[i].until;

		if (from < until ? now >= from && now < until : now >= from || now < until)
			return 0;
		wait = Min(wait, seconds_until(now, from));
	}
	return wait;
}

TimestampTz
hours_opening(const Hours *hours, TimestampTz from)
{
	Piece		piece;

	if (hours->nspans == 0 || TIMESTAMP_NOT_FINITE(from))
		return from;
	piece = piece_from(hours->zone, seconds_of(from));
	for (int i = 0; i < MAX_PIECES; i++)
	{
		int			wait = wait_for_opening(hours, second_of_day(&piece));

		if (!piece.has_end || piece.at + wait < piece.end)
			return Max(from, time_t_to_timestamptz(piece.at + wait));
		piece = piece_from(hours->zone, piece.end);
	}
	return DT_NOEND;
}

/* -------------------------------------------------------------------------
 * Days
 * ------------------------------------------------------------------------- */

/* Return the local date of a time, as days since 1970. */
static int64
date_of(const Hours *hours, pg_time_t at)
{
	Piece		piece = piece_from(hours->zone, at);

	return (at + piece.offset - second_of_day(&piece)) / SECS_PER_DAY;
}

/* Return when the day of a time ends. */
static TimestampTz
find_day_end(const Hours *hours, TimestampTz now)
{
	Piece		piece = piece_from(hours->zone, seconds_of(now));
	int64		today = date_of(hours, piece.at);

	for (int i = 0; i < MAX_PIECES; i++)
	{
		pg_time_t	midnight = piece.at + SECS_PER_DAY - second_of_day(&piece);

		if (!piece.has_end || midnight < piece.end)
			return time_t_to_timestamptz(midnight);
		piece = piece_from(hours->zone, piece.end);
		if (date_of(hours, piece.at) > today)
			return time_t_to_timestamptz(piece.at);
	}
	return DT_NOEND;
}

/* A day of a zone. */
typedef struct Day
{
	pg_tz	   *zone;
	TimestampTz begin;
	TimestampTz end;
} Day;

/*
 * Return the day of a time.  It is remembered, as it is asked for with each message.   A
 * day is not longer than 50 hours.
 */
static const Day *
find_day(const Hours *hours, TimestampTz now)
{
	static Day	day = {0};

	if (day.zone == hours->zone && day.begin <= now && now < day.end)
		return &day;
	day = (Day) {hours->zone, now - 50 * USECS_PER_HOUR, find_day_end(hours, now - 50 * USECS_PER_HOUR)};
	while (day.end <= now)
	{
		day.begin = day.end;
		day.end = find_day_end(hours, day.begin);
	}
	return &day;
}

TimestampTz
hours_day_begin(const Hours *hours, TimestampTz now)
{
	return find_day(hours, now)->begin;
}

TimestampTz
hours_day_end(const Hours *hours, TimestampTz now)
{
	return find_day(hours, now)->end;
}
