/*
 * registry.c
 *		The registry of databases: which of them have work, and their workers.
 *
 * A slot holds what is known about a database without connecting to it: whether
 * its table should be read, when the next message is due, and which latch to
 * set.  A single lock protects all slots.  It is held for a few instructions.
 *
 * No wake-up is lost.  A producer sets "look" and then the latch of the worker, or
 * that of the launcher if there is no worker.  A worker clears "look" before it
 * reads the table, and exits only if "look" is still clear.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "shared/counters.h"
#include "shared/registry.h"

/* If there are more databases than slots, the launcher probes databases again. */
#define MAX_SLOTS 1024

/* A failed worker is restarted after 1 s, 2 s, 4 s ... up to this. */
#define MAX_RESTART_DELAY_S 60

typedef enum WorkerState
{
	WORKER_NONE,
	WORKER_STARTING,			/* registered by the launcher */
	WORKER_RUNNING				/* attached to its slot */
} WorkerState;

typedef struct DatabaseSlot
{
	Oid			database;		/* InvalidOid: the slot is free */
	bool		look;			/* the table should be read */
	bool		probe;			/* only to find out whether there is work */
	bool		orphans;		/* rows may be left with status 'sending' */
	bool		foreign;		/* there are messages queued by another database */
	TimestampTz due;			/* next message due; DT_NOEND: none known */
	WorkerNews	news;			/* since the last look */
	WorkerState state;
	Latch	   *latch;			/* the running worker's */
	bool		refused;		/* no background worker slot was free */
	int			failures;		/* consecutive */
	TimestampTz not_before;		/* no new worker before this */

	/* For monitoring */
	int			pid;			/* the running worker's */
	TimestampTz started_at;
	int			in_flight;
	TimestampTz last_error_at;	/* 0: no error */
	int			last_error_encoding;
	char		last_error[REGISTRY_ERROR_SIZE];
} DatabaseSlot;

typedef struct SharedState
{
	LWLock	   *lock;
	Latch	   *launcher;
	bool		overflow;		/* a database found no free slot */
	bool		crowded;		/* a database waits for a worker to exit */
	TimestampTz started_at;		/* time of initialization: start or crash restart */
	DatabaseSlot slots[MAX_SLOTS];
} SharedState;

bool		registry_enabled = true;
int			registry_max_workers = 8;

static SharedState *shared = NULL;
static DatabaseSlot *my_slot = NULL;	/* in a worker, while it is attached */

static shmem_startup_hook_type prev_shmem_startup_hook = NULL;
#ifdef HAVE_SHMEM_REQUEST_HOOK
static shmem_request_hook_type prev_shmem_request_hook = NULL;
#endif

/* Request the memory and the locks. */
static void
request(void)
{
#ifdef HAVE_SHMEM_REQUEST_HOOK
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
#endif
	RequestAddinShmemSpace(MAXALIGN(sizeof(SharedState)));
	RequestAddinShmemSpace(counters_size());
	RequestNamedLWLockTranche("sms3300", 2);
}

/* Find the shared state, or initialize it after a start or crash restart. */
static void
startup(void)
{
	bool		found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("sms3300", sizeof(SharedState), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(SharedState));
		shared->started_at = GetCurrentTimestamp();
		shared->lock = &GetNamedLWLockTranche("sms3300")[0].lock;
	}
	counters_startup(&GetNamedLWLockTranche("sms3300")[1].lock);
	LWLockRelease(AddinShmemInitLock);
}

/* Install the hooks for shared memory.  Called while the library is preloaded. */
void
registry_request(void)
{
#ifdef HAVE_SHMEM_REQUEST_HOOK
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request;
#else
	request();
#endif
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup;
}

/* Return whether the library was preloaded. */
bool
registry_attached(void)
{
	return shared != NULL;
}

/* Return the time of the server's start or crash restart. */
TimestampTz
registry_started_at(void)
{
	return shared->started_at;
}

/* Find the slot of a database.  The caller holds the lock. */
static DatabaseSlot *
find_slot(Oid database)
{
	for (int i = 0; i < MAX_SLOTS; i++)
		if (shared->slots[i].database == database)
			return &shared->slots[i];
	return NULL;
}

/* Find a slot without any information.  The caller holds the lock. */
static DatabaseSlot *
find_idle_slot(void)
{
	for (int i = 0; i < MAX_SLOTS; i++)
	{
		DatabaseSlot *slot = &shared->slots[i];

		if (slot->state == WORKER_NONE && !slot->look && !slot->news.prepared &&
			slot->due == DT_NOEND)
			return slot;
	}
	return NULL;
}

/*
 * Find the slot of a database, or take a free one for it.  Returns NULL if all are
 * taken; the launcher then probes every database again.  The caller holds the lock.
 */
static DatabaseSlot *
find_or_add_slot(Oid database)
{
	DatabaseSlot *slot = find_slot(database);

	if (slot)
		return slot;

	slot = find_slot(InvalidOid);
	if (slot == NULL)
		slot = find_idle_slot();
	if (slot == NULL)
	{
		shared->overflow = true;
		return NULL;
	}
	memset(slot, 0, sizeof(DatabaseSlot));
	slot->database = database;
	slot->orphans = true;
	slot->due = DT_NOEND;
	slot->news = (WorkerNews) {DT_NOEND, DT_NOEND, false};
	return slot;
}

/* Return the latch of the process that acts on changes of a slot.  The caller holds the lock. */
static Latch *
latch_for(DatabaseSlot *slot)
{
	return slot && slot->latch ? slot->latch : shared->launcher;
}

/* Notify the worker of a database that messages are due and expire at these times or later. */
void
registry_notify(Oid database, TimestampTz due, TimestampTz expires)
{
	bool		now_due = due <= GetCurrentTimestamp();
	DatabaseSlot *slot;
	Latch	   *latch = NULL;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = find_or_add_slot(database);
	if (slot)
	{
		slot->news.due = Min(slot->news.due, due);
		slot->news.expires = Min(slot->news.expires, expires);
	}
	if (slot == NULL)
		latch = latch_for(slot);
	else if (now_due)
	{
		slot->look = true;
		latch = latch_for(slot);
	}
	else if (due < slot->due)
	{
		slot->due = due;
		latch = latch_for(slot);
	}
	LWLockRelease(shared->lock);

	if (latch)
		SetLatch(latch);
}

/* Notify the worker that a prepared transaction contains messages. */
void
registry_notify_prepared(Oid database)
{
	DatabaseSlot *slot;
	Latch	   *latch;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = find_or_add_slot(database);
	if (slot)
		slot->news.prepared = slot->look = true;
	latch = latch_for(slot);
	LWLockRelease(shared->lock);

	if (latch)
		SetLatch(latch);
}

/* Register this process as the launcher. */
void
registry_launcher_attach(void)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->launcher = &MyProc->procLatch;

	/* Workers registered by the previous launcher may never start. */
	for (int i = 0; i < MAX_SLOTS; i++)
		if (shared->slots[i].state == WORKER_STARTING)
		{
			shared->slots[i].state = WORKER_NONE;
			shared->slots[i].look = true;
		}
	LWLockRelease(shared->lock);
}

/* Unregister the launcher. */
void
registry_launcher_detach(void)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->launcher = NULL;
	LWLockRelease(shared->lock);
}

/* Return, once, whether a database found no free slot. */
bool
registry_take_overflow(void)
{
	bool		overflow;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	overflow = shared->overflow;
	shared->overflow = false;
	LWLockRelease(shared->lock);
	return overflow;
}

/*
 * Let a worker check whether a database has messages to send.  Returns false if
 * another probe is in progress or there is no free slot; try again later.
 */
bool
registry_probe(Oid database)
{
	DatabaseSlot *slot = NULL;
	bool		probing = false;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_SLOTS; i++)
		probing |= shared->slots[i].probe;
	if (!probing && (slot = find_or_add_slot(database)) != NULL)
	{
		slot->look = slot->probe = true;
		slot->news.due = DT_NOBEGIN;
		if (slot->latch)
			SetLatch(slot->latch);
	}
	LWLockRelease(shared->lock);
	return slot != NULL;
}

/* Set whether idle workers should exit.  The caller holds the lock. */
static void
set_crowded(bool crowded)
{
	if (crowded && !shared->crowded)
		for (int i = 0; i < MAX_SLOTS; i++)
			if (shared->slots[i].latch)
				SetLatch(shared->slots[i].latch);
	shared->crowded = crowded;
}

/*
 * Return a database that needs a worker and mark its worker as starting.  Returns
 * InvalidOid if there is none; *wake_at is then the time at which there may be one
 * (DT_NOEND: unknown), and *shortage what is missing.
 */
Oid
registry_take_wanted(TimestampTz now, TimestampTz *wake_at, WorkerShortage *shortage)
{
	Oid			database = InvalidOid;
	int			workers = 0;

	*wake_at = DT_NOEND;
	*shortage = SHORT_OF_NOTHING;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_SLOTS; i++)
		if (shared->slots[i].database != InvalidOid &&
			shared->slots[i].state != WORKER_NONE)
			workers++;

	for (int i = 0; i < MAX_SLOTS; i++)
	{
		DatabaseSlot *slot = &shared->slots[i];
		TimestampTz when;

		if (slot->database == InvalidOid || slot->state != WORKER_NONE)
			continue;
		when = Max(slot->look ? DT_NOBEGIN : slot->due, slot->not_before);
		if (slot->refused)
			*shortage = SHORT_OF_PROCESSES;
		if (when > now)
			*wake_at = Min(*wake_at, when);
		else if (workers >= registry_max_workers)
			*shortage = SHORT_OF_WORKERS;
		else
		{
			slot->state = WORKER_STARTING;
			slot->refused = false;
			database = slot->database;
			break;
		}
	}
	if (!OidIsValid(database))
		set_crowded(*shortage != SHORT_OF_NOTHING);
	LWLockRelease(shared->lock);
	return database;
}

/* Let every known database be checked by its worker or a new one. */
void
registry_look_everywhere(void)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_SLOTS; i++)
	{
		DatabaseSlot *slot = &shared->slots[i];

		if (slot->database == InvalidOid)
			continue;
		slot->look = true;
		if (slot->latch)
			SetLatch(slot->latch);
	}
	LWLockRelease(shared->lock);
}

/* Return whether a registered worker has not attached yet. */
bool
registry_is_starting(Oid database)
{
	DatabaseSlot *slot;
	bool		starting;

	LWLockAcquire(shared->lock, LW_SHARED);
	slot = find_slot(database);
	starting = slot && slot->state == WORKER_STARTING;
	LWLockRelease(shared->lock);
	return starting;
}

/*
 * Record that a worker could not be started and when to retry.  "refused" means
 * that no background worker slot was free.
 */
void
registry_start_failed(Oid database, TimestampTz retry_at, bool refused)
{
	DatabaseSlot *slot;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = find_slot(database);
	if (slot && slot->state == WORKER_STARTING)
	{
		slot->state = WORKER_NONE;
		slot->look = true;
		slot->probe = false;
		slot->refused = refused;
		slot->not_before = retry_at;
	}
	LWLockRelease(shared->lock);
}

/* Free the slot of a dropped database. */
void
registry_forget(Oid database)
{
	DatabaseSlot *slot;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = find_slot(database);
	if (slot)
		memset(slot, 0, sizeof(DatabaseSlot));
	LWLockRelease(shared->lock);
}

/*
 * Register this process as the worker of this database.  Returns false if there is
 * one already.  *orphans tells whether a previous worker may have left rows with
 * status 'sending', and *probe whether this is only a check for work.
 */
bool
registry_worker_attach(bool *orphans, bool *probe)
{
	DatabaseSlot *slot;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = find_or_add_slot(MyDatabaseId);
	if (slot && slot->state != WORKER_RUNNING)
	{
		slot->state = WORKER_RUNNING;
		slot->latch = &MyProc->procLatch;
		slot->pid = MyProcPid;
		slot->started_at = GetCurrentTimestamp();
		*orphans = slot->orphans;
		*probe = slot->probe;
		slot->orphans = true;	/* until an orderly exit */
		my_slot = slot;
	}
	LWLockRelease(shared->lock);
	return my_slot != NULL;
}

/*
 * Record an error for monitoring.  Returns false if it is the same as the last
 * one.  The caller holds the lock.
 */
static bool
set_error(DatabaseSlot *slot, const char *message)
{
	int			len = pg_mbcliplen(message, (int) strlen(message), REGISTRY_ERROR_SIZE - 1);
	bool		is_new = slot->last_error_at == 0 || (int) strlen(slot->last_error) != len ||
		memcmp(slot->last_error, message, len) != 0;

	memcpy(slot->last_error, message, len);
	slot->last_error[len] = '\0';
	slot->last_error_encoding = GetDatabaseEncoding();
	slot->last_error_at = GetCurrentTimestamp();
	return is_new;
}

/* Unregister the worker of this database.  The caller holds the lock. */
static void
release_slot(WorkerExit how)
{
	counters_forget_live();
	if (how == WORKER_EXIT_FAILED)
		set_error(my_slot, "the worker terminated with an error; see the server log");
	my_slot->state = WORKER_NONE;
	my_slot->latch = NULL;
	my_slot->pid = 0;
	my_slot->in_flight = 0;
	my_slot->probe = false;
	my_slot->orphans = how == WORKER_EXIT_FAILED;
	my_slot->failures = how == WORKER_EXIT_FAILED ? my_slot->failures + 1 : 0;
	if (how != WORKER_EXIT_IDLE)
	{
		int			delay_s = 1 << Min(Max(my_slot->failures - 1, 0), 6);

		/*
		 * Pause even after an orderly stop.  An administrator who terminates the
		 * worker to drop or rename the database needs a moment without it.
		 */
		my_slot->look = true;
		my_slot->not_before = GetCurrentTimestamp() +
			Min(delay_s, MAX_RESTART_DELAY_S) * USECS_PER_SEC;
	}
	my_slot = NULL;
	if (shared->launcher)
		SetLatch(shared->launcher);
}

/* Unregister the worker of this database if it is still registered. */
void
registry_worker_detach(WorkerExit how)
{
	if (my_slot == NULL)
		return;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	release_slot(how);
	LWLockRelease(shared->lock);
}

/*
 * Unregister the worker because there is nothing to do until "due".  Returns false,
 * without doing so, if there is work after all.
 */
bool
registry_worker_leave_idle(TimestampTz due)
{
	bool		leave;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	leave = !my_slot->look;
	if (leave)
	{
		my_slot->due = Min(my_slot->due, due);
		release_slot(WORKER_EXIT_IDLE);
	}
	LWLockRelease(shared->lock);
	return leave;
}

/*
 * Unregister the worker because the extension does not exist in this database.
 * Returns false, without doing so, if there was a notification since the last look.
 */
bool
registry_worker_forget(void)
{
	bool		leave;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	leave = !my_slot->look;
	if (leave)
	{
		counters_forget_live();
		memset(my_slot, 0, sizeof(DatabaseSlot));
		my_slot = NULL;
		if (shared->launcher)
			SetLatch(shared->launcher);
	}
	LWLockRelease(shared->lock);
	return leave;
}

/* Return whether the table should be read now. */
bool
registry_worker_wanted(TimestampTz now)
{
	bool		wanted;

	LWLockAcquire(shared->lock, LW_SHARED);
	wanted = my_slot->look || my_slot->due <= now;
	LWLockRelease(shared->lock);
	return wanted;
}

/* Return whether another database waits for a worker to exit. */
bool
registry_worker_is_crowded(void)
{
	bool		crowded;

	LWLockAcquire(shared->lock, LW_SHARED);
	crowded = shared->crowded;
	LWLockRelease(shared->lock);
	return crowded;
}

/*
 * Return the notifications since the last look, and clear them.  The next
 * transaction sees everything that they are about.
 */
void
registry_worker_begin_look(WorkerNews *news)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	my_slot->look = false;
	my_slot->due = DT_NOEND;
	*news = my_slot->news;
	my_slot->news = (WorkerNews) {DT_NOEND, DT_NOEND, false};
	LWLockRelease(shared->lock);
}

/* Record that the table has been read, so that the launcher can probe the next database. */
void
registry_worker_end_look(void)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (my_slot->probe && shared->launcher)
		SetLatch(shared->launcher);
	my_slot->probe = false;
	LWLockRelease(shared->lock);
}

/* Return the time at which the next message is due, as far as known. */
TimestampTz
registry_worker_due(void)
{
	TimestampTz due;

	LWLockAcquire(shared->lock, LW_SHARED);
	due = my_slot->due;
	LWLockRelease(shared->lock);
	return due;
}

/* Set the number of requests on the wire, for monitoring. */
void
registry_worker_in_flight(int in_flight)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	my_slot->in_flight = in_flight;
	LWLockRelease(shared->lock);
}

/* Record an error for monitoring.  Returns false if it is the same as the last one. */
bool
registry_worker_error(const char *message)
{
	bool		is_new;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	is_new = set_error(my_slot, message);
	LWLockRelease(shared->lock);
	return is_new;
}

/* Record whether another database's messages exist.  Returns true if they are new. */
bool
registry_worker_foreign(bool any)
{
	bool		news;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	news = any && !my_slot->foreign;
	my_slot->foreign = any;
	LWLockRelease(shared->lock);
	return news;
}

/* Clear the last error of a database's worker. */
void
registry_forget_error(Oid database)
{
	DatabaseSlot *slot;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = find_slot(database);
	if (slot)
		slot->last_error_at = 0;
	LWLockRelease(shared->lock);
}

/* Return the state of a database's worker as a word.  The caller holds the lock. */
static const char *
state_of(const DatabaseSlot *slot, TimestampTz now)
{
	int			workers = 0;

	if (slot->state == WORKER_RUNNING)
		return "running";
	if (slot->state == WORKER_STARTING)
		return "starting";
	if (slot->refused)
		return "waiting";
	if (!slot->look && slot->due > now)
		return "none";
	if (slot->not_before > now)
		return "restarting";
	for (int i = 0; i < MAX_SLOTS; i++)
		if (shared->slots[i].database != InvalidOid &&
			shared->slots[i].state != WORKER_NONE)
			workers++;
	return workers >= registry_max_workers ? "waiting" : "starting";
}

/* Return what is known about the worker of a database.  Returns false if nothing is. */
bool
registry_worker_stat(Oid database, WorkerStat *stat)
{
	TimestampTz now = GetCurrentTimestamp();
	DatabaseSlot *slot;
	int			encoding = GetDatabaseEncoding();

	memset(stat, 0, sizeof(WorkerStat));
	stat->state = "none";
	LWLockAcquire(shared->lock, LW_SHARED);
	slot = find_slot(database);
	if (slot)
	{
		stat->state = state_of(slot, now);
		stat->pid = slot->pid;
		stat->started_at = slot->started_at;
		stat->in_flight = slot->in_flight;
		stat->refused = slot->refused;
		stat->not_before = slot->not_before;
		stat->last_error_at = slot->last_error_at;
		memcpy(stat->last_error, slot->last_error, REGISTRY_ERROR_SIZE);
		encoding = slot->last_error_encoding;
	}
	LWLockRelease(shared->lock);

	/* A message in another encoding may not be valid in this one. */
	if (encoding != GetDatabaseEncoding())
		for (char *c = stat->last_error; *c; c++)
			if (IS_HIGHBIT_SET(*c))
				*c = '?';
	return slot != NULL;
}
