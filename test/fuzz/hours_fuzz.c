/*
 * hours_fuzz.c
 *		Read arbitrary hours, and look for openings and days in an arbitrary time zone.
 *
 * The input is a text, a byte 0, the changes of the zone's clocks, and a time.
 */
#undef NDEBUG
#include "postgres.h"

#include <assert.h>

#include "utils/timestamp.h"

#include "account/hours.h"
#include "zone.h"

#define MINUTES_PER_DAY (SECS_PER_DAY / SECS_PER_MINUTE)
#define USECS_PER_YEAR (SECS_PER_YEAR * USECS_PER_SEC)

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whether the hours are open, by the minute of the local day. */
static bool open[MINUTES_PER_DAY];

/* Check what was read: written again it is the same; and note when it is open. */
static void
check_spans(const Hours *hours)
{
	char		text[HOURS_MAX_SPANS * 16] = "";
	size_t		length = 0;
	Hours		again;

	memset(open, 0, sizeof(open));
	for (int i = 0; i < hours->nspans; i++)
	{
		int			from = hours->spans[i].from / SECS_PER_MINUTE;
		int			until = hours->spans[i].until / SECS_PER_MINUTE;

		assert(hours->spans[i].from == from * SECS_PER_MINUTE);
		assert(hours->spans[i].until == until * SECS_PER_MINUTE);
		assert(from >= 0 && from < MINUTES_PER_DAY && until > 0 && until <= MINUTES_PER_DAY && from != until);
		length += snprintf(text + length, sizeof(text) - length, "%s%d:%02d - %02d:%02d", i > 0 ? "," : "",
						   from / 60, from % 60, until / 60, until % 60);
		for (int minute = from; minute < (from < until ? until : until + MINUTES_PER_DAY); minute++)
			open[minute % MINUTES_PER_DAY] = true;
	}
	assert(hours_read(&again, text));
	assert(again.nspans == hours->nspans && memcmp(again.spans, hours->spans, sizeof(again.spans[0]) * again.nspans) == 0);
}

/* Tell whether the hours are open, by the local clock. */
static bool
is_open(pg_time_t at)
{
	int64		second = (at + zone_offset(at)) % SECS_PER_DAY;

	return open[(second < 0 ? second + SECS_PER_DAY : second) / SECS_PER_MINUTE];
}

/* Check an opening: it is one, and minute by minute none is before it. */
static void
check_opening(const Hours *hours, TimestampTz from)
{
	TimestampTz opening = hours_opening(hours, from);
	pg_time_t	first = timestamptz_to_time_t(from);
	pg_time_t	last = timestamptz_to_time_t(opening);

	assert(opening >= from && opening - from <= 3 * USECS_PER_DAY);
	assert(is_open(last));
	assert(hours_opening(hours, opening) == opening);
	if (opening == from)
		return;
	assert(opening % USECS_PER_SEC == 0 && !is_open(last - 1) && !is_open(first));
	for (pg_time_t at = first; at < last; at += SECS_PER_MINUTE)
		assert(!is_open(at));
	for (pg_time_t at = zone_next_change(first); at < last; at = zone_next_change(at))
		assert(!is_open(at));
}

/* Return the local date. */
static int64
local_date(pg_time_t at)
{
	int64		local = at + zone_offset(at);

	return (local - (local % SECS_PER_DAY + SECS_PER_DAY) % SECS_PER_DAY) / SECS_PER_DAY;
}

/*
 * Check the day of a time: it has the time in it, each day begins where one ends, and a
 * date ends with it.
 */
static void
check_day(Hours hours, TimestampTz now)
{
	TimestampTz begin = hours_day_begin(&hours, now);
	TimestampTz end = hours_day_end(&hours, now);

	assert(begin <= now && now < end && end - begin <= 50 * USECS_PER_HOUR);
	assert(local_date(timestamptz_to_time_t(end)) > local_date(timestamptz_to_time_t(end) - 1));
	hours.zone = zone_rename();
	assert(hours_day_begin(&hours, end) == end);
	hours.zone = zone_rename();
	assert(hours_day_end(&hours, begin) == end);
	hours.zone = zone_rename();
	assert(hours_day_begin(&hours, end - 1) == begin);
}

/* Read the hours, and ask for openings and days. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nul = memchr(data, '\0', size);
	size_t		length = nul ? (size_t) (nul - data) : size;
	Bytes		bytes = {data + length + 1, nul ? size - length - 1 : 0};
	char	   *text = malloc(length + 1);
	Hours		hours = {0};
	bool		legal;

	/* to the byte, so that reading on is seen */
	assert(text != NULL);
	memcpy(text, data, length);
	text[length] = '\0';
	legal = hours_read(&hours, text);
	for (const char *colon = text; legal && (colon = strchr(colon, ':')) != NULL; colon++)
		assert(colon[1] >= '0' && colon[1] <= '5');
	free(text);
	if (!legal)
		return 0;

	check_spans(&hours);
	hours.zone = zone_read(&bytes);
	for (int i = 0; i < 4; i++)
	{
		TimestampTz at = (TimestampTz) (bytes_take(&bytes, 4) % (2 * SECS_PER_YEAR)) * USECS_PER_SEC +
			(TimestampTz) (bytes_take(&bytes, 1) % 3);

		/* before 1970, too */
		if (bytes_take(&bytes, 1) % 4 == 1)
			at -= 32 * USECS_PER_YEAR;
		check_opening(&hours, at);
		check_day(hours, at);
	}
	return 0;
}
