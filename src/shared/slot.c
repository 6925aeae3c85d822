/*
 * slot.c
 *		A database's slot in the registry, and its states.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

#include "shared/clock.h"
#include "shared/slot.h"

/* A worker that failed comes back after 1 s, 2 s, 4 s ... up to this. */
#define MAX_RESTART_DELAY_S 60

/* A worker for which there was no process is tried again after this. */
#define NO_PROCESS_DELAY (USECS_PER_SEC / 2)

Registry   *registry = NULL;

void
registry_lock(LWLockMode mode)
{
	LWLockAcquire(registry->lock, mode);
}

void
registry_unlock(void)
{
	LWLockRelease(registry->lock);
}

DatabaseSlot *
slot_find(Oid database)
{
	Assert(LWLockHeldByMe(registry->lock));
	for (int i = 0; i < MAX_SLOTS; i++)
		if (registry->slots[i].database == database)
			return &registry->slots[i];
	return NULL;
}

/* Tell whether a worker is attached to a slot. */
static bool
is_attached(const DatabaseSlot *slot)
{
	return slot->state == SLOT_RUNNING || slot->state == SLOT_BLOCKED;
}

bool
slot_has_worker(const DatabaseSlot *slot)
{
	Assert(LWLockHeldByMe(registry->lock));
	return slot->state == SLOT_STARTING || is_attached(slot);
}

bool
slot_lacks_process(const DatabaseSlot *slot)
{
	return slot->start_failed && slot->start_failure == START_NO_PROCESS;
}

int64
slot_pause(const DatabaseSlot *slot)
{
	return Max(slot->not_before - clock_us(), 0);
}

int
slot_count_workers(void)
{
	int			workers = 0;

	for (int i = 0; i < MAX_SLOTS; i++)
		workers += slot_has_worker(&registry->slots[i]);
	return workers;
}

/* Move a slot to another state. */
static void
set_state(DatabaseSlot *slot, SlotState state)
{
	Assert(LWLockHeldByMeInMode(registry->lock, LW_EXCLUSIVE));
	Assert(state != SLOT_KNOWN || !slot->look);
	if (slot_has_worker(slot))
		ConditionVariableBroadcast(&registry->left);
	slot->state = state;
}

/* Find a slot that says nothing but a database's name. */
static DatabaseSlot *
find_idle_slot(void)
{
	for (int i = 0; i < MAX_SLOTS; i++)
	{
		DatabaseSlot *slot = &registry->slots[i];

		if (slot->state == SLOT_KNOWN && slot->reserved == 0 && !slot->news.prepared && slot->due == DT_NOEND)
			return slot;
	}
	return NULL;
}

DatabaseSlot *
slot_find_or_add(Oid database)
{
	DatabaseSlot *slot = slot_find(database);

	if (slot)
		return slot;

	slot = slot_find(InvalidOid);
	if (slot == NULL)
		slot = find_idle_slot();
	if (slot == NULL)
	{
		registry->overflow = true;
		return NULL;
	}
	slot_free(slot);
	slot->database = database;
	slot->orphans = true;
	slot->clock = registry->clock;
	slot->set_back = registry->set_back;
	slot->due = DT_NOEND;
	slot->news = (WorkerNews) {.due = DT_NOEND, .expires = DT_NOEND};
	set_state(slot, SLOT_KNOWN);
	return slot;
}

int64
slot_follow_clock(DatabaseSlot *slot)
{
	int64		step = clock_step(&slot->clock);

	Assert(LWLockHeldByMeInMode(registry->lock, LW_EXCLUSIVE));
	if (step < 0)
		slot->set_back = Max(slot->set_back, GetCurrentTimestamp() - step);
	return step;
}

void
slot_want(DatabaseSlot *slot)
{
	Assert(slot->state != SLOT_FREE);
	slot->look = true;
	if (slot->state == SLOT_KNOWN)
		set_state(slot, SLOT_WANTED);
}

void
slot_start(DatabaseSlot *slot)
{
	Assert(slot->state == SLOT_KNOWN || slot->state == SLOT_WANTED ||
		   slot->state == SLOT_RESTARTING);
	set_state(slot, SLOT_STARTING);
}

/* Return when a worker that ended may be followed by another. */
static int64
restart_time(const DatabaseSlot *slot)
{
	int			delay_s = 1 << Min(Max(slot->failures - 1, 0), 6);

	/*
	 * Even an orderly stop is followed by a pause: who terminates the worker to
	 * drop or rename the database needs a moment without it.
	 */
	return clock_us() + Min(delay_s, MAX_RESTART_DELAY_S) * USECS_PER_SEC;
}

bool
slot_note_error(DatabaseSlot *slot, const char *message)
{
	int			len = pg_mbcliplen(message, (int) strlen(message), REGISTRY_ERROR_SIZE - 1);
	bool		is_new = slot->last_error_at == 0 || (int) strlen(slot->last_error) != len ||
		memcmp(slot->last_error, message, len) != 0;

	Assert(LWLockHeldByMeInMode(registry->lock, LW_EXCLUSIVE));
	memcpy(slot->last_error, message, len);
	slot->last_error[len] = '\0';
	slot->last_error_encoding = GetDatabaseEncoding();
	slot->last_error_at = GetCurrentTimestamp();
	return is_new;
}

void
slot_start_failed(DatabaseSlot *slot, StartFailure why)
{
	Assert(slot->state == SLOT_STARTING);
	if (why == START_REFUSED)
	{
		slot_note_error(slot, "the database does not accept connections");
		if (slot->refused_since == 0)
			slot->refused_since = slot->last_error_at;
	}
	slot->look = true;
	slot->start_failed = true;
	slot->start_failure = why;
	if (why == START_NO_PROCESS)
		slot->not_before = clock_us() + NO_PROCESS_DELAY;
	else
	{
		slot->failures++;
		slot->not_before = restart_time(slot);
	}
	set_state(slot, SLOT_RESTARTING);
}

void
slot_give_up_start(DatabaseSlot *slot)
{
	Assert(slot->state == SLOT_STARTING);
	slot->look = true;
	set_state(slot, SLOT_WANTED);
}

void
slot_attach(DatabaseSlot *slot)
{
	Assert(slot->state != SLOT_FREE && !is_attached(slot));
	slot->latch = &MyProc->procLatch;
	slot->pid = MyProcPid;
	slot->started_at = GetCurrentTimestamp();
	slot->start_failed = false;
	set_state(slot, SLOT_RUNNING);
}

void
slot_block(DatabaseSlot *slot, bool blocked)
{
	Assert(is_attached(slot) && slot->pid == MyProcPid);
	set_state(slot, blocked ? SLOT_BLOCKED : SLOT_RUNNING);
}

/* The worker of a slot is no longer there. */
static void
detach(DatabaseSlot *slot)
{
	Assert(is_attached(slot) && slot->pid == MyProcPid);
	slot->latch = NULL;
	slot->pid = 0;
	slot->in_flight = 0;
	slot->obstruction = (Obstruction) {0};
	slot->refused_since = 0;
	slot->probe = false;
}

void
slot_leave(DatabaseSlot *slot, TimestampTz due)
{
	detach(slot);
	slot->due = Min(slot->due, due);
	set_state(slot, SLOT_KNOWN);
}

void
slot_restart(DatabaseSlot *slot)
{
	detach(slot);
	slot->look = true;
	slot->not_before = restart_time(slot);
	set_state(slot, SLOT_RESTARTING);
}

void
slot_free(DatabaseSlot *slot)
{
	set_state(slot, SLOT_FREE);
	memset(slot, 0, sizeof(DatabaseSlot));
}

Latch *
slot_latch(const DatabaseSlot *slot)
{
	Assert(LWLockHeldByMe(registry->lock));
	return slot && slot->latch ? slot->latch : registry->launcher;
}

void
slot_wake_launcher(void)
{
	Assert(LWLockHeldByMe(registry->lock));
	if (registry->launcher)
		SetLatch(registry->launcher);
}
