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

/* When the first of the messages queued by this transaction is due, and when the first expires. */
static TimestampTz first_due = DT_NOEND;
static TimestampTz first_expiry = DT_NOEND;

/* Forget what there was to tell; false if there was nothing. */
static bool
forget(void)
{
	bool		any = first_due != DT_NOEND;

	first_due = first_expiry = DT_NOEND;
	return any;
}

/* At a rollback forget it; at a PREPARE say that nobody will be told of the commit. */
static void
at_end_of_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT)
		forget();
	else if (event == XACT_EVENT_PREPARE && forget())
		registry_notify_prepared(MyDatabaseId);
}

/*
 * At the very end of a commit, say so.  Not earlier: the rows are visible before
 * that, but a worker that is faster than this session would still see accounts
 * as they were, until the invalidation messages are out.
 */
static void
at_release(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	if (phase == RESOURCE_RELEASE_AFTER_LOCKS && is_commit && is_top_level &&
		first_due != DT_NOEND)
	{
		registry_notify(MyDatabaseId, first_due, first_expiry);
		forget();
	}
}

/*
 * The callbacks are registered once a session and the worker woken once a
 * transaction, however many messages are queued.
 */
void
wake_at_commit(TimestampTz due, TimestampTz expires)
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
}

void
wake_for_anything(void)
{
	wake_at_commit(DT_NOBEGIN, DT_NOEND);
}
