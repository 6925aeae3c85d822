/*
 * registry.c
 *		Which databases have something to send, and who serves them.
 *
 * A slot says what is known of a database without connecting to it: whether
 * a worker should look at its table, when the next message is due, and whose
 * latch to set.  This file has the memory, and what any backend does with it;
 * slot.c has the states, registry_launcher.c and registry_worker.c the rest.
 *
 * No wake-up is lost: a producer sets "look" and then the latch of the worker,
 * or the launcher's if there is no worker; a worker clears "look" before it
 * reads the table, and leaves only if "look" is still clear.
 */
#include "postgres.h"

#include "common/controldata_utils.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "shared/clock.h"
#include "shared/counters.h"
#include "shared/mappings.h"
#include "shared/slot.h"
#include "shared/stuck.h"

bool		registry_enabled = true;
int			registry_max_workers = 8;

static shmem_startup_hook_type prev_shmem_startup_hook = NULL;
#ifdef HAVE_SHMEM_REQUEST_HOOK
static shmem_request_hook_type prev_shmem_request_hook = NULL;
#endif

/* Ask for the memory and the lock. */
static void
request_memory(void)
{
#ifdef HAVE_SHMEM_REQUEST_HOOK
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
#endif
	RequestAddinShmemSpace(MAXALIGN(sizeof(Registry)));
	RequestAddinShmemSpace(counters_size());
	RequestAddinShmemSpace(stuck_size());
	RequestAddinShmemSpace(mappings_size());
	RequestNamedLWLockTranche("sms3300", 3);
}

/*
 * Return the time until which the server ran before, if the clock shows an earlier one now;
 * 0: it does not.  After a crash that is when it last wrote a checkpoint.
 */
static TimestampTz
clock_before(void)
{
	bool		crc_ok;
	ControlFileData *control = get_controlfile(DataDir, &crc_ok);
	TimestampTz before = crc_ok ? time_t_to_timestamptz(control->time) : 0;

	pfree(control);
	return before > GetCurrentTimestamp() + CLOCK_TOLERANCE ? before : 0;
}

/* Find the shared state, or lay it out after the server's start or a crash. */
static void
lay_out_memory(void)
{
	bool		found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	registry = ShmemInitStruct("sms3300", sizeof(Registry), &found);
	if (!found)
	{
		memset(registry, 0, sizeof(Registry));
		ConditionVariableInit(&registry->left);
		registry->started_at = GetCurrentTimestamp();
		registry->clock = clock_difference();
		registry->set_back = clock_before();
		registry->lock = &GetNamedLWLockTranche("sms3300")[0].lock;
	}
	counters_startup(&GetNamedLWLockTranche("sms3300")[1].lock);
	stuck_startup(&GetNamedLWLockTranche("sms3300")[2].lock);
	mappings_startup();
	LWLockRelease(AddinShmemInitLock);
}

void
registry_request(void)
{
#ifdef HAVE_SHMEM_REQUEST_HOOK
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
#else
	request_memory();
#endif
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = lay_out_memory;
}

bool
registry_attached(void)
{
	return registry != NULL;
}

int64
registry_clock_step(TimestampTz *at)
{
	int64		step;

	registry_lock(LW_SHARED);
	step = registry->step;
	*at = registry->stepped_at;
	registry_unlock();
	return step;
}

void
registry_note_armed(TimestampTz now)
{
	registry_lock(LW_EXCLUSIVE);
	registry->armed_at = now;
	registry_unlock();
}

TimestampTz
registry_armed_at(void)
{
	TimestampTz at;

	registry_lock(LW_SHARED);
	at = registry->armed_at;
	registry_unlock();
	return at;
}

void
registry_notify(Oid database, const NewsAccounts *accounts, TimestampTz due, TimestampTz expires)
{
	bool		now_due = due <= GetCurrentTimestamp();
	DatabaseSlot *slot;
	Latch	   *latch = NULL;

	registry_lock(LW_EXCLUSIVE);
	slot = slot_find_or_add(database);
	if (slot)
	{
		slot->news.due = Min(slot->news.due, due);
		slot->news.expires = Min(slot->news.expires, expires);
		news_add_all(&slot->news.accounts, accounts);
	}
	if (slot == NULL)
		latch = slot_latch(slot);
	else if (now_due)
	{
		slot_want(slot);
		latch = slot_latch(slot);
	}
	else if (due < slot->due)
	{
		slot->due = due;
		latch = slot_latch(slot);
	}
	registry_unlock();

	if (latch)
		SetLatch(latch);
}

void
registry_retry(Oid database)
{
	DatabaseSlot *slot;
	Latch	   *latch;

	registry_lock(LW_EXCLUSIVE);
	slot = slot_find_or_add(database);
	if (slot)
	{
		slot->news.due = DT_NOBEGIN;
		slot->not_before = 0;
		slot_want(slot);
	}
	latch = slot_latch(slot);
	registry_unlock();

	if (latch)
		SetLatch(latch);
}

void
registry_reserve(Oid database)
{
	DatabaseSlot *slot;

	registry_lock(LW_EXCLUSIVE);
	slot = slot_find(database);
	if (slot)
	{
		slot->reserved++;
		if (slot->latch)
			SetLatch(slot->latch);
	}
	registry_unlock();
}

void
registry_release(Oid database)
{
	DatabaseSlot *slot;
	Latch	   *latch = NULL;

	registry_lock(LW_EXCLUSIVE);
	slot = slot_find(database);
	if (slot && slot->reserved > 0 && --slot->reserved == 0)
		latch = slot_latch(slot);
	registry_unlock();

	if (latch)
		SetLatch(latch);
}

/* Return whether a database has a worker, also one that is being started. */
static bool
has_worker(Oid database)
{
	DatabaseSlot *slot;
	bool		has;

	registry_lock(LW_SHARED);
	slot = slot_find(database);
	has = slot && slot_has_worker(slot);
	registry_unlock();
	return has;
}

void
registry_await_leave(Oid database, int64 timeout)
{
	static uint32 wait_event = 0;
	int64		deadline = clock_us() + timeout;
	int64		now;

	if (wait_event == 0)
		wait_event = wait_event_named("Sms3300WorkerLeave");
	ConditionVariablePrepareToSleep(&registry->left);
	while (has_worker(database) && (now = clock_us()) < deadline)
		ConditionVariableTimedSleep(&registry->left, (long) ((deadline - now + 999) / 1000),
									wait_event);
	ConditionVariableCancelSleep();
}

void
registry_notify_prepared(Oid database)
{
	DatabaseSlot *slot;
	Latch	   *latch;

	registry_lock(LW_EXCLUSIVE);
	slot = slot_find_or_add(database);
	if (slot)
	{
		slot->news.prepared = slot->news.accounts.any = true;
		slot_want(slot);
	}
	latch = slot_latch(slot);
	registry_unlock();

	if (latch)
		SetLatch(latch);
}

void
registry_forget_error(Oid database)
{
	DatabaseSlot *slot;

	registry_lock(LW_EXCLUSIVE);
	slot = slot_find(database);
	if (slot)
		slot->last_error_at = 0;
	registry_unlock();
}

/* What a database's worker is doing. */
static WorkerState
state_of(const DatabaseSlot *slot, TimestampTz now)
{
	Assert(LWLockHeldByMe(registry->lock));
	switch (slot->state)
	{
		case SLOT_RUNNING:
			return WORKER_RUNNING;
		case SLOT_BLOCKED:
			return WORKER_BLOCKED;
		case SLOT_STARTING:
			return WORKER_STARTING;
		case SLOT_FREE:
			return WORKER_NONE;
		case SLOT_KNOWN:
		case SLOT_WANTED:
		case SLOT_RESTARTING:
			break;
	}
	if (slot_lacks_process(slot))
		return WORKER_WAITING;
	if (!slot->look && slot->due > now)
		return WORKER_NONE;
	if (slot_pause(slot) > 0)
		return WORKER_RESTARTING;
	return slot_count_workers() >= registry_max_workers ? WORKER_WAITING : WORKER_STARTING;
}

bool
registry_worker_stat(Oid database, WorkerStat *stat)
{
	TimestampTz now = GetCurrentTimestamp();
	DatabaseSlot *slot;
	int			encoding = GetDatabaseEncoding();

	memset(stat, 0, sizeof(WorkerStat));
	registry_lock(LW_SHARED);
	slot = slot_find(database);
	if (slot)
	{
		stat->state = state_of(slot, now);
		stat->pid = slot->pid;
		stat->started_at = slot->started_at;
		stat->in_flight = slot->in_flight;
		stat->obstruction = slot->obstruction;
		stat->refused = slot_lacks_process(slot);
		stat->not_before = now + slot_pause(slot);
		stat->last_error_at = slot->last_error_at;
		memcpy(stat->last_error, slot->last_error, REGISTRY_ERROR_SIZE);
		encoding = slot->last_error_encoding;
	}
	registry_unlock();

	/* What another database's encoding says cannot be read in this one's. */
	if (encoding != GetDatabaseEncoding())
		for (char *c = stat->last_error; *c; c++)
			if (IS_HIGHBIT_SET(*c))
				*c = '?';
	return slot != NULL;
}
