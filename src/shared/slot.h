/*
 * slot.h
 *		A database's slot in the registry, and its states.
 *
 * For the files of the registry only.  The state changes by the functions below
 * and in no other way; each asserts where it comes from, and that the registry's
 * lock is held exclusively.
 */
#ifndef SMS3300_SHARED_SLOT_H
#define SMS3300_SHARED_SLOT_H

#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

#include "shared/registry.h"

/* More databases than this share the slots by being probed again. */
#define MAX_SLOTS 1024

typedef enum SlotState
{
	SLOT_FREE,
	SLOT_KNOWN,					/* nothing to do before "due" */
	SLOT_WANTED,				/* a worker should look at the table */
	SLOT_STARTING,				/* the launcher has registered a worker */
	SLOT_RUNNING,				/* which has attached */
	SLOT_BLOCKED,				/* and waits for a lock on the table or a row */
	SLOT_RESTARTING				/* wanted, but not before "not_before" */
} SlotState;

typedef struct DatabaseSlot
{
	SlotState	state;
	Oid			database;		/* InvalidOid: the slot is free */
	bool		look;			/* the table should be looked at */
	bool		probe;			/* that is only to find out about it */
	bool		orphans;		/* rows may be left as sending */
	bool		foreign;		/* there are messages that another database queued */
	TimestampTz due;			/* next message due; DT_NOEND: none known */
	int64		clock;			/* the difference of the clocks, as known to its worker; see clock.h */
	TimestampTz set_back;		/* what the clock, set back from this, has put off is to be due; 0: nothing is */
	WorkerNews	news;			/* for the next look */
	Latch	   *latch;			/* the attached worker's */
	bool		start_failed;	/* no worker could be started the last time */
	StartFailure start_failure; /* why */
	TimestampTz refused_since;	/* the database has not accepted connections; 0: it has */
	int64		told_at;		/* when a worker began whose failure may be logged, by clock_us() */
	int			reserved;		/* commands that need the database to themselves */
	int			failures;		/* in a row */
	int64		not_before;		/* no new worker before this, by clock_us() */

	/* For those who look */
	int			pid;			/* the attached worker's */
	TimestampTz started_at;
	int			in_flight;
	Obstruction obstruction;
	TimestampTz last_error_at;	/* 0: there was none */
	int			last_error_encoding;
	char		last_error[REGISTRY_ERROR_SIZE];
} DatabaseSlot;

/* In shared memory.  The lock protects what follows it; it is held for a few instructions. */
typedef struct Registry
{
	LWLock	   *lock;
	Latch	   *launcher;		/* NULL: there is none */
	bool		overflow;		/* a database found no free slot */
	bool		crowded;		/* a database waits for a worker to leave */
	ConditionVariable left;		/* a worker has left, or could not be started */
	TimestampTz started_at;		/* when this was laid out; does not change */
	TimestampTz stepped_at;		/* when the clock was last set, by the new time; 0: it was not */
	int64		step;			/* by how much */
	TimestampTz armed_at;		/* when the file of sms3300.armed_file was last seen; 0: never */
	int64		clock;			/* the difference of the clocks, as known to the launcher */
	TimestampTz set_back;		/* the clock was set back from this while the server was down; 0: it was not */
	DatabaseSlot slots[MAX_SLOTS];
} Registry;

extern Registry *registry;		/* NULL: the library was not preloaded */

/* Take the lock, and release it. */
extern void registry_lock(LWLockMode mode);
extern void registry_unlock(void);

/* With the lock held: find the slot of a database; NULL if it has none. */
extern DatabaseSlot *slot_find(Oid database);

/* With the lock held: tell whether a worker was started for a slot, and has not left. */
extern bool slot_has_worker(const DatabaseSlot *slot);

/* With the lock held: tell whether it waits for want of a process. */
extern bool slot_lacks_process(const DatabaseSlot *slot);

/* With the lock held: for how many microseconds it may not get one. */
extern int64 slot_pause(const DatabaseSlot *slot);

/* With the lock held: how many slots have a worker. */
extern int	slot_count_workers(void);

/*
 * free -> known: find the slot of a database or take a free one for it.  NULL if all
 * are taken: the launcher then probes every database again.
 */
extern DatabaseSlot *slot_find_or_add(Oid database);

/*
 * Note that the clock was set since this was last asked of the slot, and return by how much;
 * negative: it was set back.
 */
extern int64 slot_follow_clock(DatabaseSlot *slot);

/* known -> wanted; any other state stays, but its worker will look at the table once more. */
extern void slot_want(DatabaseSlot *slot);

/* known (and due), wanted, restarting -> starting. */
extern void slot_start(DatabaseSlot *slot);

/* With the lock held: note an error for those who look.  False: it was noted before. */
extern bool slot_note_error(DatabaseSlot *slot, const char *message);

/* starting -> restarting: no worker could be started. */
extern void slot_start_failed(DatabaseSlot *slot, StartFailure why);

/* starting -> wanted: the launcher that was starting it is gone. */
extern void slot_give_up_start(DatabaseSlot *slot);

/* any state without an attached worker -> running: this process is the worker. */
extern void slot_attach(DatabaseSlot *slot);

/* running <-> blocked. */
extern void slot_block(DatabaseSlot *slot, bool blocked);

/* running, blocked -> known: its worker leaves, as there is nothing to do before a time. */
extern void slot_leave(DatabaseSlot *slot, TimestampTz due);

/* running, blocked -> restarting: its worker ends, and another one is to come. */
extern void slot_restart(DatabaseSlot *slot);

/* any state -> free. */
extern void slot_free(DatabaseSlot *slot);

/* With the lock held: the latch of the worker of a slot, or else the launcher's; NULL if there is none. */
extern Latch *slot_latch(const DatabaseSlot *slot);

/* With the lock held: set the latch of the launcher, if there is one. */
extern void slot_wake_launcher(void);

#endif							/* SMS3300_SHARED_SLOT_H */
