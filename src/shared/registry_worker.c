/*
 * registry_worker.c
 *		The registry of databases, as a worker uses it.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/procarray.h"
#include "utils/timestamp.h"

#include "shared/clock.h"
#include "shared/counters.h"
#include "shared/slot.h"

/* A worker that cannot connect again logs it when so much time has passed. */
#define TELL_INTERVAL USECS_PER_MINUTE

static DatabaseSlot *my_slot = NULL;	/* while this worker is attached */

TimestampTz
registry_started_at(void)
{
	return registry->started_at;
}

bool
registry_worker_may_tell(Oid database)
{
	int64		now = clock_us();
	DatabaseSlot *slot;
	bool		tell;

	registry_lock(LW_EXCLUSIVE);
	slot = slot_find(database);
	tell = slot == NULL || !slot->start_failed || slot->told_at + TELL_INTERVAL <= now;
	if (slot && tell)
		slot->told_at = now;
	registry_unlock();
	return tell;
}

int64
registry_worker_clock_step(void)
{
	int64		known = my_slot->clock; /* nobody else writes it now */
	int64		step = clock_step(&known);

	if (step != 0)
	{
		registry_lock(LW_EXCLUSIVE);
		step = slot_follow_clock(my_slot);
		registry_unlock();
	}
	return step;
}

TimestampTz
registry_worker_set_back(void)
{
	TimestampTz former;

	registry_lock(LW_SHARED);
	former = my_slot->set_back;
	registry_unlock();
	return former;
}

void
registry_worker_end_set_back(void)
{
	registry_lock(LW_EXCLUSIVE);
	my_slot->set_back = 0;
	registry_unlock();
}

bool
registry_worker_attach(bool *orphans, bool *probe)
{
	DatabaseSlot *slot;

	registry_lock(LW_EXCLUSIVE);
	slot = slot_find_or_add(MyDatabaseId);
	if (slot && slot->latch == NULL)
	{
		slot_attach(slot);
		*orphans = slot->orphans;
		*probe = slot->probe;
		slot->orphans = true;	/* until it is known that none are left */
		my_slot = slot;
	}
	registry_unlock();
	return my_slot != NULL;
}

/* After a transition: this process is no longer attached. */
static void
forget_slot(void)
{
	counters_forget_live();
	my_slot = NULL;
	slot_wake_launcher();
}

void
registry_worker_detach(bool failed, bool orphans)
{
	if (my_slot == NULL)
		return;

	registry_lock(LW_EXCLUSIVE);
	if (failed)
		slot_note_error(my_slot, "the worker terminated with an error; see the server log");
	my_slot->orphans = orphans;
	my_slot->failures = failed ? my_slot->failures + 1 : 0;
	slot_restart(my_slot);
	forget_slot();
	registry_unlock();
}

bool
registry_worker_leave_idle(TimestampTz due)
{
	bool		leave;
	int64		clock;

	registry_lock(LW_EXCLUSIVE);
	clock = my_slot->clock;
	leave = !my_slot->look && clock_step(&clock) == 0;
	if (leave)
	{
		my_slot->orphans = false;
		my_slot->failures = 0;
		slot_leave(my_slot, due);
		forget_slot();
	}
	registry_unlock();
	return leave;
}

bool
registry_worker_forget(void)
{
	bool		leave;

	registry_lock(LW_EXCLUSIVE);
	leave = !my_slot->look;
	if (leave)
	{
		slot_free(my_slot);
		forget_slot();
	}
	registry_unlock();
	return leave;
}

bool
registry_worker_wanted(TimestampTz now)
{
	bool		wanted;

	registry_lock(LW_SHARED);
	wanted = my_slot->look || my_slot->due <= now;
	registry_unlock();
	return wanted;
}

bool
registry_worker_is_reserved(void)
{
	bool		reserved;

	registry_lock(LW_SHARED);
	reserved = my_slot->reserved > 0;
	registry_unlock();
	return reserved;
}

bool
registry_worker_is_crowded(void)
{
	bool		crowded;

	registry_lock(LW_SHARED);
	crowded = registry->crowded;
	registry_unlock();
	return crowded;
}

void
registry_worker_begin_look(WorkerNews *news)
{
	registry_lock(LW_EXCLUSIVE);
	my_slot->look = false;
	my_slot->due = DT_NOEND;
	*news = my_slot->news;
	my_slot->news = (WorkerNews) {.due = DT_NOEND, .expires = DT_NOEND};
	registry_unlock();
}

void
registry_worker_obstruct(const Obstruction *obstruction)
{
	registry_lock(LW_EXCLUSIVE);
	my_slot->obstruction = *obstruction;
	slot_block(my_slot, obstruction->since != 0);
	registry_unlock();
}

Obstruction
registry_worker_obstruction(void)
{
	/* Nobody else writes it. */
	return my_slot->obstruction;
}

void
registry_worker_row_locked(int64 message, TransactionId xid)
{
	const Obstruction *noted = &my_slot->obstruction;
	Obstruction obstruction = {GetCurrentTimestamp(), message, xid, 0};

	if (noted->since == 0 || noted->message == 0 ||
		(noted->xid != xid && !TransactionIdIsInProgress(noted->xid)))
		registry_worker_obstruct(&obstruction);
}

void
registry_worker_end_look(void)
{
	registry_lock(LW_EXCLUSIVE);
	if (my_slot->probe)
		slot_wake_launcher();
	my_slot->probe = false;
	registry_unlock();
}

TimestampTz
registry_worker_due(void)
{
	TimestampTz due;

	registry_lock(LW_SHARED);
	due = my_slot->due;
	registry_unlock();
	return due;
}

void
registry_worker_in_flight(int in_flight)
{
	registry_lock(LW_EXCLUSIVE);
	my_slot->in_flight = in_flight;
	registry_unlock();
}

bool
registry_worker_error(const char *message)
{
	bool		is_new;

	registry_lock(LW_EXCLUSIVE);
	is_new = slot_note_error(my_slot, message);
	registry_unlock();
	return is_new;
}

bool
registry_worker_was_refused(TimestampTz *since, TimestampTz *until)
{
	registry_lock(LW_SHARED);
	*since = my_slot->refused_since;
	*until = my_slot->started_at;
	registry_unlock();
	return *since != 0;
}

bool
registry_worker_foreign(bool any)
{
	bool		news;

	registry_lock(LW_EXCLUSIVE);
	news = any && !my_slot->foreign;
	my_slot->foreign = any;
	registry_unlock();
	return news;
}
