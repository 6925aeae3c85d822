/*
 * launcher.c
 *		The launcher, which starts a worker for each database that needs one.
 *
 * At startup the launcher lets every database be probed, one after the other.
 * After that it sleeps until it is woken, or until a message is due in a database
 * whose worker has exited.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "shared/clock.h"
#include "shared/registry.h"
#include "worker/launcher.h"

#define LAUNCHER_TYPE "sms3300 launcher"
#define WORKER_TYPE "sms3300 worker"

/* Log a message if a database has been waiting for a worker for this long. */
#define LOG_WAIT_AFTER (10 * USECS_PER_SEC)

/* A worker process that has not registered yet. */
typedef struct Starting
{
	Oid			database;
	BackgroundWorkerHandle *handle;
} Starting;

static List *starting = NIL;	/* of Starting */
static List *unprobed = NIL;	/* of Oid */

/* Register the launcher.  Called while the library is preloaded. */
void
launcher_register(void)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_library_name, "sms3300", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "sms3300_launcher_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, LAUNCHER_TYPE, BGW_MAXLEN);
	strlcpy(worker.bgw_type, LAUNCHER_TYPE, BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

/* What the catalog says of a database. */
typedef struct Database
{
	Oid			oid;
	NameData	name;
	bool		accepts;		/* connections */
} Database;

/* Return all databases, or a given one, if it exists. */
static List *
read_databases(Oid only)
{
	List	   *databases = NIL;
	MemoryContext caller = CurrentMemoryContext;
	Relation	catalog;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	catalog = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(catalog, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
		Database   *database;

		if (OidIsValid(only) && form->oid != only)
			continue;
		database = MemoryContextAlloc(caller, sizeof(Database));
		database->oid = form->oid;
		database->name = form->datname;

		/* A limit of -2 marks a database with an interrupted DROP DATABASE. */
		database->accepts = form->datallowconn && form->datconnlimit != -2;

		MemoryContextSwitchTo(caller);
		databases = lappend(databases, database);
	}
	table_endscan(scan);
	table_close(catalog, AccessShareLock);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	return databases;
}

/* Have every database probed that accepts connections.  ALTER DATABASE tells of the others. */
static void
probe_everywhere(void)
{
	List	   *databases = read_databases(InvalidOid);
	ListCell   *cell;

	list_free(unprobed);
	unprobed = NIL;
	foreach(cell, databases)
	{
		Database   *database = lfirst(cell);

		if (database->accepts)
			unprobed = lappend_oid(unprobed, database->oid);
	}
	list_free_deep(databases);
}

/*
 * Return whether a worker can connect to a database now.  Otherwise forget the
 * database if it is gone, and try it again later if it refuses connections, which
 * does not last.
 */
static bool
is_connectable(Oid oid)
{
	List	   *databases = read_databases(oid);
	Database   *database = databases ? linitial(databases) : NULL;
	bool		accepts = database && database->accepts;

	if (database == NULL)
		registry_forget(oid);
	else if (!accepts)
		ereport(registry_start_failed(oid, START_REFUSED) ? LOG : DEBUG1,
				(errmsg("sms3300: database \"%s\" does not accept connections; its messages wait",
						NameStr(database->name))));
	list_free_deep(databases);
	return accepts;
}

/* Start a worker for a database. */
static void
start_worker(Oid database)
{
	BackgroundWorker worker;
	Starting   *entry = palloc(sizeof(Starting));

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "sms3300", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "sms3300_worker_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, WORKER_TYPE, BGW_MAXLEN);
	strlcpy(worker.bgw_type, WORKER_TYPE, BGW_MAXLEN);
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	worker.bgw_notify_pid = MyProcPid;

	entry->database = database;
	if (RegisterDynamicBackgroundWorker(&worker, &entry->handle))
	{
		starting = lappend(starting, entry);
		return;
	}
	pfree(entry);
	registry_start_failed(database, START_NO_PROCESS);
}

/*
 * Start a worker for each database that needs one.  Returns the time of the next
 * check; DT_NOEND: when woken.
 */
static TimestampTz
start_workers(void)
{
	static int64 waiting_since = 0;
	static bool logged = false;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz wake_at;
	Oid			database;
	WorkerShortage shortage;
	int64		waited;

	while (OidIsValid(database = registry_take_wanted(now, &wake_at, &shortage)))
	{
		if (is_connectable(database))
			start_worker(database);
	}

	/* Idle workers exit to make room for others.  Log a message if none does. */
	if (shortage == SHORT_OF_NOTHING)
	{
		waiting_since = 0;
		logged = false;
		return wake_at;
	}
	if (waiting_since == 0)
		waiting_since = clock_us();
	waited = clock_us() - waiting_since;
	if (waited < LOG_WAIT_AFTER)
		return Min(wake_at, now + LOG_WAIT_AFTER - waited);
	if (!logged)
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 shortage == SHORT_OF_WORKERS ?
				 errmsg("sms3300: messages are waiting because all %d workers are in use",
						registry_max_workers) :
				 errmsg("sms3300: messages are waiting because no background worker slot is free"),
				 shortage == SHORT_OF_WORKERS ?
				 errhint("Raise sms3300.max_workers and restart the server.") :
				 errhint("Raise max_worker_processes and restart the server.")));
	logged = true;
	return wake_at;
}

/* Check whether started workers have registered or failed. */
static void
follow_starting(void)
{
	ListCell   *cell;

	foreach(cell, starting)
	{
		Starting   *entry = lfirst(cell);
		pid_t		pid;

		if (registry_is_starting(entry->database))
		{
			if (GetBackgroundWorkerPid(entry->handle, &pid) != BGWH_STOPPED)
				continue;
			if (is_connectable(entry->database))
				registry_start_failed(entry->database, START_FAILED);
		}
		starting = foreach_delete_current(starting, cell);
		pfree(entry->handle);
		pfree(entry);
	}
}

/* What the launcher waits for. */
static WaitEventSet *events;
static int	clock_watch;

/* Set up what the launcher waits for. */
static void
open_events(void)
{
	clock_watch = clock_watch_open();
	if (clock_watch < 0)
		ereport(FATAL,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not watch the clock: %m")));
	events = create_wait_event_set(TopMemoryContext, 3);
	AddWaitEventToSet(events, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(events, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(events, WL_SOCKET_READABLE, clock_watch, NULL, NULL);
}

/*
 * Sleep until woken, until the clock is set, or until a time.  The maximum for a single wait is less than
 * 25 days; waking up too early does no harm.
 */
static void
sleep_until(TimestampTz when)
{
	static uint32 wait_event = 0;
	WaitEvent	event;
	long		timeout = -1;

	if (wait_event == 0)
		wait_event = wait_event_named("Sms3300LauncherMain");
	if (when != DT_NOEND)
	{
		TimestampTz now = GetCurrentTimestamp();

		timeout = when <= now ? 0 : (long) Min((when - now + 999) / 1000, PG_INT32_MAX);
	}
	if (WaitEventSetWait(events, timeout, &event, 1, wait_event) > 0 && event.fd == clock_watch)
		clock_watch_reset(clock_watch);
	ResetLatch(MyLatch);
}

/* Reload the configuration file.  Check every database if sending was enabled. */
static void
reload(void)
{
	bool		was_enabled = registry_enabled;

	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	if (registry_enabled && !was_enabled)
		registry_look_everywhere();
}

/* Unregister when the process exits. */
static void
launcher_on_exit(int code, Datum arg)
{
	registry_launcher_detach();
}

/*
 * Main function of the launcher.  On SIGTERM it exits with status 1, so that the
 * postmaster restarts it unless the server is stopping.
 */
void
sms3300_launcher_main(Datum unused)
{
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	before_shmem_exit(launcher_on_exit, (Datum) 0);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	MemoryContextSwitchTo(TopMemoryContext);
	open_events();
	registry_launcher_attach();
	probe_everywhere();

	while (!ShutdownRequestPending)
	{
		CHECK_FOR_INTERRUPTS();
		registry_follow_clock();
		if (ConfigReloadPending)
			reload();
		if (registry_take_overflow())
			probe_everywhere();

		follow_starting();
		if (unprobed != NIL && registry_probe(linitial_oid(unprobed)))
			unprobed = list_delete_first(unprobed);
		sleep_until(start_workers());
	}
	proc_exit(1);
}
