/*
 * registry_launcher.c
 *		The registry of databases, as the launcher uses it.
 */
#include "postgres.h"

#include "storage/proc.h"
#include "utils/timestamp.h"

#include "shared/clock.h"
#include "shared/slot.h"

/* A step of the clock is told of from this on. */
#define STEP_NOTED USECS_PER_MINUTE

void
registry_launcher_attach(void)
{
	registry_lock(LW_EXCLUSIVE);
	registry->launcher = &MyProc->procLatch;

	/* What a former launcher was starting may never come: look again. */
	for (int i = 0; i < MAX_SLOTS; i++)
		if (registry->slots[i].state == SLOT_STARTING)
			slot_give_up_start(&registry->slots[i]);
	registry_unlock();
}

void
registry_launcher_detach(void)
{
	registry_lock(LW_EXCLUSIVE);
	registry->launcher = NULL;
	registry_unlock();
}

bool
registry_take_overflow(void)
{
	bool		overflow;

	registry_lock(LW_EXCLUSIVE);
	overflow = registry->overflow;
	registry->overflow = false;
	registry_unlock();
	return overflow;
}

bool
registry_probe(Oid database)
{
	DatabaseSlot *slot = NULL;
	bool		probing = false;

	registry_lock(LW_EXCLUSIVE);
	for (int i = 0; i < MAX_SLOTS; i++)
		probing |= registry->slots[i].probe;
	if (!probing && (slot = slot_find_or_add(database)) != NULL)
	{
		slot_want(slot);
		slot->probe = true;
		slot->news.due = DT_NOBEGIN;
		if (slot->latch)
			SetLatch(slot->latch);
	}
	registry_unlock();
	return slot != NULL;
}

/* Have idle workers leave, or no longer. */
static void
set_crowded(bool crowded)
{
	Assert(LWLockHeldByMeInMode(registry->lock, LW_EXCLUSIVE));
	if (crowded && !registry->crowded)
		for (int i = 0; i < MAX_SLOTS; i++)
			if (registry->slots[i].latch)
				SetLatch(registry->slots[i].latch);
	registry->crowded = crowded;
}

Oid
registry_take_wanted(TimestampTz now, TimestampTz *wake_at, WorkerShortage *shortage)
{
	DatabaseSlot *first = NULL;
	Oid			database = InvalidOid;
	int			workers;

	*wake_at = DT_NOEND;
	*shortage = SHORT_OF_NOTHING;

	registry_lock(LW_EXCLUSIVE);
	workers = slot_count_workers();
	for (int i = 0; i < MAX_SLOTS; i++)
	{
		DatabaseSlot *slot = &registry->slots[i];
		TimestampTz when;

		if (slot->state == SLOT_FREE || slot_has_worker(slot) || slot->reserved > 0)
			continue;
		when = slot->look ? DT_NOBEGIN : slot->due;
		if (slot_pause(slot) > 0)
			when = Max(when, now + slot_pause(slot));
		if (slot_lacks_process(slot))
			*shortage = SHORT_OF_PROCESSES;
		if (when > now)
			*wake_at = Min(*wake_at, when);
		else if (workers >= registry_max_workers)
			*shortage = SHORT_OF_WORKERS;
		else if (first == NULL || slot->started_at < first->started_at)
			first = slot;		/* it has waited longest for its turn */
	}
	if (first)
	{
		slot_start(first);
		database = first->database;
	}
	else
		set_crowded(*shortage != SHORT_OF_NOTHING);
	registry_unlock();
	return database;
}

void
registry_look_everywhere(void)
{
	registry_lock(LW_EXCLUSIVE);
	for (int i = 0; i < MAX_SLOTS; i++)
	{
		DatabaseSlot *slot = &registry->slots[i];

		if (slot->state == SLOT_FREE)
			continue;
		slot_want(slot);
		slot->news.accounts.any = true;
		if (slot->latch)
			SetLatch(slot->latch);
	}
	registry_unlock();
}

bool
registry_is_starting(Oid database)
{
	DatabaseSlot *slot;
	bool		starting;

	registry_lock(LW_SHARED);
	slot = slot_find(database);
	starting = slot && slot->state == SLOT_STARTING;
	registry_unlock();
	return starting;
}

bool
registry_start_failed(Oid database, StartFailure why)
{
	DatabaseSlot *slot;
	bool		is_news = false;

	registry_lock(LW_EXCLUSIVE);
	slot = slot_find(database);
	if (slot && slot->state == SLOT_STARTING)
	{
		is_news = !slot->start_failed || slot->start_failure != why;
		slot_start_failed(slot, why);
		slot->probe = false;
	}
	registry_unlock();
	return is_news;
}

void
registry_follow_clock(void)
{
	int64		step;

	registry_lock(LW_EXCLUSIVE);
	step = clock_step(&registry->clock);
	if (step >= STEP_NOTED || step <= -STEP_NOTED)
	{
		registry->stepped_at = GetCurrentTimestamp();
		registry->step = step;
	}
	for (int i = 0; step != 0 && i < MAX_SLOTS; i++)
	{
		DatabaseSlot *slot = &registry->slots[i];

		/* A worker that is there notices it itself. */
		if (slot->state != SLOT_FREE && slot->latch == NULL && slot_follow_clock(slot) < 0 &&
			(slot->state != SLOT_KNOWN || slot->due != DT_NOEND))
			slot_want(slot);
	}
	registry_unlock();
}

void
registry_forget(Oid database)
{
	DatabaseSlot *slot;

	registry_lock(LW_EXCLUSIVE);
	slot = slot_find(database);
	if (slot && slot->latch == NULL)
		slot_free(slot);
	registry_unlock();
}
