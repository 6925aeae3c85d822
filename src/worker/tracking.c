/*
 * tracking.c
 *		When the delivery states of an account's messages are asked for.
 */
#include "postgres.h"

#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "account/credentials.h"
#include "outbox/delivery.h"
#include "worker/tracking.h"

/* A message that was not looked at so long after its last check is given up. */
#define GRACE USECS_PER_HOUR

/* How far back messages are looked for that have passed their last check. */
#define PASSED_WITHIN (7 * USECS_PER_DAY)

/* A look may be later by this part of a message's age, so that one request serves many. */
#define SLACK 10

/* After an unreadable reply, so many requests are for a single id. */
#define SINGLES 20

/* Bounds of the pause after a reply that was of no use, and the pause after a refusal. */
#define MIN_PAUSE USECS_PER_SEC
#define MAX_PAUSE USECS_PER_HOUR

/* What was found in a transaction that failed is found again after this. */
#define UNDO_PAUSE USECS_PER_SEC

/* Begin at the places that a former worker has left, or before all messages that may wait. */
static void
begin_steps(Tracking *tracking, Oid server, TimestampTz now)
{
	AccountCounters counted = {0};
	int			last = tracking->nsteps - 1;

	if (counters_read(server, &counted) && counted.looked_version != tracking->version)
		memset(counted.looked, 0, sizeof(counted.looked));
	for (int i = 0; i < tracking->nsteps; i++)
	{
		TimestampTz begin = i < last ? now - tracking->ages[i + 1] :
			now - tracking->ages[i] - PASSED_WITHIN;

		tracking->places[i].at = Max(begin, Min(counted.looked[i], now - tracking->ages[i]));
		tracking->places[i].id = 0;
		tracking->due[i] = DT_NOBEGIN;
	}
}

void
tracking_configure(Tracking **tracking, const Account *account)
{
	const DeliveryOptions *options = account ? &account->delivery : NULL;
	Tracking   *changed = *tracking;

	if (options == NULL || !options->on || !delivery_is_known())
	{
		if (changed)
			pfree(changed);
		*tracking = NULL;
		return;
	}
	if (changed && changed->version == account->version)
		return;
	if (changed == NULL)
		changed = *tracking = MemoryContextAllocZero(TopMemoryContext, sizeof(Tracking));
	memset(changed, 0, offsetof(Tracking, looks));
	changed->not_before = DT_NOBEGIN;
	changed->version = account->version;
	changed->batch = options->batch;
	changed->interval = options->interval;
	changed->nsteps = options->nchecks + 1;
	memcpy(changed->ages, options->checks, sizeof(int64) * options->nchecks);
	changed->ages[options->nchecks] = options->checks[options->nchecks - 1] + GRACE;
	begin_steps(changed, account->serverid, GetCurrentTimestamp());
}

/* Return when a message that was finished at a time is due in a step. */
static TimestampTz
due_at(const Tracking *tracking, int step, TimestampTz finished_at)
{
	int64		age = tracking->ages[step];

	return finished_at == DT_NOEND ? DT_NOEND : finished_at + age + age / SLACK;
}

void
tracking_expect(Tracking *tracking, TimestampTz finished_at)
{
	for (int i = 0; i < tracking->nsteps; i++)
		tracking->due[i] = Min(tracking->due[i], due_at(tracking, i, finished_at));
}

TimestampTz
tracking_next(const Tracking *tracking)
{
	int			last = tracking->nsteps - 1;
	TimestampTz next = tracking->nlooks > 0 ? DT_NOBEGIN : DT_NOEND;

	for (int i = 0; i < last; i++)
		next = Min(next, tracking->due[i]);
	return Min(Max(next, tracking->not_before), tracking->due[last]);
}

void
tracking_set_back(Tracking *tracking, TimestampTz now)
{
	tracking->not_before = Min(tracking->not_before, now);
	for (int i = 0; i < tracking->nsteps; i++)
	{
		tracking->places[i].at = Min(tracking->places[i].at, now - tracking->ages[i]);
		tracking->due[i] = DT_NOBEGIN;
	}
}

/* Read the next messages of a step, at most "limit".  Returns their number. */
static int
read_step(Tracking *tracking, const Account *account, int step, TimestampTz now, int limit,
		  FinishedMessage *messages)
{
	QueuePlace *place = &tracking->places[step];
	TimestampTz until = now - tracking->ages[step];
	int			n;

	/* The next step has what is older. */
	if (step + 1 < tracking->nsteps && place->at < now - tracking->ages[step + 1])
		*place = (QueuePlace) {now - tracking->ages[step + 1], 0};
	n = delivery_messages(account->name, place, until, limit, messages);
	if (n == limit)
		*place = messages[n - 1].place;
	else
	{
		if (place->at < until)
			*place = (QueuePlace) {until, PG_INT64_MAX};
		tracking->due[step] = due_at(tracking, step, delivery_next(account->name, place));
	}
	return n;
}

/* Add a message to what is asked for, unless its sender has no credentials. */
static void
add_look(Tracking *tracking, const Account *account, const FinishedMessage *message, bool last)
{
	Look	   *look = &tracking->looks[tracking->nlooks];

	look->id = message->place.id;
	look->message_id = message->message_id;
	look->role = get_role_oid(message->sender, true);
	look->last = last;
	if (credentials_role(account->serverid, &look->role))
		tracking->nlooks++;
}

int
tracking_find(Tracking *tracking, const Account *account, TimestampTz now, Look *passed)
{
	FinishedMessage *messages = palloc(sizeof(FinishedMessage) * TRACKING_WINDOW);
	int			last = tracking->nsteps - 1;
	int			left = TRACKING_WINDOW;
	int			npassed = 0;

	if (tracking->due[last] <= now)
	{
		int			n = read_step(tracking, account, last, now, TRACKING_WINDOW, messages);

		for (int i = 0; i < n; i++)
			if (messages[i].waiting)
				passed[npassed++] = (Look) {messages[i].place.id, messages[i].message_id, InvalidOid, true};
	}
	if (tracking->nlooks > 0 || tracking->not_before > now)
		return npassed;
	for (int step = last - 1; step >= 0 && left > 0; step--)
	{
		int			n;

		if (tracking->due[step] > now)
			continue;
		n = read_step(tracking, account, step, now, left, messages);
		for (int i = 0; i < n; i++)
			if (messages[i].waiting)
				add_look(tracking, account, &messages[i], step == last - 1);
		left -= n;
	}
	return npassed;
}

int
tracking_group(Tracking *tracking)
{
	int			limit = tracking->singles > 0 ? 1 : tracking->batch;
	int			n = 0;

	for (int i = 0; i < tracking->nlooks && n < limit; i++)
	{
		Look		look = tracking->looks[i];

		if (look.role != tracking->looks[0].role)
			continue;
		tracking->looks[i] = tracking->looks[n];
		tracking->looks[n++] = look;
	}
	return n;
}

/* A last look was made.  The others are made one by one, so that none blocks the rest. */
int
tracking_given_up(Tracking *tracking, int n)
{
	int			given_up = 0;

	for (int i = 0; i < n; i++)
	{
		Look		look = tracking->looks[i];

		if (!look.last && n > 1)
			continue;
		tracking->looks[i] = tracking->looks[given_up];
		tracking->looks[given_up++] = look;
	}
	return given_up;
}

void
tracking_done(Tracking *tracking, int n, Oid server)
{
	TimestampTz looked[MAX_TRACKING_STEPS];

	tracking->nlooks -= n;
	memmove(tracking->looks, tracking->looks + n, sizeof(Look) * tracking->nlooks);
	if (tracking->nlooks > 0)
		return;
	for (int i = 0; i < tracking->nsteps; i++)
		looked[i] = tracking->places[i].at;
	counters_begin();
	counters_set_looked(server, tracking->version, looked, tracking->nsteps);
	counters_end();
}

void
tracking_succeeded(Tracking *tracking, TimestampTz now)
{
	tracking->failures = 0;
	tracking->singles = Max(tracking->singles - 1, 0);
	tracking->told = false;
	tracking->problem[0] = '\0';
	tracking->not_before = now + tracking->interval;
}

/* Pause for longer each time. */
static void
pause_longer(Tracking *tracking, TimestampTz now)
{
	int64		pause = Max(tracking->interval, MIN_PAUSE);

	for (int i = 0; i < tracking->failures && pause < MAX_PAUSE; i++)
		pause *= 2;
	tracking->failures++;
	tracking->not_before = now + Min(pause, MAX_PAUSE);
}

void
tracking_wait(Tracking *tracking, TimestampTz now)
{
	pause_longer(tracking, now);
}

void
tracking_refused(Tracking *tracking, TimestampTz now)
{
	tracking->not_before = now + MAX_PAUSE;
}

void
tracking_failed(Tracking *tracking, TimestampTz now)
{
	tracking->singles = SINGLES;
	pause_longer(tracking, now);
}

void
tracking_undo(Tracking *tracking, Oid server, TimestampTz now)
{
	tracking->nlooks = 0;
	begin_steps(tracking, server, now);
	for (int i = 0; i < tracking->nsteps; i++)
		tracking->due[i] = now + UNDO_PAUSE;
}
