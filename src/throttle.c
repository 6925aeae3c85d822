/*
 * throttle.c
 *		How many messages an account may send now, and when it may send more.
 */
#include "postgres.h"

#include <math.h>

#include "compat.h"
#include "throttle.h"
#include "utils/timestamp.h"

#define FIRST_PROBE_DELAY USECS_PER_SEC
#define MAX_DELAY (5 * USECS_PER_MINUTE)

/*
 * Messages are laid out evenly, a little further apart than the rate demands,
 * and may catch up on a short delay of the worker.  Both together, t seconds
 * see at most (t + CATCH_UP_S) * rate / SPACING + 1 messages, for which from
 * half a second on there is no whole number above rate * t, rounded up; and a
 * pause is not followed by a burst.
 */
#define SPACING 1.06
#define CATCH_UP_S 0.03

/* What was sent before a restart of the server is not known; no second shall see both. */
#define HOLD USECS_PER_SEC

/* The distance between two messages at a rate. */
static int64
slot_width(double rate)
{
	return (int64) ceil(SPACING * USECS_PER_SEC / rate);
}

/* A slot that is further away than any can be comes from a former rate, or the clock was set back. */
TimestampTz
throttle_slot(const Throttle *throttle, double rate, TimestampTz now)
{
	if (rate <= 0 || throttle->next_slot > now + Max(slot_width(rate), HOLD))
		return DT_NOBEGIN;
	return throttle->next_slot;
}

void
throttle_hold(Throttle *throttle, TimestampTz started_at)
{
	throttle->next_slot = started_at + HOLD;
}

/* The slots that are due now by the rate. */
static int
slots_due(TimestampTz slot, double rate, TimestampTz now)
{
	int64		catch_up = (int64) (CATCH_UP_S * USECS_PER_SEC);

	if (slot > now)
		return 0;
	return (int) (Min(now - Max(slot, now - catch_up), catch_up) / slot_width(rate)) + 1;
}

int
throttle_allowance(const Throttle *throttle, int max_in_flight, double rate, TimestampTz now)
{
	int			allowance = max_in_flight - throttle->in_flight;

	if (throttle->stopped)
		allowance = Min(allowance, !throttle->probing && throttle->probe_at <= now ? 1 : 0);
	if (rate > 0)
		allowance = Min(allowance, slots_due(throttle_slot(throttle, rate, now), rate, now));
	return Max(allowance, 0);
}

TimestampTz
throttle_next(const Throttle *throttle, int max_in_flight, double rate, TimestampTz now)
{
	if (throttle->probing || throttle->in_flight >= max_in_flight)
		return DT_NOEND;
	return Max(throttle->stopped ? throttle->probe_at : DT_NOBEGIN,
			   throttle_slot(throttle, rate, now));
}

void
throttle_begin(Throttle *throttle, double rate, TimestampTz now)
{
	throttle->in_flight++;
	throttle->probing = throttle->stopped;
	if (rate > 0)
	{
		int64		width = slot_width(rate);
		int64		catch_up = (int64) (CATCH_UP_S * USECS_PER_SEC);
		TimestampTz slot = Max(throttle_slot(throttle, rate, now), now - catch_up);

		/* Slots wider than what may be caught up on begin with the message. */
		throttle->next_slot = (width > catch_up ? Max(slot, now) : slot) + width;
	}
}

void
throttle_end(Throttle *throttle)
{
	throttle->in_flight--;
}

void
throttle_cancel(Throttle *throttle)
{
	throttle->in_flight--;
	throttle->probing = false;
}

void
throttle_stop(Throttle *throttle, int64 retry_after, TimestampTz now)
{
	/* Of many messages that fail together, the first decides. */
	if (throttle->stopped && !throttle->probing)
		return;

	throttle->stopped = true;
	throttle->probing = false;
	throttle->failures++;
	throttle->probe_at = now +
		(retry_after >= 0 ? retry_after :
		 throttle_backoff(FIRST_PROBE_DELAY, throttle->failures));
}

void
throttle_open(Throttle *throttle)
{
	throttle->stopped = false;
	throttle->probing = false;
	throttle->failures = 0;
}

int64
throttle_backoff(int64 first, int tries)
{
	double		delay = ldexp((double) first, Min(Max(tries - 1, 0), 30));

	return (int64) (Min(delay, (double) MAX_DELAY) * (0.8 + random_fraction() * 0.4));
}
