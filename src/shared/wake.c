/*
 * wake.c
 *		Wake the worker when the current transaction commits.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/resowner.h"

#include "shared/registry.h"
#include "shared/wake.h"

/* The earliest due time and expiry of the messages queued by this transaction, and their accounts. */
static TimestampTz first_due = DT_NOEND;
static TimestampTz first_expiry = DT_NOEND;
static NewsAccounts accounts;

/* Discard the pending notification.  Returns false if there was none. */
static bool
forget(void)
{
	bool		any = first_due != DT_NOEND;

	first_due = first_expiry = DT_NOEND;
	accounts = (NewsAccounts) {.any = false};
	return any;
}

/* Discard the notification on rollback; on PREPARE, announce a commit that wakes no worker. */
static void
at_end_of_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT)
		forget();
	else if (event == XACT_EVENT_PREPARE && forget())
		registry_notify_prepared(MyDatabaseId);
}

/*
 * Notify the worker at the very end of a commit.  The rows are visible earlier,
 * but a worker that is faster than this session would use outdated accounts
 * until the invalidation messages have been sent.
 */
static void
at_release(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	if (phase == RESOURCE_RELEASE_AFTER_LOCKS && is_commit && is_top_level &&
		first_due != DT_NOEND)
	{
		registry_notify(MyDatabaseId, &accounts, first_due, first_expiry);
		forget();
	}
}

/*
 * Note that messages were queued.  The callbacks are registered once per session,
 * and the worker is woken once per transaction, however many messages there are.
 */
void
wake_for_account(Oid server, TimestampTz due, TimestampTz expires)
{
	static bool registered = false;
	static bool warned = false;

	if (!registry_attached())
	{
		if (!warned)
			ereport(WARNING,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("messages are not sent because sms3300 is not preloaded"),
					 errhint("Add sms3300 to shared_preload_libraries and restart the server.")));
		warned = true;
		return;
	}

	if (!registered)
	{
		RegisterXactCallback(at_end_of_transaction, NULL);
		RegisterResourceReleaseCallback(at_release, NULL);
		registered = true;
	}
	first_due = Min(first_due, due);
	first_expiry = Min(first_expiry, expires);
	news_add(&accounts, server);
}

void
wake_at_commit(TimestampTz due, TimestampTz expires)
{
	wake_for_account(InvalidOid, due, expires);
}

void
wake_for_anything(void)
{
	wake_at_commit(DT_NOBEGIN, DT_NOEND);
}
