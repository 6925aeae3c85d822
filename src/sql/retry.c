/*
 * retry.c
 *		Let stopped accounts try again.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/acl.h"

#include "account/account.h"
#include "account/route.h"
#include "compat.h"
#include "shared/counters.h"
#include "shared/registry.h"
#include "shared/wake.h"

PG_FUNCTION_INFO_V1(sms3300_retry);

/* Have the worker open an account. */
static void
retry(const Account *account)
{
	if (registry_attached())
		counters_request_retry(account->serverid);
	wake_for_anything();
}

/* Have the worker open all accounts that the current role may alter. */
static void
retry_all(void)
{
	ListCell   *cell;

	foreach(cell, account_names())
	{
		const Account *account = account_find(lfirst(cell));

		if (account && foreign_server_ownercheck(account->serverid, GetUserId()))
			retry(account);
	}
}

/*
 * sms3300_retry(account)
 *
 * Let a stopped account, or all of them, try again at once.  It does what altering an
 * option of the account does, and is for those who may do that.
 */
Datum
sms3300_retry(PG_FUNCTION_ARGS)
{
	PreventCommandDuringRecovery("sms3300_retry()");
	if (PG_ARGISNULL(0))
		retry_all();
	else
	{
		const char *name = NameStr(*PG_GETARG_NAME(0));
		const Account *account = route_known_account(name);

		if (!foreign_server_ownercheck(account->serverid, GetUserId()))
			aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_FOREIGN_SERVER, name);
		retry(account);
	}
	PG_RETURN_VOID();
}
