/*
 * wake.c
 *		Wake the worker when the current transaction commits.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"

#include "shmem.h"
#include "wake.h"

/* When the earliest message queued by this transaction is due. */
static TimestampTz earliest_due = DT_NOEND;

/* At the end of a transaction: once its rows are visible, say so. */
static void
at_end_of_transaction(XactEvent event, void *arg)
{
	TimestampTz due = earliest_due;

	if (due == DT_NOEND)
		return;

	switch (event)
	{
		case XACT_EVENT_COMMIT:
			earliest_due = DT_NOEND;
			shmem_notify(MyDatabaseId, due);
			break;
		case XACT_EVENT_PREPARE:
			/* Nobody will be told of the COMMIT PREPARED. */
			earliest_due = DT_NOEND;
			shmem_notify_prepared(MyDatabaseId);
			break;
		case XACT_EVENT_ABORT:
			earliest_due = DT_NOEND;
			break;
		default:
			break;
	}
}

/*
 * Wake the worker at commit, for something due at the time given.  The callback
 * is registered once a session and the worker woken once a transaction, however
 * many messages are queued.
 */
void
wake_at_commit(TimestampTz due)
{
	static bool registered = false;
	static bool warned = false;

	if (!shmem_attached())
	{
		if (!warned)
			ereport(WARNING,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("messages are queued, but nothing sends them"),
					 errdetail("The library sms3300 is not preloaded."),
					 errhint("Add it to shared_preload_libraries and restart the server.")));
		warned = true;
		return;
	}

	if (!registered)
	{
		RegisterXactCallback(at_end_of_transaction, NULL);
		registered = true;
	}
	earliest_due = Min(earliest_due, due);
}
