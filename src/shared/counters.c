/*
 * counters.c
 *		Counters and current state of each account, in shared memory.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "shared/counters.h"
#include "shared/counters_file.h"
#include "shared/counters_table.h"
#include "shared/mappings.h"
#include "shared/rate.h"

typedef struct SharedCounters
{
	LWLock	   *lock;
	int			nretries;		/* accounts that are to be opened */
	CountersTable table;
} SharedCounters;

static SharedCounters *shared_counters = NULL;
static TimestampTz now;			/* when counters_begin() was called */

Size
counters_size(void)
{
	return MAXALIGN(sizeof(SharedCounters));
}

/* At the postmaster's exit, unless after a crash: keep the counters. */
static void
save_counters(int code, Datum arg)
{
	if (code == 0 && shared_counters != NULL)
		counters_file_write(shared_counters->table.slots, MAX_ACCOUNTS);
}

void
counters_startup(LWLock *lock)
{
	bool		found;

	shared_counters = ShmemInitStruct("sms3300 counters", counters_size(), &found);
	if (!found)
	{
		memset(shared_counters, 0, counters_size());
		shared_counters->lock = lock;
		counters_table_load(&shared_counters->table);
	}
	if (!IsUnderPostmaster)
		on_shmem_exit(save_counters, (Datum) 0);
}

/* Return the slot of an account of this database, or NULL. */
static AccountCounters *
find_counters(Oid server)
{
	Assert(LWLockHeldByMe(shared_counters->lock));
	return counters_table_find(&shared_counters->table, server);
}

/*
 * Return the slot of an account, taking one if necessary.  Returns NULL if there is
 * no slot or no account; nothing is counted then.
 */
static AccountCounters *
find_or_take_slot(Oid server)
{
	AccountCounters *slot;

	Assert(LWLockHeldByMeInMode(shared_counters->lock, LW_EXCLUSIVE));
	if (!OidIsValid(server))
		return NULL;
	slot = find_counters(server);
	if (slot == NULL)
	{
		slot = counters_table_add(&shared_counters->table, server, now);
		if (slot)
			slot->reset_at = now;
	}
	if (slot)
		slot->used_at = now;
	return slot;
}

void
counters_begin(void)
{
	now = GetCurrentTimestamp();
	LWLockAcquire(shared_counters->lock, LW_EXCLUSIVE);
}

void
counters_lock_shared(void)
{
	LWLockAcquire(shared_counters->lock, LW_SHARED);
}

void
counters_end(void)
{
	LWLockRelease(shared_counters->lock);
}

/*
 * Add to the hour, which began when it was last empty.  One that is to come was told by
 * another clock.
 */
static void
count_in_hour(HourCounts *hour, CounterId counter, int64 n)
{
	if (hour->hour == 0 || hour->hour > now)
		hour->hour = counters_hour(now);
	switch (counter)
	{
		case COUNTER_SENT:
			hour->sent += n;
			break;
		case COUNTER_REJECTED:
			hour->rejected += n;
			break;
		case COUNTER_UNKNOWN:
			hour->unknown += n;
			break;
		case COUNTER_REQUESTS:
			hour->requests += n;
			break;
		default:
			break;
	}
}

void
counters_add(Oid server, CounterId counter, int64 n)
{
	AccountCounters *slot = find_or_take_slot(server);

	if (slot == NULL)
		return;
	slot->counters[counter] += n;
	count_in_hour(&slot->hour, counter, n);
}

void
counters_set_live(Oid server, uint64 version, const LiveState *live, const char *reason)
{
	AccountCounters *slot = find_or_take_slot(server);

	if (slot == NULL)
		return;
	slot->version = version;
	if (account_has_stopped(slot->live.state) != account_has_stopped(live->state))
		slot->state_since = now;
	slot->live = *live;
	strlcpy(slot->reason, reason, COUNTERS_REASON_SIZE);
}

void
counters_set_looked(Oid server, uint64 version, const TimestampTz *looked, int nlooked)
{
	AccountCounters *slot = find_or_take_slot(server);

	if (slot == NULL)
		return;
	slot->looked_version = version;
	memcpy(slot->looked, looked, sizeof(TimestampTz) * nlooked);
}

void
counters_set_delivery_problem(Oid server, const char *problem)
{
	AccountCounters *slot = find_or_take_slot(server);

	if (slot == NULL)
		return;
	if (problem[0] == '\0')
		slot->delivery_problem_at = 0;
	else if (slot->delivery_problem_at == 0)
		slot->delivery_problem_at = now;
	strlcpy(slot->delivery_problem, problem, COUNTERS_REASON_SIZE);
}

uint64
counters_exchange_version(Oid server, uint64 version)
{
	AccountCounters *slot;
	uint64		former = 0;

	LWLockAcquire(shared_counters->lock, LW_EXCLUSIVE);
	slot = find_counters(server);
	if (slot)
	{
		former = slot->version;
		slot->version = version;
	}
	LWLockRelease(shared_counters->lock);
	return former;
}

/* A slot that is further away than any can be comes from a former rate, or the clock was set back. */
static TimestampTz
believed(TimestampTz slot, int64 width)
{
	return slot > now + Max(width, USECS_PER_SEC) ? 0 : slot;
}

bool
counters_take_slot(Oid server, double rate, TimestampTz *next)
{
	int64		width = rate_slot_width(rate);
	AccountCounters *slot;
	bool		taken = true;

	counters_begin();
	slot = find_or_take_slot(server);
	if (slot)
	{
		*next = Max(believed(slot->sessions_slot, width), believed(slot->live.next_slot, width));
		taken = *next <= now;
		if (taken)
			slot->sessions_slot = now + width;
	}
	counters_end();
	return taken;
}

TimestampTz
counters_sessions_slot(Oid server)
{
	AccountCounters *slot;
	TimestampTz next;

	LWLockAcquire(shared_counters->lock, LW_SHARED);
	slot = find_counters(server);
	next = slot ? slot->sessions_slot : 0;
	LWLockRelease(shared_counters->lock);
	return next;
}

void
counters_request_retry(Oid server)
{
	AccountCounters *slot;

	counters_begin();
	slot = find_or_take_slot(server);
	if (slot && !slot->retry)
	{
		slot->retry = true;
		shared_counters->nretries++;
	}
	counters_end();
}

void
counters_take_retries(void (*open) (Oid server))
{
	Oid			servers[MAX_ACCOUNTS];
	int			n = 0;

	LWLockAcquire(shared_counters->lock, LW_EXCLUSIVE);
	for (int i = 0; shared_counters->nretries > 0 && i < shared_counters->table.nslots; i++)
	{
		AccountCounters *slot = &shared_counters->table.slots[i];

		if (slot->database != MyDatabaseId || !slot->retry)
			continue;
		slot->retry = false;
		shared_counters->nretries--;
		servers[n++] = slot->server;
	}
	LWLockRelease(shared_counters->lock);
	for (int i = 0; i < n; i++)
		open(servers[i]);
}

void
counters_forget_live(void)
{
	counters_begin();
	for (int i = 0; i < shared_counters->table.nslots; i++)
		if (shared_counters->table.slots[i].database == MyDatabaseId)
			memset(&shared_counters->table.slots[i].live, 0, sizeof(LiveState));
	mappings_forget();
	counters_end();
}

bool
counters_read(Oid server, AccountCounters *copy)
{
	AccountCounters *slot;

	LWLockAcquire(shared_counters->lock, LW_SHARED);
	slot = find_counters(server);
	if (slot)
		*copy = *slot;
	LWLockRelease(shared_counters->lock);
	return slot != NULL;
}

void
counters_reset(void)
{
	counters_begin();
	for (int i = 0; i < shared_counters->table.nslots; i++)
	{
		AccountCounters *slot = &shared_counters->table.slots[i];

		if (slot->database != MyDatabaseId)
			continue;
		memset(slot->counters, 0, sizeof(slot->counters));
		memset(slot->times, 0, sizeof(slot->times));
		slot->reset_at = now;
	}
	counters_end();
}

/* -------------------------------------------------------------------------
 * The parts of a day
 * ------------------------------------------------------------------------- */

void
counters_read_day(Oid server, DayParts *copy)
{
	AccountCounters *slot;

	LWLockAcquire(shared_counters->lock, LW_SHARED);
	slot = find_counters(server);
	if (slot)
		*copy = slot->day_parts;
	LWLockRelease(shared_counters->lock);
}

/*
 * What was sent at once is not in the table.  It stays where the day is only counted
 * again.
 */
void
counters_begin_day(Oid server, TimestampTz day, int64 queued, DayParts *copy)
{
	AccountCounters *slot;

	counters_begin();
	slot = find_or_take_slot(server);
	if (slot && slot->day_parts.day != day)
	{
		bool		again = slot->day_parts.day == 0 && slot->counted_day == day;

		slot->day_parts.day = slot->counted_day = day;
		slot->day_parts.queued = queued;
		if (!again)
		{
			slot->day_parts.at_once = 0;
			slot->day_parts.reached = 0;
		}
	}
	if (slot)
		*copy = slot->day_parts;
	counters_end();
}

int64
counters_spend_day(Oid server, TimestampTz day, int parts, bool at_once)
{
	AccountCounters *slot;
	int64		spent = 0;

	counters_begin();
	slot = find_counters(server);
	if (slot && slot->day_parts.day == day)
	{
		*(at_once ? &slot->day_parts.at_once : &slot->day_parts.queued) += parts;
		spent = slot->day_parts.at_once + slot->day_parts.queued;
	}
	counters_end();
	return spent;
}

void
counters_return_day(Oid server, TimestampTz claimed_at, int parts)
{
	AccountCounters *slot;

	counters_begin();
	slot = find_counters(server);
	if (slot && slot->day_parts.day != 0 && claimed_at >= slot->day_parts.day && parts > 0)
	{
		slot->day_parts.queued = Max(slot->day_parts.queued - parts, 0);
		slot->day_parts.reached = 0;
	}
	counters_end();
}

bool
counters_reach_day(Oid server, uint64 version)
{
	AccountCounters *slot;
	bool		is_new;

	counters_begin();
	slot = find_counters(server);
	is_new = slot && slot->day_parts.reached != version;
	if (slot)
		slot->day_parts.reached = version;
	counters_end();
	return is_new;
}

void
counters_forget_days(void)
{
	counters_begin();
	for (int i = 0; i < shared_counters->table.nslots; i++)
		if (shared_counters->table.slots[i].database == MyDatabaseId)
		{
			shared_counters->table.slots[i].day_parts.day = 0;
			shared_counters->table.slots[i].day_parts.reached = 0;
		}
	counters_end();
}

/* -------------------------------------------------------------------------
 * Times
 * ------------------------------------------------------------------------- */

/* So much of the difference goes into the mean of what requests take now: the last three or so count. */
#define PACE_OF_MEAN 2

void
counters_add_time(Oid server, TimeId id, int64 duration)
{
	AccountCounters *slot = find_or_take_slot(server);

	if (slot == NULL)
		return;
	slot->times[id].sum += Max(duration, 0);
	slot->times[id].counts[histogram_bucket(duration)]++;
	if (id != TIME_REQUEST)
		return;
	slot->hour.times[histogram_bucket(duration)]++;
	slot->request_time += slot->request_time == 0 ? duration : (duration - slot->request_time) / PACE_OF_MEAN;
}

/* -------------------------------------------------------------------------
 * The hour, of which a worker writes a history
 * ------------------------------------------------------------------------- */

TimestampTz
counters_hour(TimestampTz time)
{
	return time - ((time % USECS_PER_HOUR) + USECS_PER_HOUR) % USECS_PER_HOUR;
}

bool
counters_any_past_hour(TimestampTz before)
{
	bool		any = false;

	LWLockAcquire(shared_counters->lock, LW_SHARED);
	for (int i = 0; i < shared_counters->table.nslots; i++)
	{
		const AccountCounters *slot = &shared_counters->table.slots[i];

		any |= slot->database == MyDatabaseId && slot->hour.hour != 0 && slot->hour.hour < before;
	}
	LWLockRelease(shared_counters->lock);
	return any;
}

bool
counters_past_hour(Oid server, TimestampTz before, HourCounts *copy)
{
	AccountCounters *slot;
	bool		past;

	LWLockAcquire(shared_counters->lock, LW_SHARED);
	slot = find_counters(server);
	past = slot && slot->hour.hour != 0 && slot->hour.hour < before;
	if (past)
		*copy = slot->hour;
	LWLockRelease(shared_counters->lock);
	return past;
}

void
counters_forget_hour(Oid server, const HourCounts *written)
{
	AccountCounters *slot;

	counters_begin();
	slot = find_counters(server);
	if (slot && slot->hour.hour == written->hour)
	{
		HourCounts *hour = &slot->hour;

		/* Another session may have counted meanwhile. */
		hour->sent -= written->sent;
		hour->rejected -= written->rejected;
		hour->unknown -= written->unknown;
		hour->requests -= written->requests;
		for (int i = 0; i < NUM_BUCKETS; i++)
			hour->times[i] -= written->times[i];
		hour->hour = hour->sent || hour->rejected || hour->unknown || hour->requests ? counters_hour(now) : 0;
	}
	counters_end();
}

double
hour_percentile(const HourCounts *hour, double fraction)
{
	Histogram	histogram = {0};

	for (int i = 0; i < NUM_BUCKETS; i++)
		histogram.counts[i] = hour->times[i];
	return histogram_percentile(&histogram, fraction);
}
