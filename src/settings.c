/*
 * settings.c
 *		The settings sms3300.*.
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/guc.h"

#include "compat.h"
#include "settings.h"

bool		settings_enabled = true;
char	   *settings_account = NULL;
int			settings_max_workers = 8;
int			settings_worker_idle_timeout = 60 * 1000;
int			settings_poll_interval = 60 * 1000;

/* Define the settings; those that size shared memory only while preloading. */
void
settings_define(void)
{
	DefineCustomBoolVariable("sms3300.enabled",
							 "Sends queued messages.",
							 "Off sends nothing in the whole cluster; messages can still be queued.",
							 &settings_enabled, true,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomStringVariable("sms3300.account",
							   "Sets the account of messages that name none.",
							   "An account is a foreign server of the wrapper sms3300.",
							   &settings_account, "sms3300",
							   PGC_USERSET, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("sms3300.worker_idle_timeout",
							"Sets how long a worker with nothing to do stays connected to its database.",
							NULL,
							&settings_worker_idle_timeout, 60 * 1000, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);

	DefineCustomIntVariable("sms3300.poll_interval",
							"Sets how often a worker looks for messages whose commit could not wake it.",
							"It looks while its database has prepared transactions.",
							&settings_poll_interval, 60 * 1000, 10, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);

	if (process_shared_preload_libraries_in_progress)
		DefineCustomIntVariable("sms3300.max_workers",
								"Sets how many databases can send at the same time.",
								NULL,
								&settings_max_workers, 8, 1, 1024,
								PGC_POSTMASTER, 0, NULL, NULL, NULL);

	MarkGUCPrefixReserved("sms3300");
}
