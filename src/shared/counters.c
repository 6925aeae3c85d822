/*
 * counters.c
 *		Counters and current state of each account, in shared memory.
 *
 * Each account has a slot, found by its database and server.  If there are more
 * accounts than slots, the account that has been idle the longest loses its slot, and
 * its counters start from zero when it is used again.  An account that is stopped, or
 * has a limit to keep, is not among them: its slot says what it may send.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "shared/counters.h"
#include "shared/counters_file.h"
#include "shared/mappings.h"
#include "shared/rate.h"

#define MAX_ACCOUNTS 1024

typedef struct SharedCounters
{
	LWLock	   *lock;
	int			nslots;			/* the first ones, which are or were in use */
	int			nretries;		/* accounts that are to be opened */
	int16		first[MAX_ACCOUNTS];	/* of the slots with a hash: a number from 1 on; 0: none */
	int16		next[MAX_ACCOUNTS];	/* the one with the same hash behind a slot */
	AccountCounters slots[MAX_ACCOUNTS];
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
		counters_file_write(shared_counters->slots, MAX_ACCOUNTS);
}

/* Return the place in "first" of an account. */
static int16 *
chain_of_account(Oid database, Oid server)
{
	return &shared_counters->first[hash_combine(murmurhash32(database), murmurhash32(server)) % MAX_ACCOUNTS];
}

/* Have a slot found by its account. */
static void
enter_slot(int i)
{
	const AccountCounters *slot = &shared_counters->slots[i];
	int16	   *first = chain_of_account(slot->database, slot->server);

	shared_counters->next[i] = *first;
	*first = (int16) (i + 1);
}

/* Have a slot found no longer. */
static void
remove_slot(int i)
{
	const AccountCounters *slot = &shared_counters->slots[i];
	int16	   *place = chain_of_account(slot->database, slot->server);

	while (*place != i + 1)
		place = &shared_counters->next[*place - 1];
	*place = shared_counters->next[i];
}

/* Take over the counters of the server's last run. */
static void
load_counters(void)
{
	counters_file_read(shared_counters->slots, MAX_ACCOUNTS);
	while (shared_counters->nslots < MAX_ACCOUNTS &&
		   OidIsValid(shared_counters->slots[shared_counters->nslots].database))
		enter_slot(shared_counters->nslots++);
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
		load_counters();
	}
	if (!IsUnderPostmaster)
		on_shmem_exit(save_counters, (Datum) 0);
}

/* Return the slot of an account of this database, or NULL. */
static AccountCounters *
find_counters(Oid server)
{
	Assert(LWLockHeldByMe(shared_counters->lock));
	for (int i = *chain_of_account(MyDatabaseId, server); i > 0; i = shared_counters->next[i - 1])
	{
		AccountCounters *slot = &shared_counters->slots[i - 1];

		if (slot->database == MyDatabaseId && slot->server == server)
			return slot;
	}
	return NULL;
}

/* What a slot says of a day no longer matters after this; its database may be gone. */
#define MATTERS_FOR (2 * USECS_PER_DAY)

/* Tell whether a slot says what its account may send, or that it is to be opened. */
static bool
slot_matters(const AccountCounters *slot)
{
	return slot->used_at > now - MATTERS_FOR &&
		(account_has_stopped(slot->live.state) || slot->live.in_flight > 0 || slot->retry ||
		 slot->day_parts.day != 0 || slot->sessions_slot > now || slot->live.next_slot > now);
}

/* Return a free slot, or else the least recently used one that may be taken; -1: there is none. */
static int
spare_slot(void)
{
	int			spare = -1;

	if (shared_counters->nslots < MAX_ACCOUNTS)
		return shared_counters->nslots++;
	for (int i = 0; i < MAX_ACCOUNTS; i++)
	{
		const AccountCounters *slot = &shared_counters->slots[i];

		if (!slot_matters(slot) && (spare < 0 || slot->used_at < shared_counters->slots[spare].used_at))
			spare = i;
	}
	if (spare >= 0)
		remove_slot(spare);
	return spare;
}

/* Take a slot for an account; NULL if there is none. */
static AccountCounters *
take_slot(Oid server)
{
	int			i = spare_slot();
	AccountCounters *slot;

	if (i < 0)
		return NULL;
	slot = &shared_counters->slots[i];
	memset(slot, 0, sizeof(AccountCounters));
	slot->database = MyDatabaseId;
	slot->server = server;
	slot->reset_at = now;
	enter_slot(i);
	return slot;
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
		slot = take_slot(server);
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

/* Add to the hour, which began when it was last empty. */
static void
count_in_hour(HourCounts *hour, CounterId counter, int64 n)
{
	if (hour->hour == 0)
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
	for (int i = 0; shared_counters->nretries > 0 && i < shared_counters->nslots; i++)
	{
		AccountCounters *slot = &shared_counters->slots[i];

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
	for (int i = 0; i < shared_counters->nslots; i++)
		if (shared_counters->slots[i].database == MyDatabaseId)
			memset(&shared_counters->slots[i].live, 0, sizeof(LiveState));
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
	for (int i = 0; i < shared_counters->nslots; i++)
	{
		AccountCounters *slot = &shared_counters->slots[i];

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
	for (int i = 0; i < shared_counters->nslots; i++)
		if (shared_counters->slots[i].database == MyDatabaseId)
		{
			shared_counters->slots[i].day_parts.day = 0;
			shared_counters->slots[i].day_parts.reached = 0;
		}
	counters_end();
}

/* -------------------------------------------------------------------------
 * Times
 * ------------------------------------------------------------------------- */

void
counters_add_time(Oid server, TimeId id, int64 duration)
{
	AccountCounters *slot = find_or_take_slot(server);

	if (slot == NULL)
		return;
	slot->times[id].sum += Max(duration, 0);
	slot->times[id].counts[histogram_bucket(duration)]++;
	if (id == TIME_REQUEST)
		slot->hour.times[histogram_bucket(duration)]++;
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
	for (int i = 0; i < shared_counters->nslots; i++)
	{
		const AccountCounters *slot = &shared_counters->slots[i];

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
