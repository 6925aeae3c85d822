/*
 * pace.c
 *		Determine how many messages an account may send now, and when it may send more.
 */
#include "postgres.h"

#include <math.h>

#include "compat.h"
#include "worker/pace.h"
#include "utils/timestamp.h"

#define FIRST_PROBE_DELAY USECS_PER_SEC
#define MAX_DELAY (5 * USECS_PER_MINUTE)

/*
 * Messages are spaced evenly, slightly further apart than the rate requires, and
 * may catch up on a short delay of the worker.  So t seconds see at most
 * (t + CATCH_UP_S) * rate / SPACING + 1 messages.  From half a second on, that
 * does not exceed rate * t, rounded up.  A pause is not followed by a burst.
 */
#define SPACING 1.06
#define CATCH_UP_S 0.03

/* Wait this long after a restart, as the messages sent before it are not known. */
#define HOLD USECS_PER_SEC

/* Return the distance between two messages at a rate. */
static int64
slot_width(double rate)
{
	return (int64) ceil(SPACING * USECS_PER_SEC / rate);
}

/* Return the next slot; one that is too far away is of a previous rate or clock, and is ignored. */
TimestampTz
pace_slot(const Pace *pace, double rate, TimestampTz now)
{
	if (rate <= 0 || pace->next_slot > now + Max(slot_width(rate), HOLD))
		return DT_NOBEGIN;
	return pace->next_slot;
}

void
pace_hold(Pace *pace, TimestampTz started_at)
{
	pace->next_slot = started_at + HOLD;
}

/* Return the number of messages that the rate allows now. */
static int
slots_due(TimestampTz slot, double rate, TimestampTz now)
{
	int64		catch_up = (int64) (CATCH_UP_S * USECS_PER_SEC);

	if (slot > now)
		return 0;
	return (int) (Min(now - Max(slot, now - catch_up), catch_up) / slot_width(rate)) + 1;
}

int
pace_allowance(const Pace *pace, int max_in_flight, double rate, TimestampTz now)
{
	int			allowance = max_in_flight - pace->in_flight;

	if (pace->stopped)
		allowance = Min(allowance, !pace->probing && pace->probe_at <= now ? 1 : 0);
	if (rate > 0)
		allowance = Min(allowance, slots_due(pace_slot(pace, rate, now), rate, now));
	return Max(allowance, 0);
}

TimestampTz
pace_next(const Pace *pace, int max_in_flight, double rate, TimestampTz now)
{
	if (pace->probing || pace->in_flight >= max_in_flight)
		return DT_NOEND;
	return Max(pace->stopped ? pace->probe_at : DT_NOBEGIN,
			   pace_slot(pace, rate, now));
}

void
pace_begin(Pace *pace, double rate, TimestampTz now)
{
	pace->in_flight++;
	pace->probing = pace->stopped;
	if (rate > 0)
	{
		int64		width = slot_width(rate);
		int64		catch_up = (int64) (CATCH_UP_S * USECS_PER_SEC);
		TimestampTz slot = Max(pace_slot(pace, rate, now), now - catch_up);

		/* A slot wider than the catch-up time begins with its message. */
		pace->next_slot = (width > catch_up ? Max(slot, now) : slot) + width;
	}
}

void
pace_end(Pace *pace)
{
	pace->in_flight--;
}

void
pace_cancel(Pace *pace)
{
	pace->in_flight--;
	pace->probing = false;
}

void
pace_stop(Pace *pace, int64 retry_after, TimestampTz now)
{
	/* If several messages fail together, the first one decides. */
	if (pace->stopped && !pace->probing)
		return;

	pace->stopped = true;
	pace->probing = false;
	pace->failures++;
	pace->probe_at = now +
		(retry_after >= 0 ? retry_after :
		 pace_backoff(FIRST_PROBE_DELAY, pace->failures));
}

void
pace_open(Pace *pace)
{
	pace->stopped = false;
	pace->probing = false;
	pace->failures = 0;
}

int64
pace_backoff(int64 first, int tries)
{
	double		delay = ldexp((double) first, Min(Max(tries - 1, 0), 30));

	return (int64) (Min(delay, (double) MAX_DELAY) * (0.8 + random_fraction() * 0.4));
}
