/*
 * counters_table.c
 *		The table of accounts that are counted: found by hash, of a fixed size.
 *
 * Each account has a slot, found by its database and server.  If there are more
 * accounts than slots, the account that has been idle the longest loses its slot, and
 * its counters start from zero when it is used again.  An account that is stopped, or
 * has a limit to keep, is not among them: its slot says what it may send.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "shared/counters_file.h"
#include "shared/counters_table.h"

/* Return the place in "first" of an account. */
static int16 *
chain_of_account(CountersTable *table, Oid database, Oid server)
{
	return &table->first[hash_combine(murmurhash32(database), murmurhash32(server)) % MAX_ACCOUNTS];
}

/* Have a slot found by its account. */
static void
enter_slot(CountersTable *table, int i)
{
	const AccountCounters *slot = &table->slots[i];
	int16	   *first = chain_of_account(table, slot->database, slot->server);

	table->next[i] = *first;
	*first = (int16) (i + 1);
}

/* Have a slot found no longer. */
static void
remove_slot(CountersTable *table, int i)
{
	const AccountCounters *slot = &table->slots[i];
	int16	   *place = chain_of_account(table, slot->database, slot->server);

	while (*place != i + 1)
		place = &table->next[*place - 1];
	*place = table->next[i];
}

void
counters_table_load(CountersTable *table)
{
	counters_file_read(table->slots, MAX_ACCOUNTS);
	while (table->nslots < MAX_ACCOUNTS && OidIsValid(table->slots[table->nslots].database))
		enter_slot(table, table->nslots++);
}

AccountCounters *
counters_table_find(CountersTable *table, Oid server)
{
	for (int i = *chain_of_account(table, MyDatabaseId, server); i > 0; i = table->next[i - 1])
	{
		AccountCounters *slot = &table->slots[i - 1];

		if (slot->database == MyDatabaseId && slot->server == server)
			return slot;
	}
	return NULL;
}

/* What a slot says of a day no longer matters after this; its database may be gone. */
#define MATTERS_FOR (2 * USECS_PER_DAY)

/* Tell whether a slot says what its account may send, or that it is to be opened. */
static bool
slot_matters(const AccountCounters *slot, TimestampTz now)
{
	return slot->used_at > now - MATTERS_FOR &&
		(account_has_stopped(slot->live.state) || slot->live.in_flight > 0 || slot->retry ||
		 slot->day_parts.day != 0 || slot->sessions_slot > now || slot->live.next_slot > now);
}

/* Return a free slot, or else the least recently used one that may be taken; -1: there is none. */
static int
spare_slot(CountersTable *table, TimestampTz now)
{
	int			spare = -1;

	if (table->nslots < MAX_ACCOUNTS)
		return table->nslots++;
	for (int i = 0; i < MAX_ACCOUNTS; i++)
	{
		const AccountCounters *slot = &table->slots[i];

		if (!slot_matters(slot, now) && (spare < 0 || slot->used_at < table->slots[spare].used_at))
			spare = i;
	}
	if (spare >= 0)
		remove_slot(table, spare);
	return spare;
}

AccountCounters *
counters_table_add(CountersTable *table, Oid server, TimestampTz now)
{
	int			i = spare_slot(table, now);
	AccountCounters *slot;

	if (i < 0)
		return NULL;
	slot = &table->slots[i];
	memset(slot, 0, sizeof(AccountCounters));
	slot->database = MyDatabaseId;
	slot->server = server;
	enter_slot(table, i);
	return slot;
}
