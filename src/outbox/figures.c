/*
 * figures.c
 *		Numbers of queued messages, for monitoring.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "outbox/figures.h"
#include "outbox/locks.h"
#include "outbox/owner.h"

/*
 * Run a statement that has an origin and an account as its parameters.  Its result is
 * null also if the table is locked: monitoring must not wait.
 */
static int64
figure(Oid namespace, Statement *statement, int64 origin, Name account, bool *isnull)
{
	Datum		values[] = {Int64GetDatum(origin), NameGetDatum(account)};

	*isnull = !locks_take_for_reading(namespace);
	return *isnull ? 0 : run_as_owner(namespace, statement, values, isnull);
}

/*
 * A message that is due later cannot be on the wire, so the index alone shows that it
 * is queued.  The time is read after the snapshot was taken, and so is not before any
 * claim that the snapshot contains.
 */
static Statement queued_statement = {
	.sql = "SELECT pg_catalog.sum((SELECT pg_catalog.count(*) FROM %1$s AS o"
	"  WHERE o.origin = $1 AND o.account = $2 AND o.priority = p.priority"
	"  AND o.due_at <= t.now AND o.status = 'queued')"
	" + (SELECT pg_catalog.count(*) FROM %1$s AS o"
	"  WHERE o.origin = $1 AND o.account = $2 AND o.priority = p.priority"
	"  AND o.due_at > t.now))::pg_catalog.int8"
	" FROM pg_catalog.generate_series(9, 0, -1) AS p (priority),"
	" (SELECT pg_catalog.clock_timestamp() AS now) AS t",
	.nargs = 2, .argtypes = {INT8OID, NAMEOID}, .reads = true
};

bool
figure_queued(Oid namespace, int64 origin, Name account, int64 *n)
{
	bool		isnull;

	*n = figure(namespace, &queued_statement, origin, account, &isnull);
	return !isnull;
}

static Statement queued_by_statement = {
	.sql = "SELECT pg_catalog.count(*) FROM %s AS o"
	" WHERE o.origin = $1 AND o.account = $2 AND o.due_at IS NOT NULL AND o.status = 'queued'"
	" AND (o.sender = ANY ($3)) <> $4",
	.nargs = 4, .argtypes = {INT8OID, NAMEOID, NAMEARRAYOID, BOOLOID}, .reads = true
};

bool
figure_queued_by(Oid namespace, int64 origin, Name account, Datum senders, bool but, int64 *n)
{
	Datum		values[] = {
		Int64GetDatum(origin), NameGetDatum(account), senders, BoolGetDatum(but)
	};

	if (!locks_take_for_reading(namespace))
		return false;
	*n = run_as_owner(namespace, &queued_by_statement, values, NULL);
	return true;
}

static Statement oldest_due_at_statement = {
	.sql = "SELECT pg_catalog.min(q.due_at) FROM pg_catalog.generate_series($4, $3, -1) AS p (priority)"
	" CROSS JOIN LATERAL (SELECT o.due_at FROM %s AS o"
	"  WHERE o.origin = $1 AND o.account = $2 AND o.priority = p.priority"
	"  AND o.due_at IS NOT NULL AND o.status = 'queued'"
	"  ORDER BY o.due_at, o.id LIMIT 1) AS q",
	.nargs = 4, .argtypes = {INT8OID, NAMEOID, INT4OID, INT4OID}, .reads = true
};

TimestampTz
figure_oldest_due_at(Oid namespace, int64 origin, Name account, int least, int most)
{
	Datum		values[] = {
		Int64GetDatum(origin), NameGetDatum(account), Int32GetDatum(least), Int32GetDatum(most)
	};
	bool		isnull;
	TimestampTz due_at;

	if (!locks_take_for_reading(namespace))
		return DT_NOEND;
	due_at = run_as_owner(namespace, &oldest_due_at_statement, values, &isnull);
	return isnull ? DT_NOEND : due_at;
}

static Statement foreign_rows_statement = {
	.sql = "SELECT (SELECT pg_catalog.count(*) FROM %1$s AS o"
	"  WHERE o.origin < $1 AND o.account = $2 AND o.due_at IS NOT NULL)"
	" + (SELECT pg_catalog.count(*) FROM %1$s AS o"
	"  WHERE o.origin > $1 AND o.account = $2 AND o.due_at IS NOT NULL)",
	.nargs = 2, .argtypes = {INT8OID, NAMEOID}, .reads = true
};

bool
figure_foreign_rows(Oid namespace, int64 origin, Name account, int64 *n)
{
	bool		isnull;

	*n = figure(namespace, &foreign_rows_statement, origin, account, &isnull);
	return !isnull;
}
