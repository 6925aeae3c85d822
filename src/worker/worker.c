/*
 * worker.c
 *		The worker process, which serves one database.
 */
#include "postgres.h"

#include <malloc.h>
#include <unistd.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "outbox/access.h"
#include "shared/armed.h"
#include "shared/clock.h"
#include "shared/registry.h"
#include "worker/queue.h"
#include "worker/reopen.h"
#include "worker/round.h"
#include "worker/stops.h"
#include "worker/worker.h"

int			worker_idle_timeout = 60 * 1000;

/* A stop waits this long for active requests. */
#define STOP_GRACE (2 * USECS_PER_SEC)

/* While another database waits for a worker, this one claims messages for this long. */
#define TURN (10 * USECS_PER_SEC)

/* The HTTP status that tells to send fewer at a time. */
#define HTTP_TOO_MANY_REQUESTS 429

/* Total duration of a stop, including the recording of results. */
#define STOP_LIMIT (5 * USECS_PER_SEC / 2)

/* Pause between attempts to record them. */
#define STOP_PAUSE (USECS_PER_SEC / 10)

/* Free memory that is kept instead of being returned to the system: the next round needs it. */
#define KEPT_MEMORY (4 * 1024 * 1024)

/* Whether this process is connecting, and has to be quiet if that fails. */
static bool connecting = false;

/*
 * Settings that the worker relies on, regardless of those of the database or role.
 * The plans must be suitable for a queue even while the table is empty.
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
	{"work_mem", "4MB"},
	{"temp_file_limit", "-1"},
	{"enable_indexscan", "on"},
	{"enable_nestloop", "on"},
	{"enable_seqscan", "off"},
	{"enable_bitmapscan", "off"},
	{"enable_hashjoin", "off"},
	{"enable_mergejoin", "off"},
	{"jit", "off"},
};

/* Change a setting for the life of the process, if the server has it. */
static void
fix_setting(const char *name, const char *value)
{
	if (GetConfigOption(name, true, false) != NULL)
		SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * SIGTERM: stop in an orderly way.  A statement, or a commit that waits for a
 * standby, is cancelled; its results are recorded afterwards.
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
 * SIGINT: cancel the statement, but not a commit.  A commit that waits for a standby
 * would look as if the standby had it.
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

/* Unregister at exit; if that has not happened yet, rows may be left with status 'sending'. */
static void
worker_on_exit(int code, Datum arg)
{
	registry_worker_detach(true, true);
}

/* Process interrupts.  There is no statement to cancel here. */
static void
serve_interrupts(void)
{
	QueryCancelPending = false;
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		armed_look_again();
	}
}

/* Collect the replies that have arrived. */
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
		if (worker->aborted)
			queue_aborted(job->queue, job->mapping);
		else
			queue_finished(job->queue, &(Outcome) {
				job->id, job->sender, job->mapping, job->verdict, job->of_mapping,
				job_refusal(job), job->reply->status == HTTP_TOO_MANY_REQUESTS,
				job->reply->retry_after, job_blame(job), job->finished_at
			});
		recorder_add(&worker->recorder, job);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(caller);
}

/* Publish the number of requests on the wire and the states of the accounts. */
static void
publish(int in_flight)
{
	static int	published = 0;

	if (in_flight != published)
		registry_worker_in_flight(in_flight);
	published = in_flight;
	queues_publish();
}

/* Wait until something happens, or until a time. */
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
static void
stop(Worker *worker)
{
	int64		begun_at = clock_us();
	int64		left;

	worker->stopping = true;
	while (worker->wire.in_flight > 0 && (left = begun_at + STOP_GRACE - clock_us()) > 0)
	{
		wait_until(worker, GetCurrentTimestamp() + left);
		serve_interrupts();
		collect_replies(worker);
		if (round_is_wanted(worker, GetCurrentTimestamp()))
			round_run(worker);
	}
	worker->aborted = true;
	wire_abort(&worker->wire, "the server was stopped before a reply arrived");
	collect_replies(worker);

	while (!recorder_is_empty(&worker->recorder) && round_run(worker) &&
		   !recorder_is_empty(&worker->recorder) &&
		   clock_us() - begun_at < STOP_LIMIT)
	{
		wait_until(worker, GetCurrentTimestamp() + STOP_PAUSE);
		serve_interrupts();
	}
}

/* Return when the worker may exit, as far as known; DT_NOEND: not by time alone. */
static TimestampTz
leave_time(Worker *worker, bool probe, TimestampTz last_active, TimestampTz now)
{
	int64		stay = probe || registry_worker_is_crowded() ? 0 :
		(int64) worker_idle_timeout * 1000;

	return Max(last_active + stay, round_stay_until(worker, now));
}

/*
 * Return for how many microseconds this worker, which began at a time, may still claim
 * messages; PG_INT64_MAX: there is no limit.
 */
static int64
turn_left(int64 begun_at)
{
	if (registry_worker_is_reserved())
		return 0;
	if (registry_worker_is_crowded())
		return Max(begun_at + TURN - clock_us(), 0);
	return PG_INT64_MAX;
}

/* Run a round.  Returns false if the extension was dropped, so that the worker exits. */
static bool
serve_round(Worker *worker)
{
	if (round_run(worker))
		return true;
	if (worker->wire.in_flight > 0 || !recorder_is_empty(&worker->recorder))
		ereport(LOG,
				(errmsg("sms3300: the extension was dropped while messages were being sent")));
	return !registry_worker_forget();
}

/* Leave until the next message is due.  Returns false if there is work before that. */
static bool
leave_for_others(Worker *worker, TimestampTz now)
{
	TimestampTz next;

	reopen_hand_over();
	worker->stopping = false;
	next = round_next_event(worker, now);
	return next > now && !worker->orphans &&
		registry_worker_leave_idle(registry_enabled ? next : DT_NOEND);
}

/*
 * Serve the database until there has been no work for worker_idle_timeout.  A probe,
 * or a worker whose place is needed for another database, exits at once.  If a command
 * needs the database to itself, or if another database has waited for a turn, the
 * worker claims nothing more, and exits when the results of its requests are recorded.
 */
static void
serve(Worker *worker, bool probe)
{
	TimestampTz last_active = GetCurrentTimestamp();
	TimestampTz now = last_active;
	int64		begun_at = clock_us();
	bool		unrecorded;

	reopen_disbelieve(registry_worker_set_back());
	while (!ShutdownRequestPending)
	{
		TimestampTz leave_at;
		TimestampTz next;
		bool		worked = false;
		int64		step = registry_worker_clock_step();
		int64		left = turn_left(begun_at);

		worker->stopping = left == 0;
		if (worker->stopping && worker->wire.in_flight == 0 &&
			recorder_is_empty(&worker->recorder))
		{
			if (leave_for_others(worker, now))
				return;
			break;
		}
		now = GetCurrentTimestamp();
		if (step < 0)
		{
			round_set_back(worker, now, now - step);
			last_active = now;
		}
		serve_interrupts();
		collect_replies(worker);
		if (round_is_wanted(worker, now))
		{
			if (!serve_round(worker))
				return;
			worked = true;
			now = last_active = GetCurrentTimestamp();
		}
		if (worker->wire.in_flight > 0)
		{
			probe = false;
			last_active = now;
		}

		next = round_next_event(worker, now);
		if (worker->stopping)
		{
			wait_until(worker, next);
			continue;
		}
		leave_at = leave_time(worker, probe, last_active, now);
		if (leave_at <= now && next > now)
		{
			pgstat_report_stat(true);
			if (registry_worker_leave_idle(registry_enabled ? next : DT_NOEND))
				return;
			continue;
		}

		/* A wait in a round may have reset the latch, so check again before waiting. */
		wait_until(worker, worked ? DT_NOBEGIN :
				   Min(Min(next, leave_at), left == PG_INT64_MAX ? DT_NOEND : now + left));
	}
	stop(worker);

	/* What was not recorded, or not even looked for, is left to the next worker. */
	unrecorded = !recorder_is_empty(&worker->recorder);
	reopen_hand_over();
	registry_worker_detach(unrecorded, unrecorded || worker->orphans);
}

/*
 * Return whether the extension exists in this database, and record that this was
 * checked.  A probe, once after a start of the server, logs if it can be updated.
 */
static bool
extension_is_here(bool probe)
{
	OutboxAccess access;
	const char *mismatch;
	WorkerNews	news;			/* not used: the first round reads everything */

	registry_worker_begin_look(&news);
	StartTransactionCommand();
	access = outbox_open();
	if (access != OUTBOX_LOCKED && access != OUTBOX_MISSING)
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

/* End without a line of the postmaster's in the log. */
static void
exit_quietly(int code, Datum arg)
{
	if (connecting)
		_exit(0);
}

/*
 * Connect to the database.  PostgreSQL logs it if that fails, as it does each time that
 * the locale of the database is missing; after the first time that is kept quiet for a while.
 */
static void
connect_to(Oid database)
{
	int			level = log_min_messages;

	connecting = !registry_worker_may_tell(database);
	if (connecting)
	{
		on_proc_exit(exit_quietly, (Datum) 0);
		log_min_messages = PANIC;
	}
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	if (connecting && log_min_messages == PANIC)
		log_min_messages = level;
	connecting = false;
}

/* Add the database to an error's context, as log_line_prefix lacks it for workers. */
static void
add_context(void *name)
{
	errcontext("sms3300 worker of database \"%s\"", (const char *) name);
	if (transaction_overrun)
		errcontext("a trigger on sms_outbox ignored its cancellation");
}

/* Add that context to everything that is logged from now on. */
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
	connect_to(DatumGetObjectId(database));
	for (size_t i = 0; i < lengthof(fixed_settings); i++)
		fix_setting(fixed_settings[i][0], fixed_settings[i][1]);

#ifdef M_TRIM_THRESHOLD			/* of glibc */
	mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY);
	mallopt(M_TOP_PAD, KEPT_MEMORY / 4);
#endif

	if (!registry_worker_attach(&orphans, &probe))
		return;
	name_worker();
	while (!extension_is_here(probe))
		if (registry_worker_forget())
			return;

	round_init(&worker, orphans);
	serve(&worker, probe);
}
