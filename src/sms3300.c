/*
 * sms3300.c
 *		Entry point: define the settings sms3300.* and register the launcher.
 *
 * The variable of each setting belongs to the folder whose code uses it.
 */
#include "postgres.h"

#include <limits.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "account/account.h"
#include "outbox/names.h"
#include "compat.h"
#include "shared/armed.h"
#include "shared/database.h"
#include "shared/registry.h"
#include "worker/launcher.h"
#include "worker/window.h"
#include "worker/worker.h"

MODULE_MAGIC("sms3300", SMS3300_VERSION);

PGDLLEXPORT void _PG_init(void);

/* Define the settings.  Settings that size shared memory exist only if preloaded. */
static void
define_settings(void)
{
	DefineCustomBoolVariable("sms3300.enabled",
							 "Sends queued messages.",
							 "If off, nothing is sent in the whole cluster. Messages can still be queued.",
							 &registry_enabled, true,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomStringVariable("sms3300.armed_file",
							   "Sets a file without which nothing is sent.",
							   "Keep it outside the data directory, so that a physical copy of the server sends nothing.",
							   &armed_file, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, armed_file_check, NULL, NULL);

	DefineCustomStringVariable("sms3300.account",
							   "Sets the account of messages that do not specify one.",
							   "An account is a foreign server of the wrapper sms3300.",
							   &account_default_name, "sms3300",
							   PGC_USERSET, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("sms3300.worker_idle_timeout",
							"Sets how long a worker with nothing to do stays connected to its database.",
							NULL,
							&worker_idle_timeout, 60 * 1000, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);

	DefineCustomIntVariable("sms3300.poll_interval",
							"Sets the interval between checks for messages whose commit could not wake a worker.",
							"A worker checks while its database has prepared transactions.",
							&queue_poll_interval, 60 * 1000, 10, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);

	if (process_shared_preload_libraries_in_progress)
		DefineCustomIntVariable("sms3300.max_workers",
								"Sets the maximum number of databases that can send at the same time.",
								NULL,
								&registry_max_workers, 8, 1, 1024,
								PGC_POSTMASTER, 0, NULL, NULL, NULL);

	MarkGUCPrefixReserved("sms3300");
}

/*
 * Define the settings and, if preloaded, request shared memory and register the
 * launcher.  Under pg_upgrade nothing may connect to the databases, so nothing is
 * registered.
 */
void
_PG_init(void)
{
	define_settings();

	if (process_shared_preload_libraries_in_progress && !IsBinaryUpgrade)
	{
		registry_request();
		launcher_register();
		account_watch();
		names_watch();
		database_watch();
	}
}
