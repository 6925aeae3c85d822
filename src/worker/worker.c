/*
 * worker.c
 *		The process that serves one database.
 */
#include "postgres.h"

#include <malloc.h>

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "outbox/access.h"
#include "shared/registry.h"
#include "worker/queue.h"
#include "worker/round.h"
#include "worker/worker.h"

int			worker_idle_timeout = 60 * 1000;

/* A stop waits this long for the requests under way. */
#define STOP_GRACE (2 * USECS_PER_SEC)

/* Clocks are corrected by this much without much ado. */
#define CLOCK_TOLERANCE USECS_PER_SEC

/* A stop lasts this long altogether, to record what became of them. */
#define STOP_LIMIT (5 * USECS_PER_SEC / 2)

/* With a pause between tries. */
#define STOP_PAUSE (USECS_PER_SEC / 10)

/* Memory that one round frees, the next one needs: so much of it is not given back. */
#define KEPT_MEMORY (4 * 1024 * 1024)

/*
 * What the worker relies on, whatever is set for the database or its roles.
 * The plans must be those of a queue even while the table is empty.
 */
static const char *const fixed_settings[][2] = {
	{"search_path", "pg_catalog, pg_temp"},
	{"synchronous_commit", "on"},
	{"default_transaction_isolation", "read committed"},
	{"default_transaction_read_only", "off"},
	{"default_transaction_deferrable", "off"},
	{"session_replication_role", "origin"},
	{"row_security", "on"},
	{"exit_on_error", "off"},
	{"lock_timeout", "100ms"},
	{"statement_timeout", "0"},
	{"transaction_timeout", "0"},
	{"idle_in_transaction_session_timeout", "0"},
	{"idle_session_timeout", "0"},
	{"plan_cache_mode", "force_generic_plan"},
	{"max_parallel_workers_per_gather", "0"},
	{"enable_indexscan", "on"},
	{"enable_nestloop", "on"},
	{"enable_seqscan", "off"},
	{"enable_bitmapscan", "off"},
	{"enable_hashjoin", "off"},
	{"enable_mergejoin", "off"},
	{"jit", "off"},
};

/* Set a setting for as long as the process lives, if the server knows it. */
static void
fix_setting(const char *name, const char *value)
{
	if (GetConfigOption(name, true, false) != NULL)
		SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * On SIGTERM, stop in good order.  A statement, or a commit that waits for a
 * standby, is ended; what it was to record is recorded afterwards.
 */
static void
on_sigterm(SIGNAL_ARGS)
{
	int			save_errno = errno;

	ShutdownRequestPending = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
	errno = save_errno;
}

/*
 * On SIGINT, end the statement, but not a commit: one that waits for a standby
 * would look like one that the standby has.
 */
static void
on_sigint(SIGNAL_ARGS)
{
	int			save_errno = errno;

	if (!transaction_committing)
		InterruptPending = QueryCancelPending = true;
	SetLatch(MyLatch);
	errno = save_errno;
}

/* When the process ends without having detached, its rows need looking after. */
static void
worker_on_exit(int code, Datum arg)
{
	registry_worker_detach(WORKER_EXIT_FAILED);
}

/* Do what the server asks of any process; a cancel has nothing to cancel here. */
static void
serve_interrupts(void)
{
	QueryCancelPending = false;
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/* Take the replies that have come. */
static void
collect_replies(Worker *worker)
{
	static MemoryContext context = NULL;
	MemoryContext caller;
	Job		   *job;

	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "sms3300 replies",
										ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(context);
	while ((job = wire_next(&worker->wire)) != NULL)
	{
		if (worker->stopping)
			pace_end(&job->queue->pace); /* the stop is not the account's fault */
		else
			queue_finished(job->queue, job->id, job->verdict, job->reply->retry_after,
						   job_reason(job), job->finished_at);
		recorder_add(&worker->recorder, job);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(caller);
}

/* Tell those who look how many requests are on the wire, and which accounts have stopped. */
static void
publish(int in_flight)
{
	static int	published = 0;

	if (in_flight != published)
		registry_worker_in_flight(in_flight);
	published = in_flight;
	queues_publish();
}

/* Wait until something happens, or until a time at the latest. */
static void
wait_until(Worker *worker, TimestampTz when)
{
	TimestampTz now = GetCurrentTimestamp();

	publish(worker->wire.in_flight);
	wire_wait(&worker->wire, when == DT_NOEND ? -1 : when <= now ? 0 : when - now);
}

/*
 * Stop: give the requests under way a moment, end the rest, and record what is
 * known.
 */
static WorkerExit
stop(Worker *worker)
{
	TimestampTz begun_at = GetCurrentTimestamp();
	TimestampTz deadline = begun_at + STOP_GRACE;

	worker->stopping = true;
	while (worker->wire.in_flight > 0 && GetCurrentTimestamp() < deadline)
	{
		wait_until(worker, deadline);
		serve_interrupts();
		collect_replies(worker);
		if (round_is_wanted(worker, GetCurrentTimestamp()))
			round_run(worker);
	}
	wire_abort(&worker->wire, "the server was stopped before a reply arrived");
	collect_replies(worker);

	while (!recorder_is_empty(&worker->recorder) && round_run(worker) &&
		   !recorder_is_empty(&worker->recorder) &&
		   GetCurrentTimestamp() < begun_at + STOP_LIMIT)
	{
		wait_until(worker, GetCurrentTimestamp() + STOP_PAUSE);
		serve_interrupts();
	}

	/* What it has not recorded, or not even looked for, is the next worker's. */
	return recorder_is_empty(&worker->recorder) && !worker->orphans ?
		WORKER_EXIT_STOPPED : WORKER_EXIT_FAILED;
}

/* When the worker may leave, as far as is known; DT_NOEND: not by time alone. */
static TimestampTz
leave_time(Worker *worker, bool probe, TimestampTz last_active, TimestampTz now)
{
	int64		stay = probe || registry_worker_is_crowded() ? 0 :
		(int64) worker_idle_timeout * 1000;

	return Max(last_active + stay, round_stay_until(worker, now));
}

/*
 * Serve the database until there has been nothing to do for
 * worker_idle_timeout; a probe, or one whose place another waits for, leaves
 * at once.
 */
static void
serve(Worker *worker, bool probe)
{
	TimestampTz last_active = GetCurrentTimestamp();
	TimestampTz now = last_active;

	while (!ShutdownRequestPending)
	{
		TimestampTz before = now;
		TimestampTz leave_at;
		TimestampTz next;
		bool		worked = false;

		now = GetCurrentTimestamp();
		if (now < before - CLOCK_TOLERANCE)
		{
			round_set_back(worker, now);
			last_active = now;
		}
		serve_interrupts();
		collect_replies(worker);
		if (round_is_wanted(worker, now))
		{
			if (!round_run(worker))
			{
				if (worker->wire.in_flight > 0 || !recorder_is_empty(&worker->recorder))
					ereport(LOG,
							(errmsg("sms3300: the extension was dropped while messages were being sent")));
				if (registry_worker_forget())
					return;
			}
			worked = true;
			now = last_active = GetCurrentTimestamp();
		}
		if (worker->wire.in_flight > 0)
		{
			probe = false;
			last_active = now;
		}

		next = round_next_event(worker, now);
		leave_at = leave_time(worker, probe, last_active, now);
		if (leave_at <= now && next > now)
		{
			pgstat_report_stat(true);
			if (registry_worker_leave_idle(registry_enabled ? next : DT_NOEND))
				return;
			continue;
		}

		/* What waits in a round may have taken the latch's news: look again first. */
		wait_until(worker, worked ? DT_NOBEGIN : Min(next, leave_at));
	}
	registry_worker_detach(stop(worker));
}

/*
 * Tell whether the extension is in this database, and note that it was looked
 * for.  A probe says if it could be updated: once after a start of the server.
 */
static bool
extension_is_here(bool probe)
{
	OutboxAccess access;
	const char *mismatch;
	WorkerNews	news;			/* of no use: the first round looks at everything */

	registry_worker_begin_look(&news);
	StartTransactionCommand();
	access = outbox_open(false);
	if (access == OUTBOX_OPEN || access == OUTBOX_NEWER)
		outbox_close();
	mismatch = probe ? extension_mismatch(EXTENSION_OLDER) : NULL;
	if (mismatch)
		ereport(LOG,
				(errmsg("sms3300: in database \"%s\" %s",
						get_database_name(MyDatabaseId), mismatch),
				 errhint("The extension works as it is. Run ALTER EXTENSION sms3300 UPDATE in that database to get the new features.")));
	CommitTransactionCommand();
	return access != OUTBOX_MISSING;
}

/* Say whose worker this is: log_line_prefix does not know the database of a worker. */
static void
add_context(void *name)
{
	errcontext("sms3300 worker of database \"%s\"", (const char *) name);
	if (transaction_overrun)
		errcontext("a trigger on sms_outbox ignored its cancellation");
}

/* Have whatever is logged from now on say whose worker this is. */
static void
name_worker(void)
{
	static NameData name;
	static ErrorContextCallback context = {.callback = add_context, .arg = NameStr(name)};

	StartTransactionCommand();
	namestrcpy(&name, get_database_name(MyDatabaseId));
	CommitTransactionCommand();
	context.previous = error_context_stack;
	error_context_stack = &context;
}

void
sms3300_worker_main(Datum database)
{
	Worker		worker;
	bool		orphans;
	bool		probe;

	pqsignal(SIGTERM, on_sigterm);
	pqsignal(SIGINT, on_sigint);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	before_shmem_exit(worker_on_exit, (Datum) 0);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(database), InvalidOid, 0);
	for (size_t i = 0; i < lengthof(fixed_settings); i++)
		fix_setting(fixed_settings[i][0], fixed_settings[i][1]);

	mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY);
	mallopt(M_TOP_PAD, KEPT_MEMORY / 4);

	if (!registry_worker_attach(&orphans, &probe))
		return;
	name_worker();
	while (!extension_is_here(probe))
		if (registry_worker_forget())
			return;

	round_init(&worker, orphans);
	serve(&worker, probe);
}
