/*
 * outbox.c
 *		Every statement on sms_outbox.
 *
 * The worker's statements run as the table's owner in a security-restricted
 * operation, because they fire triggers that users put on the table; nothing
 * but pg_catalog is in its search_path.  Every name below is qualified.
 *
 * The queue is the index on due_at, which is NULL once a message is finished.
 * A claim changes no indexed column, so it is a HOT update; a row that is
 * being sent stays in the index, which is where orphans are found.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"

#include "compat.h"
#include "gateway.h"
#include "outbox.h"

#define TABLE_NAME "sms_outbox"

/* The worker's search_path. */
#define SAFE_SEARCH_PATH "pg_catalog, pg_temp"

/* Rows that are deleted or redacted in one transaction. */
#define BATCH_SIZE 1000

/* Rows that are hurried when their account is altered. */
#define HURRY_LIMIT 10000

/* The objects in "errors" that are kept, the newest. */
#define MAX_ERRORS 50

/* -------------------------------------------------------------------------
 * Statements
 *
 * %s is the table, qualified and quoted.
 * ------------------------------------------------------------------------- */

typedef enum StatementId
{
	STATEMENT_CANDIDATES,
	STATEMENT_NEXT_DUE,
	STATEMENT_EXPIRING,
	STATEMENT_EXPIRE,
	STATEMENT_NEXT_EXPIRY,
	STATEMENT_CLAIM,
	STATEMENT_RECORD,
	STATEMENT_STILL_SENDING,
	STATEMENT_LOCK,
	STATEMENT_HURRY,
	STATEMENT_OLDEST_FINISHED,
	STATEMENT_DELETE,
	STATEMENT_REDACT,
	STATEMENT_ORPHANS,
	STATEMENT_HAS_PREPARED,
	STATEMENT_INSERT,
	STATEMENT_INSERT_ONCE,
	STATEMENT_FIND_KEY,
	STATEMENT_VISIBLE,
	STATEMENT_CANCEL,
	STATEMENT_REQUEUE,
	STATEMENT_ADOPT,
	STATEMENT_READ,
	STATEMENT_COUNT_BEFORE,
	NUM_STATEMENTS
} StatementId;

#define MAX_ARGS 14

typedef struct Statement
{
	const char *sql;
	int			nargs;
	Oid			argtypes[MAX_ARGS];
} Statement;

#define CALLER_COLUMNS \
	"mobile, message, line, line2, type, template, account, priority, " \
	"send_after, send_before, dedup_key, metadata"

#define CALLER_TYPES \
	{TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT2OID, INT4OID, NAMEOID, INT2OID, \
	 TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, JSONBOID}

static const Statement statements[NUM_STATEMENTS] =
{
	/* One descent of the index a priority: rows due later cost nothing. */
	[STATEMENT_CANDIDATES] = {
		"SELECT q.id FROM pg_catalog.generate_series(9, 0, -1) AS p(priority)"
		" CROSS JOIN LATERAL (SELECT o.id, o.due_at FROM %s AS o"
		"  WHERE o.origin = $1 AND o.account = $2 AND o.priority = p.priority"
		"  AND o.due_at <= $3 AND o.status = 'queued' AND o.sender <> ALL ($6)"
		"  ORDER BY o.due_at, o.id LIMIT $4 + $5) AS q"
		" ORDER BY p.priority DESC, q.due_at, q.id LIMIT $4 OFFSET $5",
		6, {INT8OID, NAMEOID, TIMESTAMPTZOID, INT8OID, INT8OID, NAMEARRAYOID}
	},
	[STATEMENT_NEXT_DUE] = {
		"SELECT pg_catalog.min(q.due_at) FROM pg_catalog.generate_series(9, 0, -1) AS p(priority)"
		" CROSS JOIN LATERAL (SELECT o.due_at FROM %s AS o"
		"  WHERE o.origin = $1 AND o.account = $2 AND o.priority = p.priority"
		"  AND o.due_at IS NOT NULL AND o.status = 'queued' AND o.sender <> ALL ($3)"
		"  ORDER BY o.due_at, o.id LIMIT 1) AS q",
		3, {INT8OID, NAMEOID, NAMEARRAYOID}
	},
	[STATEMENT_EXPIRING] = {
		"SELECT id FROM %s WHERE origin = $1 AND send_before <= $2 AND due_at IS NOT NULL"
		" AND status = 'queued' AND id <> ALL ($4)"
		" ORDER BY send_before LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED",
		4, {INT8OID, TIMESTAMPTZOID, INT8OID, INT8ARRAYOID}
	},
	[STATEMENT_EXPIRE] = {
		"UPDATE %s AS o SET status = 'expired', due_at = NULL, finished_at = $2,"
		" error = 'it was not sent before ' || o.send_before"
		" FROM pg_catalog.unnest($1) AS e(id)"
		" WHERE o.id = e.id AND o.status = 'queued' AND o.send_before <= $2 RETURNING o.account",
		2, {INT8ARRAYOID, TIMESTAMPTZOID}
	},
	[STATEMENT_NEXT_EXPIRY] = {
		"SELECT send_before FROM %s WHERE origin = $1 AND due_at IS NOT NULL"
		" AND status = 'queued' ORDER BY send_before LIMIT 1",
		1, {INT8OID}
	},
	/*
	 * The candidates are known: nothing here may tempt the planner to look for
	 * them by another index than the primary key, hence the coalesce and the
	 * IS NOT DISTINCT.
	 */
	[STATEMENT_CLAIM] = {
		"UPDATE %1$s AS o SET status = 'sending', attempts = least(o.attempts + 1, 32767),"
		" started_at = $2"
		" FROM (SELECT q.id FROM pg_catalog.unnest($1) AS c(id) JOIN %1$s AS q ON q.id = c.id"
		"  WHERE q.status = 'queued' AND coalesce(q.due_at, 'infinity') <= $2"
		"  AND q.send_before > $2 AND q.origin IS NOT DISTINCT FROM $3"
		"  FOR NO KEY UPDATE OF q SKIP LOCKED) AS c"
		" WHERE o.id = c.id"
		" RETURNING o.id, o.mobile, o.message, o.line, o.line2, o.type, o.template,"
		" o.account, o.sender, o.attempts, o.send_after, o.due_at",
		3, {INT8ARRAYOID, TIMESTAMPTZOID, INT8OID}
	},
	[STATEMENT_RECORD] = {
		"UPDATE %1$s AS o SET status = r.status::%2$s,"
		" due_at = CASE WHEN r.status = 'queued' THEN coalesce(r.due_at, o.due_at) END,"
		" finished_at = CASE WHEN r.status <> 'queued' THEN r.at END,"
		" attempts = o.attempts - CASE WHEN r.counted THEN 0 ELSE 1 END,"
		" http_status = coalesce(r.http_status, o.http_status),"
		" api_status = CASE WHEN r.http_status IS NULL THEN o.api_status ELSE r.api_status END,"
		" message_id = CASE WHEN r.http_status IS NULL THEN o.message_id ELSE r.message_id END,"
		" sent_line = CASE WHEN r.http_status IS NULL THEN o.sent_line ELSE r.sent_line END,"
		" response = CASE WHEN r.http_status IS NULL THEN o.response ELSE r.response END,"
		" error = r.error,"
		" errors = CASE WHEN r.error IS NULL THEN o.errors ELSE"
		"  CASE WHEN pg_catalog.jsonb_array_length(o.errors) < $14 THEN o.errors ELSE o.errors - 0 END"
		"  || pg_catalog.jsonb_build_object('attempt', o.attempts, 'at', r.at,"
		"   'phase', r.phase, 'http_status', r.http_status, 'api_status', r.api_status,"
		"   'error', r.error) END"
		" FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
		"  AS r(id, started_at, status, due_at, counted, at, http_status, api_status,"
		"   message_id, sent_line, response, error, phase)"
		" WHERE o.id = r.id AND o.status = 'sending' AND o.started_at = r.started_at"
		" RETURNING o.id",
		14, {INT8ARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, BOOLARRAYOID, TIMESTAMPTZARRAYOID,
		INT4ARRAYOID, INT4ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, JSONBARRAYOID, TEXTARRAYOID,
		TEXTARRAYOID, INT4OID}
	},
	[STATEMENT_STILL_SENDING] = {
		"SELECT o.id FROM unnest($1, $2) AS r(id, started_at) JOIN %s AS o ON o.id = r.id"
		" WHERE o.status = 'sending' AND o.started_at = r.started_at",
		2, {INT8ARRAYOID, TIMESTAMPTZARRAYOID}
	},
	[STATEMENT_LOCK] = {
		"SELECT o.id FROM pg_catalog.unnest($1) AS r(id) JOIN %s AS o ON o.id = r.id"
		" FOR NO KEY UPDATE OF o SKIP LOCKED",
		1, {INT8ARRAYOID}
	},
	[STATEMENT_HURRY] = {
		"UPDATE %1$s SET due_at = greatest(send_after, pg_catalog.now())"
		" WHERE id IN (SELECT id FROM %1$s WHERE origin = $1 AND account = $2"
		"  AND due_at > pg_catalog.now() AND due_at > send_after AND status = 'queued'"
		"  LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED)",
		3, {INT8OID, NAMEOID, INT8OID}
	},
	/* The index has the redacted rows and the others apart, hence the two descents. */
	[STATEMENT_OLDEST_FINISHED] = {
		"SELECT pg_catalog.min(q.finished_at)"
		" FROM pg_catalog.generate_series(0, $2) AS p(redacted)"
		" CROSS JOIN LATERAL (SELECT o.finished_at FROM %s AS o"
		"  WHERE o.account = $1 AND (o.message IS NULL)::integer = p.redacted"
		"  AND o.finished_at IS NOT NULL ORDER BY o.finished_at LIMIT 1) AS q",
		2, {NAMEOID, INT4OID}
	},
	[STATEMENT_DELETE] = {
		"DELETE FROM %1$s WHERE id IN (SELECT id FROM %1$s WHERE account = $1"
		" AND (message IS NULL)::integer = ANY ('{0,1}') AND finished_at <= $2"
		" LIMIT $3 FOR UPDATE SKIP LOCKED)",
		3, {NAMEOID, TIMESTAMPTZOID, INT8OID}
	},
	[STATEMENT_REDACT] = {
		"UPDATE %1$s SET message = NULL WHERE id IN (SELECT id FROM %1$s WHERE account = $1"
		" AND (message IS NULL)::integer = 0 AND finished_at <= $2"
		" LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED)",
		3, {NAMEOID, TIMESTAMPTZOID, INT8OID}
	},
	[STATEMENT_ORPHANS] = {
		"SELECT id, account, started_at FROM %s WHERE origin = $1 AND due_at IS NOT NULL"
		" AND status = 'sending'",
		1, {INT8OID}
	},
	[STATEMENT_HAS_PREPARED] = {
		"SELECT 1 FROM pg_catalog.pg_prepared_xacts"
		" WHERE database = pg_catalog.current_database() LIMIT 1",
		0, {0}
	},
	[STATEMENT_INSERT] = {
		"INSERT INTO %s (" CALLER_COLUMNS ")"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING id",
		OUTBOX_CALLER_COLUMNS, CALLER_TYPES
	},
	[STATEMENT_INSERT_ONCE] = {
		"INSERT INTO %s (" CALLER_COLUMNS ")"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
		" ON CONFLICT (sender, dedup_key) WHERE dedup_key IS NOT NULL DO NOTHING"
		" RETURNING id",
		OUTBOX_CALLER_COLUMNS, CALLER_TYPES
	},
	[STATEMENT_FIND_KEY] = {
		"SELECT id FROM %s WHERE sender OPERATOR(pg_catalog.=) CURRENT_USER"
		" AND dedup_key OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	},
	[STATEMENT_VISIBLE] = {
		"SELECT account FROM %s WHERE id OPERATOR(pg_catalog.=) $1",
		1, {INT8OID}
	},
	[STATEMENT_CANCEL] = {
		"UPDATE %s SET status = 'cancelled', due_at = NULL,"
		" finished_at = pg_catalog.clock_timestamp()"
		" WHERE id = $1 AND status = 'queued'",
		1, {INT8OID}
	},
	/* A message that expired gets as long as it had at first. */
	[STATEMENT_REQUEUE] = {
		"UPDATE %s SET status = 'queued', attempts = 0, finished_at = NULL, origin = $2,"
		" due_at = greatest(send_after, pg_catalog.now()),"
		" send_before = CASE WHEN pg_catalog.isfinite(send_before) THEN"
		"  greatest(send_before, pg_catalog.now() + (send_before - send_after))"
		"  ELSE send_before END"
		" WHERE id = $1 AND message IS NOT NULL"
		" AND status IN ('rejected', 'failed', 'unknown', 'expired', 'cancelled')",
		2, {INT8OID, INT8OID}
	},
	[STATEMENT_ADOPT] = {
		"UPDATE %s SET origin = $1,"
		" status = CASE status WHEN 'sending' THEN 'unknown' ELSE status END,"
		" finished_at = CASE status WHEN 'sending' THEN pg_catalog.now() END,"
		" error = CASE status WHEN 'sending'"
		"  THEN 'it was being sent when this copy of the row was made' ELSE error END,"
		" due_at = CASE status WHEN 'queued' THEN due_at END"
		" WHERE origin <> $1 AND due_at IS NOT NULL",
		1, {INT8OID}
	},
	[STATEMENT_READ] = {
		"SELECT account, status, sender, priority, attempts, send_after, send_before,"
		" due_at, started_at, finished_at, message_id, line, sent_line, type, error,"
		" errors OPERATOR(pg_catalog.->) -1 OPERATOR(pg_catalog.->>) 'error', origin"
		" FROM %s WHERE id OPERATOR(pg_catalog.=) $1",
		1, {INT8OID}
	},
	[STATEMENT_COUNT_BEFORE] = {
		"SELECT pg_catalog.count(*) FROM (SELECT"
		" FROM pg_catalog.generate_series(9, $3, -1) AS p(priority)"
		" CROSS JOIN LATERAL (SELECT FROM %s AS o"
		"  WHERE o.origin = $1 AND o.account = $2 AND o.priority = p.priority"
		"  AND o.due_at <= pg_catalog.clock_timestamp() AND o.status = 'queued'"
		"  AND (p.priority > $3 OR (o.due_at, o.id) < ($4, $5)) LIMIT $6) AS q LIMIT $6) AS q",
		6, {INT8OID, NAMEOID, INT4OID, TIMESTAMPTZOID, INT8OID, INT8OID}
	},
};

/* Plans for the table in one schema, of one name. */
static SPIPlanPtr plans[NUM_STATEMENTS];
static Oid	plans_namespace = InvalidOid;
static NameData plans_schema;

/* Between outbox_open and outbox_close */
static Oid	worker_namespace = InvalidOid;
static Oid	saved_user;
static int	saved_security_context;
static int	saved_nest_level;

/* Forget the plans of another schema, or of the same by its former name. */
static void
use_namespace(Oid namespace)
{
	char	   *schema = get_namespace_name(namespace);

	if (schema == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_SCHEMA),
				 errmsg("the schema of the extension does not exist any more")));
	if (plans_namespace == namespace && strcmp(NameStr(plans_schema), schema) == 0)
		return;
	namestrcpy(&plans_schema, schema);
	for (int i = 0; i < NUM_STATEMENTS; i++)
	{
		if (plans[i])
			SPI_freeplan(plans[i]);
		plans[i] = NULL;
	}
	plans_namespace = namespace;
}

/*
 * Run a statement on the table in a schema; the rows are in SPI_tuptable.  What
 * the caller allocates afterwards outlives SPI_finish().
 */
static void
run(Oid namespace, StatementId id, Datum *values, const char *nulls)
{
	const Statement *statement = &statements[id];
	MemoryContext caller = CurrentMemoryContext;
	int			code;

	use_namespace(namespace);
	if (plans[id] == NULL)
	{
		const char *schema = quote_identifier(NameStr(plans_schema));
		SPIPlanPtr	plan = SPI_prepare(psprintf(statement->sql,
												psprintf("%s." TABLE_NAME, schema),
												psprintf("%s.sms_status", schema)),
									   statement->nargs, (Oid *) statement->argtypes);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare statement %d: %s", id,
				 SPI_result_code_string(SPI_result));
		plans[id] = plan;
	}

	code = SPI_execute_plan(plans[id], values, nulls, false, 0);
	if (code < 0)
		elog(ERROR, "could not execute statement %d: %s", id, SPI_result_code_string(code));
	MemoryContextSwitchTo(caller);
}

/* A value of a row of the last result. */
static Datum
value_of(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

/* A 64-bit value of a row of the last result. */
static int64
int64_of(uint64 row, int column)
{
	bool		isnull;

	return DatumGetInt64(value_of(row, column, &isnull));
}

/* A timestamp of the first row of the last result; DT_NOEND if it is none. */
static TimestampTz
timestamp_or_never(void)
{
	bool		isnull = true;
	Datum		value = (Datum) 0;

	if (SPI_processed > 0)
		value = value_of(0, 1, &isnull);
	return isnull ? DT_NOEND : DatumGetTimestampTz(value);
}

/* A name as a parameter. */
static Datum
name_datum(const char *text)
{
	Name		name = palloc0(sizeof(NameData));

	namestrcpy(name, text);
	return NameGetDatum(name);
}

/* An array of names as a parameter. */
static Datum
name_array(const NameData *names, int n)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		values[i] = NameGetDatum(&names[i]);
	return PointerGetDatum(construct_array(values, n, NAMEOID, NAMEDATALEN, false,
										   TYPALIGN_CHAR));
}

/* An array of 64-bit numbers as a parameter. */
static Datum
int64_array(const int64 *numbers, int n)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		values[i] = Int64GetDatum(numbers[i]);
	return PointerGetDatum(construct_array(values, n, INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

int64
outbox_origin(void)
{
	static int64 origin = 0;

	if (origin == 0)
	{
		struct
		{
			uint64		system;
			uint64		database;
		}			key = {GetSystemIdentifier(), MyDatabaseId};

		origin = (int64) hash_bytes_extended((const unsigned char *) &key, sizeof(key), 0);
	}
	return origin;
}

/* -------------------------------------------------------------------------
 * The worker's
 * ------------------------------------------------------------------------- */

/* The schema of the extension; InvalidOid if it is not in this database. */
static Oid
find_namespace(void)
{
	Oid			extension = get_extension_oid("sms3300", true);
	Oid			namespace = InvalidOid;
	Relation	extensions;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!OidIsValid(extension))
		return InvalidOid;

	extensions = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(extension));
	scan = systable_beginscan(extensions, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		namespace = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
	systable_endscan(scan);
	table_close(extensions, AccessShareLock);
	return namespace;
}

/* The owner of a table; InvalidOid if it is gone. */
static Oid
table_owner(Oid table)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * Begin to work on the table in the current transaction.  Never waits for a
 * lock: who holds one, such as DROP EXTENSION, may hold it for long.
 *
 * Deferred triggers are made immediate, because at the commit they would run
 * with the worker's rights; and what a trigger sets is undone at the end.
 */
OutboxAccess
outbox_open(void)
{
	Oid			namespace = find_namespace();
	Oid			table = OidIsValid(namespace) ? get_relname_relid(TABLE_NAME, namespace) : InvalidOid;
	Oid			owner;
	ConstraintsSetStmt immediate = {.type = T_ConstraintsSetStmt};

	if (!OidIsValid(table))
		return OUTBOX_MISSING;
	if (!ConditionalLockRelationOid(table, RowExclusiveLock))
		return OUTBOX_LOCKED;
	owner = table_owner(table);
	if (!OidIsValid(owner))
		return OUTBOX_MISSING;

	GetUserIdAndSecContext(&saved_user, &saved_security_context);
	SetUserIdAndSecContext(owner, saved_security_context |
						   SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	saved_nest_level = NewGUCNestLevel();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	AfterTriggerSetState(&immediate);
	worker_namespace = namespace;
	return OUTBOX_OPEN;
}

/* End the work on the table, before the transaction commits. */
void
outbox_close(void)
{
	SPI_finish();
	PopActiveSnapshot();
	AtEOXact_GUC(false, saved_nest_level);
	SetUserIdAndSecContext(saved_user, saved_security_context);
}

/*
 * The messages of an account that are due, but for those of some senders, best
 * first: as many as asked for, after as many as are to be skipped.
 */
void
outbox_candidates(const char *account, const NameData *but, int nbut, TimestampTz now,
				  int skip, int limit, int64 *ids, int *nids)
{
	Datum		values[] = {
		Int64GetDatum(outbox_origin()), name_datum(account),
		TimestampTzGetDatum(now), Int64GetDatum(limit), Int64GetDatum(skip),
		name_array(but, nbut)
	};

	run(worker_namespace, STATEMENT_CANDIDATES, values, NULL);
	*nids = (int) SPI_processed;
	for (int i = 0; i < *nids; i++)
		ids[i] = int64_of(i, 1);
	SPI_freetuptable(SPI_tuptable);
}

/*
 * When the next message of an account is due, but for those of some senders;
 * DT_NOEND: it has none queued.
 */
TimestampTz
outbox_next_due(const char *account, const NameData *but, int nbut)
{
	Datum		values[] = {
		Int64GetDatum(outbox_origin()), name_datum(account), name_array(but, nbut)
	};
	TimestampTz due;

	run(worker_namespace, STATEMENT_NEXT_DUE, values, NULL);
	due = timestamp_or_never();
	SPI_freetuptable(SPI_tuptable);
	return due;
}

/* When the next queued message expires; DT_NOEND: nothing is queued. */
TimestampTz
outbox_next_expiry(void)
{
	Datum		values[] = {Int64GetDatum(outbox_origin())};
	TimestampTz next;

	run(worker_namespace, STATEMENT_NEXT_EXPIRY, values, NULL);
	next = timestamp_or_never();
	SPI_freetuptable(SPI_tuptable);
	return next;
}

/*
 * Find queued messages whose time is over, but for those given and what
 * somebody has locked; no more than limit.
 */
int
outbox_expiring(TimestampTz now, const int64 *but, int nbut, int limit, int64 *ids)
{
	Datum		values[] = {
		Int64GetDatum(outbox_origin()), TimestampTzGetDatum(now), Int64GetDatum(limit),
		int64_array(but, nbut)
	};
	int			n;

	run(worker_namespace, STATEMENT_EXPIRING, values, NULL);
	n = (int) SPI_processed;
	for (int i = 0; i < n; i++)
		ids[i] = int64_of(i, 1);
	SPI_freetuptable(SPI_tuptable);
	return n;
}

/* A string of a row of the last result, NULL if it is null. */
static char *
string_of(uint64 row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

/* Expire queued messages whose time is over; the account of each that was. */
List *
outbox_expire(TimestampTz now, const int64 *ids, int nids)
{
	Datum		values[] = {int64_array(ids, nids), TimestampTzGetDatum(now)};
	List	   *accounts = NIL;

	run(worker_namespace, STATEMENT_EXPIRE, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
		accounts = lappend(accounts, string_of(i, 1));
	SPI_freetuptable(SPI_tuptable);
	return accounts;
}

/* Make messages of an account that wait for another try due now, a limited number. */
void
outbox_hurry(const char *account)
{
	Datum		values[] = {
		Int64GetDatum(outbox_origin()), name_datum(account), Int64GetDatum(HURRY_LIMIT)
	};

	run(worker_namespace, STATEMENT_HURRY, values, NULL);
}

/*
 * When the oldest finished message of an account was finished, or the oldest
 * that still has its text; DT_NOEND: there is none.
 */
TimestampTz
outbox_oldest_finished(const char *account, bool with_text)
{
	Datum		values[] = {name_datum(account), Int32GetDatum(with_text ? 0 : 1)};
	TimestampTz oldest;

	run(worker_namespace, STATEMENT_OLDEST_FINISHED, values, NULL);
	oldest = timestamp_or_never();
	SPI_freetuptable(SPI_tuptable);
	return oldest;
}

/*
 * Delete messages of an account that were finished by a time, or only their
 * texts, a limited number.  True if there may be more.
 */
bool
outbox_remove(const char *account, bool only_text, TimestampTz until)
{
	Datum		values[] = {
		name_datum(account), TimestampTzGetDatum(until), Int64GetDatum(BATCH_SIZE)
	};

	run(worker_namespace, only_text ? STATEMENT_REDACT : STATEMENT_DELETE, values, NULL);
	return SPI_processed == BATCH_SIZE;
}

/* Order ids. */
static int
compare_ids(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y;
}

/* Order claims by id. */
static int
compare_claims(const void *a, const void *b)
{
	return compare_ids(&((const OutboxClaim *) a)->id, &((const OutboxClaim *) b)->id);
}

/* A small number of a row of the last result, GATEWAY_NONE if it is null. */
static int
number_of(uint64 row, int column, Oid type)
{
	bool		isnull;
	Datum		value = value_of(row, column, &isnull);

	if (isnull)
		return GATEWAY_NONE;
	return type == INT2OID ? DatumGetInt16(value) : DatumGetInt32(value);
}

/*
 * Claim messages: those that are still queued, and not locked by anybody, are
 * 'sending' from the commit on.  They come in the order asked for, in memory
 * of the transaction.
 */
OutboxClaim *
outbox_claim(const int64 *ids, int nids, TimestampTz now, int *nclaims)
{
	Datum		values[] = {
		int64_array(ids, nids), TimestampTzGetDatum(now), Int64GetDatum(outbox_origin())
	};
	OutboxClaim *found;
	OutboxClaim *claims;
	bool	   *returned;
	int			n;

	run(worker_namespace, STATEMENT_CLAIM, values, NULL);
	n = (int) SPI_processed;
	found = palloc(sizeof(OutboxClaim) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		OutboxClaim *claim = &found[i];

		claim->id = int64_of(i, 1);
		claim->started_at = now;
		claim->mobile = string_of(i, 2);
		claim->message = string_of(i, 3);
		claim->line = string_of(i, 4);
		claim->line2 = string_of(i, 5);
		claim->type = number_of(i, 6, INT2OID);
		claim->template = number_of(i, 7, INT4OID);
		claim->account = string_of(i, 8);
		claim->sender = string_of(i, 9);
		claim->attempts = number_of(i, 10, INT2OID);
		claim->send_after = int64_of(i, 11);
		claim->due_at = int64_of(i, 12);
	}
	SPI_freetuptable(SPI_tuptable);

	qsort(found, n, sizeof(OutboxClaim), compare_claims);
	claims = palloc(sizeof(OutboxClaim) * Max(n, 1));
	returned = palloc0(sizeof(bool) * Max(n, 1));
	*nclaims = 0;
	for (int i = 0; i < nids && *nclaims < n; i++)
	{
		OutboxClaim key = {.id = ids[i]};
		OutboxClaim *claim = bsearch(&key, found, n, sizeof(OutboxClaim), compare_claims);

		/* Whatever was asked for, a row is sent once. */
		if (claim && !returned[claim - found])
		{
			claims[(*nclaims)++] = *claim;
			returned[claim - found] = true;
		}
	}
	return claims;
}

/* One column of the results as an array parameter, built value by value. */
typedef struct ResultColumn
{
	Datum	   *values;
	bool	   *nulls;
	int			n;
} ResultColumn;

/* Begin a column of results. */
static ResultColumn
new_column(int nresults)
{
	ResultColumn column = {
		palloc(sizeof(Datum) * Max(nresults, 1)), palloc(sizeof(bool) * Max(nresults, 1)), 0
	};

	return column;
}

/* Append a value to a column. */
static void
add_value(ResultColumn *column, Datum value, bool isnull)
{
	column->values[column->n] = value;
	column->nulls[column->n] = isnull;
	column->n++;
}

/* Append a string to a column of texts. */
static void
add_text(ResultColumn *column, const char *value)
{
	add_value(column, value ? CStringGetTextDatum(value) : (Datum) 0, value == NULL);
}

/* A column as an array of its type. */
static Datum
column_array(const ResultColumn *column, Oid type)
{
	int			dims[] = {column->n};
	int			bounds[] = {1};
	int16		length;
	bool		byval;
	char		align;

	get_typlenbyvalalign(type, &length, &byval, &align);
	return PointerGetDatum(construct_md_array(column->values, column->nulls, 1, dims, bounds,
											  type, length, byval, align));
}

enum
{
	RESULT_ID, RESULT_STARTED_AT, RESULT_STATUS, RESULT_DUE_AT, RESULT_COUNTED, RESULT_AT, RESULT_HTTP_STATUS,
	RESULT_API_STATUS, RESULT_MESSAGE_ID, RESULT_SENT_LINE, RESULT_RESPONSE, RESULT_ERROR,
	RESULT_PHASE, NUM_RESULT_COLUMNS
};

/* Lay down results as the parameters of a statement; those of locked rows are left out. */
static void
result_parameters(const OutboxResult *results, int nresults, Datum *values)
{
	static const Oid types[NUM_RESULT_COLUMNS] = {
		INT8OID, TIMESTAMPTZOID, TEXTOID, TIMESTAMPTZOID, BOOLOID, TIMESTAMPTZOID, INT4OID,
		INT4OID, INT8OID, TEXTOID, JSONBOID, TEXTOID, TEXTOID
	};
	ResultColumn columns[NUM_RESULT_COLUMNS];

	for (int i = 0; i < NUM_RESULT_COLUMNS; i++)
		columns[i] = new_column(nresults);
	for (int i = 0; i < nresults; i++)
	{
		const OutboxResult *result = &results[i];

		if (result->locked)
			continue;
		add_value(&columns[RESULT_ID], Int64GetDatum(result->id), false);
		add_value(&columns[RESULT_STARTED_AT], TimestampTzGetDatum(result->started_at), false);
		add_text(&columns[RESULT_STATUS], result->status);
		add_value(&columns[RESULT_DUE_AT], TimestampTzGetDatum(result->due_at),
				  result->due_at == DT_NOBEGIN);
		add_value(&columns[RESULT_COUNTED], BoolGetDatum(result->counted), false);
		add_value(&columns[RESULT_AT], TimestampTzGetDatum(result->at), false);
		add_value(&columns[RESULT_HTTP_STATUS], Int32GetDatum(result->http_status),
				  result->http_status == 0);
		add_value(&columns[RESULT_API_STATUS], Int32GetDatum(result->api_status),
				  !result->has_api_status);
		add_value(&columns[RESULT_MESSAGE_ID], Int64GetDatum(result->message_id),
				  !result->has_message_id);
		add_text(&columns[RESULT_SENT_LINE], result->sent_line);
		add_value(&columns[RESULT_RESPONSE], JsonbPGetDatum(result->response),
				  result->response == NULL);
		add_text(&columns[RESULT_ERROR], result->error);
		add_text(&columns[RESULT_PHASE], result->phase);
	}
	for (int i = 0; i < NUM_RESULT_COLUMNS; i++)
		values[i] = column_array(&columns[i], types[i]);
}

/* The ids of the last result, ordered. */
static int64 *
take_ids(int *nids)
{
	int64	   *ids = palloc(sizeof(int64) * (SPI_processed + 1));

	*nids = (int) SPI_processed;
	for (int i = 0; i < *nids; i++)
		ids[i] = int64_of(i, 1);
	SPI_freetuptable(SPI_tuptable);
	qsort(ids, *nids, sizeof(int64), compare_ids);
	return ids;
}

/* Tell whether an id is among ordered ones. */
static bool
is_among(int64 id, const int64 *ids, int nids)
{
	return bsearch(&id, ids, nids, sizeof(int64), compare_ids) != NULL;
}

/*
 * Record what became of messages.
 *
 * A result is marked as recorded if its row took it, and also if its row is no
 * longer being sent, or by another request: somebody with the right to do so
 * changed it by hand, or made the table anew.  With skip_locked, rows that
 * somebody else has locked are marked as such and left alone.  A result that is
 * marked as neither was suppressed by a trigger.
 */
void
outbox_record(OutboxResult *results, int nresults, bool skip_locked)
{
	Datum		values[NUM_RESULT_COLUMNS + 1];
	int64	   *ids = NULL;		/* of rows that are not locked */
	int			nids = 0;
	int64	   *open_ids;
	int			nopen;
	int			nlocked = 0;

	values[NUM_RESULT_COLUMNS] = Int32GetDatum(MAX_ERRORS);
	result_parameters(results, nresults, values);
	if (skip_locked)
	{
		run(worker_namespace, STATEMENT_LOCK, &values[RESULT_ID], NULL);
		ids = take_ids(&nids);
		for (int i = 0; i < nresults; i++)
		{
			results[i].locked = !is_among(results[i].id, ids, nids);
			nlocked += results[i].locked;
		}
		if (nlocked > 0)
			result_parameters(results, nresults, values);
	}

	run(worker_namespace, STATEMENT_RECORD, values, NULL);
	if (SPI_processed == (uint64) nresults)
	{
		SPI_freetuptable(SPI_tuptable);
		for (int i = 0; i < nresults; i++)
			results[i].recorded = true;
		return;
	}

	/* Rare: find out whose row is still to be written. */
	SPI_freetuptable(SPI_tuptable);
	for (int i = 0; i < nresults; i++)
		results[i].locked = false;
	result_parameters(results, nresults, values);
	run(worker_namespace, STATEMENT_STILL_SENDING, &values[RESULT_ID], NULL);
	open_ids = take_ids(&nopen);
	for (int i = 0; i < nresults; i++)
	{
		results[i].recorded = !is_among(results[i].id, open_ids, nopen);
		results[i].locked = skip_locked && !results[i].recorded &&
			!is_among(results[i].id, ids, nids);
	}
}

/* The rows that a former worker left in the state 'sending'. */
List *
outbox_orphans(void)
{
	Datum		values[] = {Int64GetDatum(outbox_origin())};
	List	   *orphans = NIL;

	run(worker_namespace, STATEMENT_ORPHANS, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		OutboxOrphan *orphan = palloc(sizeof(OutboxOrphan));

		orphan->id = int64_of(i, 1);
		orphan->account = string_of(i, 2);
		orphan->started_at = int64_of(i, 3);
		orphans = lappend(orphans, orphan);
	}
	SPI_freetuptable(SPI_tuptable);
	return orphans;
}

/* Tell whether this database has prepared transactions. */
bool
outbox_has_prepared(void)
{
	bool		any;

	run(worker_namespace, STATEMENT_HAS_PREPARED, NULL, NULL);
	any = SPI_processed > 0;
	SPI_freetuptable(SPI_tuptable);
	return any;
}

/* -------------------------------------------------------------------------
 * The callers'
 * ------------------------------------------------------------------------- */

/*
 * Queue a message with the caller's rights.  Where the caller has queued one
 * with the same dedup_key before, its id is returned and nothing is queued.
 */
int64
outbox_insert(Oid namespace, const Datum *values, const bool *nulls, bool *inserted)
{
	const int	key = OUTBOX_DEDUP_KEY - OUTBOX_MOBILE;
	bool		once = !nulls[key];
	Datum		args[OUTBOX_CALLER_COLUMNS];
	char		flags[OUTBOX_CALLER_COLUMNS];
	int64		id;

	for (int i = 0; i < OUTBOX_CALLER_COLUMNS; i++)
	{
		args[i] = values[i];
		flags[i] = nulls[i] ? 'n' : ' ';
	}

	SPI_connect();
	for (int tries = 0; once && tries < 2; tries++)
	{
		run(namespace, STATEMENT_INSERT_ONCE, args, flags);
		*inserted = SPI_processed > 0;
		if (*inserted)
			break;

		/* Who holds the key may delete its row just now: then try again. */
		run(namespace, STATEMENT_FIND_KEY, &args[key], NULL);
		if (SPI_processed > 0)
			break;
	}
	if (!once || SPI_processed == 0)
	{
		run(namespace, STATEMENT_INSERT, args, flags);
		*inserted = SPI_processed > 0;
	}
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("the message was not queued"),
				 errdetail("A trigger on %s suppressed its row.", TABLE_NAME)));
	id = int64_of(0, 1);
	SPI_finish();
	return id;
}

/* Tell whether the caller may see a message, and its account. */
bool
outbox_visible(Oid namespace, int64 id, char **account)
{
	Datum		values[] = {Int64GetDatum(id)};
	MemoryContext caller = CurrentMemoryContext;
	bool		visible;

	SPI_connect();
	run(namespace, STATEMENT_VISIBLE, values, NULL);
	visible = SPI_processed > 0;
	if (visible)
		*account = MemoryContextStrdup(caller, string_of(0, 1));
	SPI_finish();
	return visible;
}

/*
 * Run a statement with the rights of the table's owner, as a SECURITY DEFINER
 * function would; how many rows it changed, or the number it returns.
 */
static int64
run_as_owner(Oid namespace, StatementId id, Datum *values)
{
	Oid			table = get_relname_relid(TABLE_NAME, namespace);
	Oid			user;
	int			security_context;
	int			nest_level;
	int64		result;

	GetUserIdAndSecContext(&user, &security_context);
	SetUserIdAndSecContext(table_owner(table), security_context | SECURITY_LOCAL_USERID_CHANGE);
	nest_level = NewGUCNestLevel();
	set_config_option("search_path", SAFE_SEARCH_PATH, PGC_USERSET, PGC_S_SESSION,
					  GUC_ACTION_SAVE, true, 0, false);

	SPI_connect();
	run(namespace, id, values, NULL);
	result = SPI_tuptable ? int64_of(0, 1) : (int64) SPI_processed;
	SPI_finish();

	AtEOXact_GUC(false, nest_level);
	SetUserIdAndSecContext(user, security_context);
	return result;
}

/* Cancel a message if it is still queued; the caller has checked who may. */
bool
outbox_cancel(Oid namespace, int64 id)
{
	Datum		values[] = {Int64GetDatum(id)};

	return run_as_owner(namespace, STATEMENT_CANCEL, values) > 0;
}

/* Queue a finished message again; the caller has checked who may. */
bool
outbox_requeue(Oid namespace, int64 id)
{
	Datum		values[] = {Int64GetDatum(id), Int64GetDatum(outbox_origin())};

	return run_as_owner(namespace, STATEMENT_REQUEUE, values) > 0;
}

/* Make queued rows that came from elsewhere this database's; how many. */
int64
outbox_adopt(Oid namespace)
{
	Datum		values[] = {Int64GetDatum(outbox_origin())};

	return run_as_owner(namespace, STATEMENT_ADOPT, values);
}

/* A timestamp of the first row of the last result, 0 if it is null. */
static TimestampTz
timestamp_of(int column)
{
	bool		isnull;
	Datum		value = value_of(0, column, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(value);
}

/* Read a row that the caller may see; false if there is none. */
bool
outbox_read(Oid namespace, int64 id, OutboxRow *row)
{
	Datum		values[] = {Int64GetDatum(id)};
	MemoryContext caller = CurrentMemoryContext;
	bool		found;

	SPI_connect();
	run(namespace, STATEMENT_READ, values, NULL);
	found = SPI_processed > 0;
	MemoryContextSwitchTo(caller);
	if (found)
	{
		bool		isnull;

		row->account = string_of(0, 1);
		row->status = string_of(0, 2);
		row->sender = string_of(0, 3);
		row->priority = number_of(0, 4, INT2OID);
		row->attempts = number_of(0, 5, INT2OID);
		row->send_after = timestamp_of(6);
		row->send_before = timestamp_of(7);
		row->due_at = timestamp_of(8);
		row->started_at = timestamp_of(9);
		row->finished_at = timestamp_of(10);
		row->message_id = DatumGetInt64(value_of(0, 11, &isnull));
		row->has_message_id = !isnull;
		row->line = string_of(0, 12);
		row->sent_line = string_of(0, 13);
		row->type = number_of(0, 14, INT2OID);
		row->error = string_of(0, 15);
		row->last_failure = string_of(0, 16);
		row->origin = int64_of(0, 17);
	}
	SPI_finish();
	return found;
}

/*
 * How many messages that are due come before a queued one, whosoever they are;
 * counts no further than a limit.
 */
int64
outbox_count_before(Oid namespace, int64 id, const OutboxRow *row, int64 limit)
{
	NameData	name;
	Datum		values[] = {
		Int64GetDatum(outbox_origin()), NameGetDatum(&name), Int32GetDatum(row->priority),
		TimestampTzGetDatum(row->due_at), Int64GetDatum(id), Int64GetDatum(limit)
	};

	namestrcpy(&name, row->account);
	return run_as_owner(namespace, STATEMENT_COUNT_BEFORE, values);
}
