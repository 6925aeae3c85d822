/*
 * registry.h
 *		Which databases have something to send, and who serves them.
 *
 * One slot a database, shared by those who queue messages, the launcher and
 * the workers.  Without preloading there is no shared memory: registry_attached()
 * is false then and nothing else here may be called.  Each function takes and
 * releases the registry's lock by itself; none raises an error but the one that waits.
 */
#ifndef SMS3300_SHARED_REGISTRY_H
#define SMS3300_SHARED_REGISTRY_H

#include "access/transam.h"
#include "datatype/timestamp.h"

#include "shared/news.h"

extern bool registry_enabled;	/* sms3300.enabled */
extern int	registry_max_workers;	/* sms3300.max_workers */

/* In _PG_init, while the library is preloaded: arrange for the shared memory. */
extern void registry_request(void);

/* -------------------------------------------------------------------------
 * In any backend
 * ------------------------------------------------------------------------- */

/* Tell whether the library was preloaded. */
extern bool registry_attached(void);

/*
 * Let the worker of a database know that messages of some accounts are due, and expire,
 * from certain times on.
 */
extern void registry_notify(Oid database, const NewsAccounts *accounts, TimestampTz due,
							TimestampTz expires);

/* Have a worker look at a database as soon as possible, as it may accept connections again. */
extern void registry_retry(Oid database);

/*
 * Reserve a database for a command that needs it to itself: its worker leaves as
 * soon as no request is on the wire, and no other one comes until it is released.
 */
extern void registry_reserve(Oid database);
extern void registry_release(Oid database);

/*
 * Wait until a database has no worker, or for some microseconds.  Interrupts are
 * processed meanwhile, which may raise an error.
 */
extern void registry_await_leave(Oid database, int64 timeout);

/* Let it know that a prepared transaction holds messages. */
extern void registry_notify_prepared(Oid database);

typedef enum WorkerState
{
	WORKER_NONE,				/* there is nothing to do */
	WORKER_WAITING,				/* there is no room for it */
	WORKER_STARTING,
	WORKER_RUNNING,
	WORKER_BLOCKED,				/* it waits for a lock on the table or a row */
	WORKER_RESTARTING			/* it has ended, and another one comes */
} WorkerState;

/* What another session has locked. */
typedef struct Obstruction
{
	TimestampTz since;			/* 0: nothing */
	int64		message;		/* the id of the row; 0: the table */
	TransactionId xid;			/* which has locked the row */
	int			pid;			/* of the session; 0: unknown, or a prepared transaction */
} Obstruction;

/* What is known of the worker of a database. */
#define REGISTRY_ERROR_SIZE 256
typedef struct WorkerStat
{
	WorkerState state;
	int			pid;			/* 0: none */
	TimestampTz started_at;
	int			in_flight;
	Obstruction obstruction;	/* blocked: by what */
	bool		refused;		/* waiting: for want of a process */
	TimestampTz not_before;		/* restarting: when it comes back */
	TimestampTz last_error_at;	/* 0: there was none */
	char		last_error[REGISTRY_ERROR_SIZE];
} WorkerStat;

/* Tell what is known of the worker of a database; false if nothing is. */
extern bool registry_worker_stat(Oid database, WorkerStat *stat);

/* Return by how much the clock was last set ahead, or back (< 0), and when; 0: it was not. */
extern int64 registry_clock_step(TimestampTz *at);

/* Note that the file of sms3300.armed_file is there; return when that was last noted, 0: never. */
extern void registry_note_armed(TimestampTz now);
extern TimestampTz registry_armed_at(void);

/* Forget the last error of a database's worker. */
extern void registry_forget_error(Oid database);

/* -------------------------------------------------------------------------
 * In the launcher
 * ------------------------------------------------------------------------- */

typedef enum WorkerShortage
{
	SHORT_OF_NOTHING,
	SHORT_OF_WORKERS,			/* by sms3300.max_workers */
	SHORT_OF_PROCESSES			/* by max_worker_processes */
} WorkerShortage;

/* Become the process that starts workers, and stop being it. */
extern void registry_launcher_attach(void);
extern void registry_launcher_detach(void);

/* Tell, once, whether a database found no free slot. */
extern bool registry_take_overflow(void);

/*
 * Have a worker look whether a database has anything to send.  False if
 * another probe is under way, or if there is no free slot: try again later.
 */
extern bool registry_probe(Oid database);

/*
 * Take a database that wants a worker, and mark it as getting one.  InvalidOid
 * if there is none now; *wake_at then says when one may be (DT_NOEND: never by
 * time alone), and *shortage what one waits for.
 */
extern Oid	registry_take_wanted(TimestampTz now, TimestampTz *wake_at, WorkerShortage *shortage);

/* Have every known database looked at, by its worker or a new one. */
extern void registry_look_everywhere(void);

/* Tell whether a worker that the launcher started has not attached yet. */
extern bool registry_is_starting(Oid database);

/* Why a worker could not be started. */
typedef enum StartFailure
{
	START_NO_PROCESS,			/* the server has none left */
	START_FAILED,				/* it ended at once */
	START_REFUSED				/* the database does not accept connections */
} StartFailure;

/*
 * Note that a worker could not be started, which is retried at increasing intervals.
 * Returns false if the last attempt failed for the same reason.
 */
extern bool registry_start_failed(Oid database, StartFailure why);

/*
 * If the clock was set, note it for sms3300_problems.  If it was set back, have a worker look at
 * each database that has something due later, as the former time may have put it off.
 */
extern void registry_follow_clock(void);

/* Free the slot of a database that is gone. */
extern void registry_forget(Oid database);

/* -------------------------------------------------------------------------
 * In a worker; but for the first two, between attaching and detaching
 * ------------------------------------------------------------------------- */

/* What was queued since the last look. */
typedef struct WorkerNews
{
	TimestampTz due;			/* nothing of it is due before; DT_NOBEGIN: look at everything */
	TimestampTz expires;		/* nothing of it that is told of expires before */
	bool		prepared;		/* there was a prepared transaction */
	NewsAccounts accounts;		/* whose messages may be due */
} WorkerNews;

/* When the server started, or came back after a crash. */
extern TimestampTz registry_started_at(void);

/*
 * Return whether a worker that cannot connect to a database may log that: what lasts is
 * logged once a minute.
 */
extern bool registry_worker_may_tell(Oid database);

/*
 * Become the worker of this database.  False if it has one already.  *orphans
 * tells whether a former worker may have left rows as sending, and *probe whether
 * this is only to find out if there is anything to do.
 */
extern bool registry_worker_attach(bool *orphans, bool *probe);

/*
 * Return by how many microseconds the clock has been set since the last call, by this worker
 * or a former one; negative: it was set back.
 */
extern int64 registry_worker_clock_step(void);

/* Return from when the clock was set back, if what it put off is not due yet; 0: nothing is. */
extern TimestampTz registry_worker_set_back(void);

/* Note that what it put off is due. */
extern void registry_worker_end_set_back(void);

/*
 * Stop being it, if still attached; another worker follows.  Orphans: rows may be
 * left as sending.
 */
extern void registry_worker_detach(bool failed, bool orphans);

/*
 * Stop being it because there is nothing to do until a time, or because the
 * extension is not in this database.  False, and still attached, if something came
 * up meanwhile.
 */
extern bool registry_worker_leave_idle(TimestampTz due);
extern bool registry_worker_forget(void);

/* Tell whether another database waits for a worker to leave. */
extern bool registry_worker_is_crowded(void);

/* Tell whether a command needs this database to itself. */
extern bool registry_worker_is_reserved(void);

/* Tell whether there is reason to look at the table now. */
extern bool registry_worker_wanted(TimestampTz now);

/*
 * Take the news: what was reported until now will be seen by the transaction
 * that starts next.
 */
extern void registry_worker_begin_look(WorkerNews *news);

/* Note that the table was looked at, so that the launcher may go on probing. */
extern void registry_worker_end_look(void);

/*
 * Note what another session has locked, or that nothing is (since is 0); and read what
 * was noted.
 */
extern void registry_worker_obstruct(const Obstruction *obstruction);
extern Obstruction registry_worker_obstruction(void);

/* Note that a transaction has locked a row, unless another one is noted that still runs. */
extern void registry_worker_row_locked(int64 message, TransactionId xid);

/* The time the next message is due, as far as it is known. */
extern TimestampTz registry_worker_due(void);

/* Note how many requests are on the wire, for those who look. */
extern void registry_worker_in_flight(int in_flight);

/* Note an error, for those who look.  False: it is the one that was noted last. */
extern bool registry_worker_error(const char *message);

/* Tell whether, and from when to when, the database refused connections before this worker came. */
extern bool registry_worker_was_refused(TimestampTz *since, TimestampTz *until);

/* Note whether there are messages that another database queued; true if that is news. */
extern bool registry_worker_foreign(bool any);

#endif							/* SMS3300_SHARED_REGISTRY_H */
