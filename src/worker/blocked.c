/*
 * blocked.c
 *		Locks of other sessions that the worker waits for.
 *
 * The worker waits for none of them: it tries again.  What keeps it from a table or
 * from a row is shown by sms3300_stat_worker, and logged when it has lasted.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/procarray.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "outbox/access.h"
#include "outbox/columns.h"
#include "outbox/locks.h"
#include "shared/clock.h"
#include "shared/registry.h"
#include "worker/blocked.h"

/* Who holds the lock is looked up at most this often. */
#define LOOK_INTERVAL USECS_PER_SEC

/* A lock is logged when it has lasted this long, and then at this interval. */
#define LOG_AFTER (10 * USECS_PER_SEC)
#define LOG_INTERVAL USECS_PER_MINUTE

/* Of the current obstruction, by clock_us(). */
static int64 blocked_since = 0;		/* 0: there is none */
static int64 look_at;
static int64 log_at;

/* Look up who holds the lock.  An error, for example of a full disk, is not worth another try now. */
static LockHolder
find_holder(const Obstruction *obstruction)
{
	MemoryContext caller = CurrentMemoryContext;
	LockHolder	holder = {0};
	Oid			namespace;

	PG_TRY();
	{
		StartTransactionCommand();
		MemoryContextSwitchTo(caller);
		if (obstruction->message != 0)
			holder = locks_find_row_holder(obstruction->xid);
		else if (extension_find(&namespace) != EXTENSION_MISSING)
			holder = locks_find_table_holder(namespace);
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		FlushErrorState();
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	return holder;
}

/* Log what is locked, for how long, and by whom. */
static void
log_obstruction(const Obstruction *obstruction, const LockHolder *holder, int64 waited)
{
	const char *what = obstruction->message == 0 ? (holder->table ? holder->table : OUTBOX_TABLE) :
		psprintf("message " INT64_FORMAT, obstruction->message);

	ereport(LOG,
			(errmsg("sms3300: %s has been locked by %s for %d s, and messages wait for it",
					what, locks_name_holder(holder), (int) (waited / USECS_PER_SEC)),
			 holder->pid == 0 ? 0 :
			 errhint("SELECT pg_terminate_backend(%d) ends that session.", holder->pid)));
}

void
blocked_watch(bool table_locked)
{
	Obstruction obstruction = registry_worker_obstruction();
	int64		now = clock_us();
	LockHolder	holder;

	if (table_locked && (obstruction.since == 0 || obstruction.message != 0))
		obstruction = (Obstruction) {.since = GetCurrentTimestamp()};
	else if (!table_locked && obstruction.since != 0 &&
			 (obstruction.message == 0 || !TransactionIdIsInProgress(obstruction.xid)))
		obstruction = (Obstruction) {0};
	else if (obstruction.since == 0)
		return;

	if (obstruction.since == 0)
		blocked_since = 0;
	else if (blocked_since == 0)
	{
		blocked_since = look_at = now;
		log_at = now + LOG_AFTER;
	}
	if (obstruction.since != 0 && now >= look_at)
	{
		holder = find_holder(&obstruction);
		obstruction.pid = holder.pid;
		look_at = now + LOOK_INTERVAL;
		if (now >= log_at)
		{
			log_obstruction(&obstruction, &holder, now - blocked_since);
			log_at = now + LOG_INTERVAL;
		}
	}
	registry_worker_obstruct(&obstruction);
}
