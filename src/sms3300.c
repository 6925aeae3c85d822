/*
 * sms3300.c
 *		Where the library is loaded.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "account.h"
#include "compat.h"
#include "launcher.h"
#include "settings.h"
#include "shmem.h"

MODULE_MAGIC("sms3300", SMS3300_VERSION);

PGDLLEXPORT void _PG_init(void);

/*
 * Define the settings and, when preloaded, ask for shared memory and the
 * launcher, and follow the accounts.  Under pg_upgrade nothing may connect to
 * the databases, so nothing is registered.
 */
void
_PG_init(void)
{
	settings_define();

	if (process_shared_preload_libraries_in_progress && !IsBinaryUpgrade)
	{
		shmem_request();
		launcher_register();
		account_watch();
	}
}
