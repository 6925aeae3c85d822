/*
 * registry.h
 *		The registry of databases: which of them have work, and their workers.
 *
 * There is one slot per database, shared by the sessions that queue messages, the
 * launcher and the workers.  Without preloading there is no shared memory.
 * registry_attached() is false then, and nothing else here may be called.
 */
#ifndef SMS3300_SHARED_REGISTRY_H
#define SMS3300_SHARED_REGISTRY_H

#include "datatype/timestamp.h"

extern bool registry_enabled;	/* sms3300.enabled */
extern int	registry_max_workers;	/* sms3300.max_workers */

/* In _PG_init */
extern void registry_request(void);

/* In any backend */
extern bool registry_attached(void);
extern void registry_notify(Oid database, TimestampTz due, TimestampTz expires);
extern void registry_notify_prepared(Oid database);

/* In the launcher */
typedef enum WorkerShortage
{
	SHORT_OF_NOTHING,
	SHORT_OF_WORKERS,			/* by sms3300.max_workers */
	SHORT_OF_PROCESSES			/* by max_worker_processes */
} WorkerShortage;

extern void registry_launcher_attach(void);
extern void registry_launcher_detach(void);
extern bool registry_take_overflow(void);
extern bool registry_probe(Oid database);
extern Oid	registry_take_wanted(TimestampTz now, TimestampTz *wake_at, WorkerShortage *shortage);
extern void registry_look_everywhere(void);
extern bool registry_is_starting(Oid database);
extern void registry_start_failed(Oid database, TimestampTz retry_at, bool refused);
extern void registry_forget(Oid database);

/* What is known about the worker of a database. */
#define REGISTRY_ERROR_SIZE 256
typedef struct WorkerStat
{
	const char *state;			/* running, starting, waiting, restarting or none */
	int			pid;			/* 0: no worker */
	TimestampTz started_at;
	int			in_flight;
	bool		refused;		/* waiting: for a background worker slot */
	TimestampTz not_before;		/* restarting: time of the restart */
	TimestampTz last_error_at;	/* 0: no error */
	char		last_error[REGISTRY_ERROR_SIZE];
} WorkerStat;

extern bool registry_worker_stat(Oid database, WorkerStat *stat);
extern void registry_forget_error(Oid database);

/* In a worker */
typedef enum WorkerExit
{
	WORKER_EXIT_IDLE,			/* nothing left to do */
	WORKER_EXIT_STOPPED,		/* asked to stop; everything has been recorded */
	WORKER_EXIT_FAILED			/* rows may be left with status 'sending' */
} WorkerExit;

/* What was queued since the last look. */
typedef struct WorkerNews
{
	TimestampTz due;			/* earliest due time; DT_NOBEGIN: read everything */
	TimestampTz expires;		/* earliest expiry */
	bool		prepared;		/* there was a prepared transaction */
} WorkerNews;

extern TimestampTz registry_started_at(void);
extern bool registry_worker_attach(bool *orphans, bool *probe);
extern void registry_worker_detach(WorkerExit how);
extern bool registry_worker_forget(void);
extern bool registry_worker_leave_idle(TimestampTz due);
extern bool registry_worker_is_crowded(void);
extern bool registry_worker_wanted(TimestampTz now);
extern void registry_worker_begin_look(WorkerNews *news);
extern void registry_worker_end_look(void);
extern TimestampTz registry_worker_due(void);
extern void registry_worker_in_flight(int in_flight);
extern bool registry_worker_error(const char *message);
extern bool registry_worker_foreign(bool any);

#endif							/* SMS3300_SHARED_REGISTRY_H */
