/*
 * slot.c
 *		A database's slot in the registry, and its states.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

#include "shared/slot.h"

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
	slot->state = state;
}

/* Find a slot that says nothing but a database's name. */
static DatabaseSlot *
find_idle_slot(void)
{
	for (int i = 0; i < MAX_SLOTS; i++)
	{
		DatabaseSlot *slot = &registry->slots[i];

		if (slot->state == SLOT_KNOWN && !slot->news.prepared && slot->due == DT_NOEND)
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
	slot->due = DT_NOEND;
	slot->news = (WorkerNews) {DT_NOEND, DT_NOEND, false};
	set_state(slot, SLOT_KNOWN);
	return slot;
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
	slot->refused = false;
	set_state(slot, SLOT_STARTING);
}

void
slot_start_failed(DatabaseSlot *slot, TimestampTz retry_at)
{
	Assert(slot->state == SLOT_STARTING);
	slot->look = true;
	slot->not_before = retry_at;
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
slot_restart(DatabaseSlot *slot, TimestampTz not_before)
{
	detach(slot);
	slot->look = true;
	slot->not_before = not_before;
	set_state(slot, SLOT_RESTARTING);
}

void
slot_free(DatabaseSlot *slot)
{
	memset(slot, 0, sizeof(DatabaseSlot));
	set_state(slot, SLOT_FREE);
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
