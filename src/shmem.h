/*
 * shmem.h
 *		Which databases have something to send, and who serves them.
 *
 * One slot a database, shared by those who queue messages, the launcher and
 * the workers.  Without preloading there is no shared memory: shmem_attached()
 * is false then and nothing else here may be called.
 */
#ifndef SMS3300_SHMEM_H
#define SMS3300_SHMEM_H

#include "datatype/timestamp.h"

/* In _PG_init */
extern void shmem_request(void);

/* In any backend */
extern bool shmem_attached(void);
extern void shmem_notify(Oid database, TimestampTz due, TimestampTz expires);
extern void shmem_notify_prepared(Oid database);

/* In the launcher */
typedef enum ShmemShortage
{
	SHORT_OF_NOTHING,
	SHORT_OF_WORKERS,			/* by sms3300.max_workers */
	SHORT_OF_PROCESSES			/* by max_worker_processes */
} ShmemShortage;

extern void shmem_launcher_attach(void);
extern void shmem_launcher_detach(void);
extern bool shmem_take_overflow(void);
extern bool shmem_probe(Oid database);
extern Oid	shmem_take_wanted(TimestampTz now, TimestampTz *wake_at, ShmemShortage *shortage);
extern void shmem_look_everywhere(void);
extern bool shmem_is_starting(Oid database);
extern void shmem_start_failed(Oid database, TimestampTz retry_at, bool refused);
extern void shmem_forget(Oid database);

/* What is known of the worker of a database. */
#define SHMEM_ERROR_SIZE 256
typedef struct WorkerStat
{
	const char *state;			/* running, starting, waiting, restarting or none */
	int			pid;			/* 0: none */
	TimestampTz started_at;
	int			in_flight;
	bool		refused;		/* waiting: for want of a process */
	TimestampTz not_before;		/* restarting: when it comes back */
	TimestampTz last_error_at;	/* 0: there was none */
	char		last_error[SHMEM_ERROR_SIZE];
} WorkerStat;

extern bool shmem_worker_stat(Oid database, WorkerStat *stat);
extern void shmem_forget_error(Oid database);

/* In a worker */
typedef enum WorkerExit
{
	WORKER_EXIT_IDLE,			/* nothing left to do */
	WORKER_EXIT_STOPPED,		/* asked to stop; everything is recorded */
	WORKER_EXIT_FAILED			/* rows may be left in the state 'sending' */
} WorkerExit;

/* What was queued since the last look. */
typedef struct WorkerNews
{
	TimestampTz due;			/* nothing of it is due before; DT_NOBEGIN: look at everything */
	TimestampTz expires;		/* nothing of it that is told of expires before */
	bool		prepared;		/* there was a prepared transaction */
} WorkerNews;

extern TimestampTz shmem_started_at(void);
extern bool shmem_worker_attach(bool *orphans, bool *probe);
extern void shmem_worker_detach(WorkerExit how);
extern bool shmem_worker_forget(void);
extern bool shmem_worker_leave_idle(TimestampTz due);
extern bool shmem_worker_is_crowded(void);
extern bool shmem_worker_wanted(TimestampTz now);
extern void shmem_worker_begin_look(WorkerNews *news);
extern void shmem_worker_end_look(void);
extern TimestampTz shmem_worker_due(void);
extern void shmem_worker_in_flight(int in_flight);
extern bool shmem_worker_error(const char *message);
extern bool shmem_worker_foreign(bool any);

#endif							/* SMS3300_SHMEM_H */
