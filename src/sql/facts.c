/*
 * facts.c
 *		What sms3300_problems is found from.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "outbox/locks.h"
#include "sql/facts.h"

/* The time before which expiring messages are told of. */
#define EXPIRY_NOTICE (10 * USECS_PER_MINUTE)

AccountFacts *
facts_account(Facts *facts, const char *name)
{
	ListCell   *cell;
	AccountFacts *added;

	foreach(cell, facts->accounts)
	{
		AccountFacts *account = lfirst(cell);

		if (strcmp(account->name, name) == 0)
			return account;
	}
	added = palloc0(sizeof(AccountFacts));
	added->name = name;
	added->account = account_find(name);
	if (added->account && registry_attached())
		counters_read(added->account->serverid, &added->counted);
	facts->accounts = lappend(facts->accounts, added);
	return added;
}

/* Read the table. */
static void
read_table(Facts *facts)
{
	ListCell   *cell;

	foreach(cell, backlog_due(facts->namespace, facts->now))
	{
		const Backlog *due = lfirst(cell);

		facts_account(facts, due->account)->due = *due;
		facts->due += due->n;
		if (due->n > 0 && (facts->oldest_due == 0 || due->since < facts->oldest_due))
			facts->oldest_due = due->since;
	}
	facts->senders = backlog_senders(facts->namespace, facts->now);
	facts->expiring = backlog_expiring(facts->namespace, facts->now + EXPIRY_NOTICE);
	facts->finished = backlog_finished(facts->namespace, facts->now - USECS_PER_DAY,
									   facts->now - USECS_PER_HOUR);
	facts->foreign = backlog_foreign(facts->namespace);
}

/*
 * Read the table unless something in it is locked.  The function's lock_timeout ends
 * any wait that locks_take_for_reading() did not foresee.
 */
static void
read_table_if_free(Facts *facts)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	if (!locks_take_for_reading(facts->namespace))
		return;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		read_table(facts);
		ReleaseCurrentSubTransaction();
		facts->readable = true;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
		{
			CurrentResourceOwner = owner;
			ReThrowError(error);
		}
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
}

void
facts_gather(Facts *facts)
{
	ListCell   *cell;

	if (registry_attached())
		registry_worker_stat(MyDatabaseId, &facts->worker);
	foreach(cell, account_names())
		facts_account(facts, lfirst(cell));
	read_table_if_free(facts);
}
