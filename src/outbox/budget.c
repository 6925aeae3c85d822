/*
 * budget.c
 *		The parts that an account may have sent today: max_parts_per_day.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "outbox/access.h"
#include "outbox/budget.h"
#include "outbox/owner.h"
#include "shared/counters.h"
#include "shared/registry.h"

/*
 * A message that may have been sent today was finished today, or is being sent.  Its
 * last request began today.
 */
#define PARTS_OF_TODAY(parts) \
	"SELECT pg_catalog.sum(q.n)::pg_catalog.int8 FROM (" \
	" SELECT f.n FROM pg_catalog.generate_series(0, 1) AS p (redacted)" \
	" CROSS JOIN LATERAL (SELECT " parts " AS n FROM ONLY %1$s AS o" \
	"  WHERE o.account = $1 AND (o.message IS NULL)::integer = p.redacted" \
	"  AND o.finished_at >= $2 AND o.started_at >= $2 AND o.status IN ('sent', 'unknown')) AS f" \
	" UNION ALL SELECT " parts " FROM ONLY %1$s AS o" \
	"  WHERE o.origin = $3 AND o.account = $1 AND o.due_at IS NOT NULL" \
	"  AND o.status = 'sending' AND o.started_at >= $2) AS q"

static Statement parts_statement = {
	.sql = PARTS_OF_TODAY("COALESCE(o.parts, 1)"),
	.nargs = 3, .argtypes = {NAMEOID, TIMESTAMPTZOID, INT8OID}, .reads = true
};

/* In a table of an earlier version each message counts as one part. */
static Statement messages_statement = {
	.sql = PARTS_OF_TODAY("1"),
	.nargs = 3, .argtypes = {NAMEOID, TIMESTAMPTZOID, INT8OID}, .reads = true
};

/* Return whether the table in a schema knows the parts of its messages. */
static bool
has_parts(Oid schema)
{
	Oid			oid = get_relname_relid(OUTBOX_TABLE, schema);
	Relation	table = OidIsValid(oid) ? try_table_open(oid, AccessShareLock) : NULL;
	bool		result = table && columns_have(table, OUTBOX_PARTS);

	if (table)
		table_close(table, NoLock);
	return result;
}

/* Count the parts of a day from the table, by its indexes whatever the session's settings. */
static int64
count_parts(Oid schema, const Account *account, TimestampTz day)
{
	NameData	name = {{0}};
	Datum		values[] = {
		NameGetDatum(&name), TimestampTzGetDatum(day), Int64GetDatum(outbox_origin())
	};
	int			nest_level = NewGUCNestLevel();
	int64		parts;

	namestrcpy(&name, account->name);
	set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	set_config_option("enable_bitmapscan", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);

	/* The first session to count does so for all others, and its own snapshot may be old. */
	PushActiveSnapshot(GetLatestSnapshot());
	parts = run_as_owner(schema, has_parts(schema) ? &parts_statement : &messages_statement, values, NULL);
	PopActiveSnapshot();
	AtEOXact_GUC(false, nest_level);
	return parts;
}

/* Return when today began for an account. */
static TimestampTz
today(const Account *account, TimestampTz now)
{
	return hours_day_begin(&account->hours, now);
}

void
budget_prepare(Oid schema, const Account *account, TimestampTz now)
{
	if (account->max_parts_per_day > 0)
		(void) budget_spent(schema, account, now);
}

int64
budget_spent(Oid schema, const Account *account, TimestampTz now)
{
	TimestampTz day = today(account, now);
	DayParts	parts = {0};

	if (registry_attached())
	{
		counters_read_day(account->serverid, &parts);
		if (parts.day != day)
			counters_begin_day(account->serverid, day, count_parts(schema, account, day), &parts);
	}
	if (parts.day != day)
		return count_parts(schema, account, day);
	return parts.queued + parts.at_once;
}

bool
budget_is_reached(const Account *account, TimestampTz now)
{
	DayParts	parts = {0};

	if (account->max_parts_per_day == 0 || !registry_attached())
		return false;
	counters_read_day(account->serverid, &parts);
	return parts.day == today(account, now) && parts.reached == account->server_version;
}

bool
budget_reach(const Account *account)
{
	return registry_attached() && counters_reach_day(account->serverid, account->server_version);
}

bool
budget_spend(const Account *account, TimestampTz now, int parts, bool at_once)
{
	return account->max_parts_per_day == 0 || !registry_attached() ||
		counters_spend_day(account->serverid, today(account, now), parts, at_once) <= account->max_parts_per_day;
}

void
budget_return(Oid serverid, TimestampTz claimed_at, int parts)
{
	counters_return_day(serverid, claimed_at, parts);
}

void
budget_forget(void)
{
	counters_forget_days();
}
