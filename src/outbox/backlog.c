/*
 * backlog.c
 *		What waits in sms_outbox, and what did not end well, for sms3300_problems.
 *
 * The statements run as the table's owner, in a security-restricted operation, with
 * plans that the settings of sms3300_get_problems() force into the indexes.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "outbox/access.h"
#include "outbox/backlog.h"
#include "outbox/owner.h"
#include "outbox/statement.h"

/* Return a time of a result; 0: null. */
static TimestampTz
backlog_time(uint64 row, int column)
{
	bool		isnull;
	Datum		value = statement_value(row, column, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(value);
}

/*
 * Run a statement that returns account, sender, status, number, time and id; of what is
 * finished, also the last time and a reason.
 */
static List *
read_backlog(Oid namespace, Statement *statement, Datum *values)
{
	MemoryContext caller = CurrentMemoryContext;
	List	   *found = NIL;
	Caller		reader;

	become_owner(namespace, &reader);
	SPI_connect();
	statement_run(namespace, statement, values, NULL);
	MemoryContextSwitchTo(caller);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Backlog    *backlog = palloc0(sizeof(Backlog));
		bool		isnull;
		Datum		value;

		backlog->account = statement_string(i, 1);
		backlog->sender = statement_string(i, 2);
		backlog->status = statement_string(i, 3);
		backlog->n = Min(statement_int64(i, 4), BACKLOG_LIMIT);
		backlog->since = backlog_time(i, 5);
		value = statement_value(i, 6, &isnull);
		backlog->id = isnull ? 0 : DatumGetInt64(value);
		if (SPI_tuptable->tupdesc->natts > 6)
		{
			backlog->last = backlog_time(i, 7);
			backlog->reason = statement_string(i, 8);
		}
		found = lappend(found, backlog);
	}
	SPI_finish();
	become_caller(&reader);
	return found;
}

/* The accounts that have messages in the queue: one descent of the index each. */
#define QUEUED_ACCOUNTS \
	"WITH RECURSIVE a (account) AS (" \
	"(SELECT o.account FROM ONLY %1$s AS o WHERE o.origin = $1 AND o.due_at IS NOT NULL" \
	"  ORDER BY o.origin, o.account LIMIT 1)" \
	" UNION ALL SELECT (SELECT o.account FROM ONLY %1$s AS o" \
	"  WHERE o.origin = $1 AND o.account > a.account AND o.due_at IS NOT NULL" \
	"  ORDER BY o.origin, o.account LIMIT 1) FROM a WHERE a.account IS NOT NULL)"

/* The due messages of an account, in each priority. */
#define DUE_MESSAGES \
	" FROM pg_catalog.generate_series(9, 0, -1) AS p(priority) CROSS JOIN LATERAL" \
	" (SELECT o.id, o.due_at, o.sender FROM ONLY %1$s AS o" \
	"  WHERE o.origin = $1 AND o.account = a.account AND o.priority = p.priority" \
	"  AND o.due_at <= $2 AND o.status = 'queued' ORDER BY o.due_at, o.id LIMIT $3) AS q"

static Statement due_statement = {
	.sql = QUEUED_ACCOUNTS
	" SELECT a.account::pg_catalog.text, NULL::pg_catalog.text, NULL::pg_catalog.text, d.n, d.since, d.id"
	" FROM a CROSS JOIN LATERAL (SELECT pg_catalog.count(*) AS n, pg_catalog.min(q.due_at) AS since,"
	"  (pg_catalog.array_agg(q.id ORDER BY q.due_at))[1] AS id" DUE_MESSAGES ") AS d"
	" WHERE a.account IS NOT NULL",
	.nargs = 3, .argtypes = {INT8OID, TIMESTAMPTZOID, INT8OID}, .reads = true
};

List *
backlog_due(Oid namespace, TimestampTz now)
{
	Datum		values[] = {
		Int64GetDatum(outbox_origin()), TimestampTzGetDatum(now), Int64GetDatum(BACKLOG_LIMIT)
	};

	return read_backlog(namespace, &due_statement, values);
}

/* What has no credentials is put off, and found in the index of what is tried again. */
static Statement senders_statement = {
	.sql = QUEUED_ACCOUNTS
	" SELECT a.account::pg_catalog.text, s.sender::pg_catalog.text, NULL::pg_catalog.text, s.n, s.since, s.id"
	" FROM a CROSS JOIN LATERAL (SELECT m.sender, pg_catalog.count(*) AS n,"
	"  pg_catalog.min(m.due_at) AS since, pg_catalog.min(m.id) AS id FROM"
	"  ((SELECT q.sender, q.due_at, q.id" DUE_MESSAGES " LIMIT $3)"
	"   UNION (SELECT o.sender, o.send_after, o.id FROM ONLY %1$s AS o"
	"   WHERE o.origin = $1 AND o.account = a.account AND o.due_at > o.send_after"
	"   AND o.due_at > $2 AND o.status = 'queued' ORDER BY o.due_at LIMIT $3)) AS m"
	"  GROUP BY m.sender) AS s"
	" WHERE a.account IS NOT NULL",
	.nargs = 3, .argtypes = {INT8OID, TIMESTAMPTZOID, INT8OID}, .reads = true
};

/* The messages of each account whose senders are looked at. */
#define SENDERS_LIMIT 1000

List *
backlog_senders(Oid namespace, TimestampTz now)
{
	Datum		values[] = {
		Int64GetDatum(outbox_origin()), TimestampTzGetDatum(now), Int64GetDatum(SENDERS_LIMIT)
	};

	return read_backlog(namespace, &senders_statement, values);
}

static Statement expiring_statement = {
	.sql = "SELECT e.account::pg_catalog.text, NULL::pg_catalog.text, NULL::pg_catalog.text,"
	" pg_catalog.count(*), pg_catalog.min(e.send_before), pg_catalog.min(e.id)"
	" FROM (SELECT o.account, o.send_before, o.id FROM ONLY %1$s AS o"
	"  WHERE o.origin = $1 AND o.send_before <= $2 AND o.finished_at IS NULL AND o.status = 'queued'"
	"  ORDER BY o.send_before LIMIT $3) AS e GROUP BY e.account",
	.nargs = 3, .argtypes = {INT8OID, TIMESTAMPTZOID, INT8OID}, .reads = true
};

List *
backlog_expiring(Oid namespace, TimestampTz until)
{
	Datum		values[] = {
		Int64GetDatum(outbox_origin()), TimestampTzGetDatum(until), Int64GetDatum(BACKLOG_LIMIT)
	};

	return read_backlog(namespace, &expiring_statement, values);
}

/*
 * What was sent has no error, and is not in this index.  An error has the gateway's words only
 * where there is a code, and these may hold a number or a text.
 */
static Statement finished_statement = {
	.sql = "SELECT f.account::pg_catalog.text, NULL::pg_catalog.text, f.status::pg_catalog.text,"
	" pg_catalog.count(*), pg_catalog.min(f.finished_at), pg_catalog.min(f.id),"
	" pg_catalog.max(f.finished_at), (pg_catalog.array_agg(CASE WHEN f.api_status IS NULL"
	"  THEN pg_catalog.replace(f.error, '; it may have been sent', '')"
	"  ELSE 'the gateway answered with status ' || f.api_status END ORDER BY f.finished_at DESC)"
	"  FILTER (WHERE f.status = 'unknown'))[1]"
	" FROM (SELECT o.account, o.status, o.finished_at, o.id, o.api_status, o.error FROM ONLY %1$s AS o"
	"  WHERE o.finished_at IS NOT NULL AND o.error IS NOT NULL AND o.finished_at > $1"
	"  AND (o.status = 'unknown' OR o.status = 'expired' AND o.finished_at > $2)"
	"  ORDER BY o.finished_at DESC LIMIT $3) AS f GROUP BY f.account, f.status",
	.nargs = 3, .argtypes = {TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID}, .reads = true
};

List *
backlog_finished(Oid namespace, TimestampTz unknown_after, TimestampTz expired_after)
{
	Datum		values[] = {
		TimestampTzGetDatum(unknown_after), TimestampTzGetDatum(expired_after), Int64GetDatum(BACKLOG_LIMIT)
	};

	return read_backlog(namespace, &finished_statement, values);
}

static Statement foreign_statement = {
	.sql = "SELECT f.account::pg_catalog.text, NULL::pg_catalog.text, NULL::pg_catalog.text,"
	" pg_catalog.count(*), pg_catalog.min(f.created_at), pg_catalog.min(f.id) FROM ("
	"(SELECT o.account, o.created_at, o.id FROM ONLY %1$s AS o"
	"  WHERE o.origin < $1 AND o.due_at IS NOT NULL LIMIT $2) UNION ALL "
	"(SELECT o.account, o.created_at, o.id FROM ONLY %1$s AS o"
	"  WHERE o.origin > $1 AND o.due_at IS NOT NULL LIMIT $2)) AS f GROUP BY f.account",
	.nargs = 2, .argtypes = {INT8OID, INT8OID}, .reads = true
};

List *
backlog_foreign(Oid namespace)
{
	Datum		values[] = {Int64GetDatum(outbox_origin()), Int64GetDatum(BACKLOG_LIMIT)};

	return read_backlog(namespace, &foreign_statement, values);
}
