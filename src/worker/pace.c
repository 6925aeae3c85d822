/*
 * pace.c
 *		How fast an account sends: requests at once, and messages a second.
 */
#include "postgres.h"

#include <math.h>


#include "compat.h"
#include "shared/rate.h"
#include "worker/pace.h"

#define MAX_DELAY (5 * USECS_PER_MINUTE)

/*
 * Messages are laid out evenly, a little further apart than the rate demands,
 * and may catch up on a short delay of the worker.  Both together, t seconds
 * see at most (t + CATCH_UP_S) * rate / RATE_SPACING + 1 messages, for which from
 * half a second on there is no whole number above rate * t, rounded up; and a
 * pause is not followed by a burst.
 */
#define CATCH_UP_S 0.03

/* What was sent before a restart of the server is not known; no second shall see both. */
#define HOLD USECS_PER_SEC

/*
 * After a refusal as too many, the rate falls to a part of what was accepted. It rises by
 * a little with each message that is accepted, which is some 2 % a second at any rate, and
 * faster after a while without a refusal. So there are many accepted messages for each
 * refusal, and a limit that no longer exists is forgotten within minutes.
 */
#define LEARNT_PART 0.8
#define LEARNT_STEP 0.02
#define LEARNT_PATIENCE (10 * USECS_PER_SEC)
#define LEARNT_MIN 0.1
#define LEARNT_MAX 20000.0

double
pace_rate(const Pace *pace, double rate)
{
	if (pace->learnt <= 0)
		return rate;
	return rate > 0 ? Min(rate, pace->learnt) : pace->learnt;
}

/* Count by seconds. */
static void
count_seconds(Pace *pace, TimestampTz now)
{
	if (now >= pace->second && now < pace->second + USECS_PER_SEC)
		return;
	pace->before = now < pace->second + 2 * USECS_PER_SEC ? pace->accepted : 0;
	pace->accepted = 0;
	pace->second = now;
}

void
pace_accepted(Pace *pace, TimestampTz now)
{
	count_seconds(pace, now);
	pace->accepted++;
	if (pace->learnt <= 0)
		return;
	pace->learnt += LEARNT_STEP *
		(1 + (double) Max(now - pace->refused_at, 0) / LEARNT_PATIENCE);
	if (pace->learnt > LEARNT_MAX)
		pace->learnt = 0;
}

void
pace_refused(Pace *pace, TimestampTz now)
{
	count_seconds(pace, now);
	if (pace->learnt <= 0)
		pace->learnt = Max(Max(pace->accepted, pace->before), 1);
	pace->learnt = Max(pace->learnt * LEARNT_PART, LEARNT_MIN);
	pace->refused_at = now;
}

/* A slot that is further away than any can be comes from a former rate, or the clock was set back. */
TimestampTz
pace_slot(const Pace *pace, double rate, TimestampTz now)
{
	if (rate <= 0 || pace->next_slot > now + Max(rate_slot_width(rate), HOLD))
		return DT_NOBEGIN;
	return pace->next_slot;
}

void
pace_hold(Pace *pace, TimestampTz started_at)
{
	pace->next_slot = started_at + HOLD;
}

/* The slots that are due now by the rate. */
static int
slots_due(TimestampTz slot, double rate, TimestampTz now)
{
	int64		catch_up = (int64) (CATCH_UP_S * USECS_PER_SEC);

	if (slot > now)
		return 0;
	return (int) (Min(now - Max(slot, now - catch_up), catch_up) / rate_slot_width(rate)) + 1;
}

int
pace_allowance(const Pace *pace, int max_in_flight, double rate, TimestampTz now)
{
	int			allowance = max_in_flight - pace->in_flight;

	if (rate > 0)
		allowance = Min(allowance, slots_due(pace_slot(pace, rate, now), rate, now));
	return Max(allowance, 0);
}

TimestampTz
pace_next(const Pace *pace, int max_in_flight, double rate, TimestampTz now)
{
	return pace->in_flight >= max_in_flight ? DT_NOEND : pace_slot(pace, rate, now);
}

void
pace_begin(Pace *pace, double rate, TimestampTz now)
{
	pace->in_flight++;
	if (rate > 0)
	{
		int64		width = rate_slot_width(rate);
		int64		catch_up = (int64) (CATCH_UP_S * USECS_PER_SEC);
		TimestampTz slot = Max(pace_slot(pace, rate, now), now - catch_up);

		/* Slots wider than what may be caught up on begin with the message. */
		pace->next_slot = (width > catch_up ? Max(slot, now) : slot) + width;
	}
}

void
pace_delay(Pace *pace, double rate, int64 delay)
{
	if (rate > 0)
		pace->next_slot += delay;
}

void
pace_end(Pace *pace)
{
	Assert(pace->in_flight > 0);
	pace->in_flight--;
}

int64
pace_backoff(int64 first, int tries)
{
	double		delay = ldexp((double) first, Min(Max(tries - 1, 0), 30));

	return (int64) (Min(delay, (double) MAX_DELAY) * (0.8 + random_fraction() * 0.4));
}
