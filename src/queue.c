/*
 * queue.c
 *		The worker's statements on sms_outbox.
 *
 * They run as the table's owner in a security-restricted operation, because
 * they fire triggers that users put on the table; nothing but pg_catalog is in
 * its search_path.  Every name below is qualified.
 *
 * The queue is the index on due_at, which is NULL once a message is finished.
 * A claim changes no indexed column, so it is a HOT update; a row that is
 * being sent stays in the index, which is where orphans are found.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "extension.h"
#include "outbox.h"
#include "queue.h"
#include "statement.h"

/* Rows that are hurried when their account is altered. */
#define HURRY_LIMIT 10000

/* The objects in "errors" that are kept, the newest. */
#define MAX_ERRORS 50

/* Between queue_open and queue_close */
static Oid	namespace = InvalidOid;
static Oid	saved_user;
static int	saved_security_context;
static int	saved_nest_level;

/* A timestamp of the first row of the last result; DT_NOEND if it is none. */
static TimestampTz
timestamp_or_never(void)
{
	bool		isnull = true;
	Datum		value = (Datum) 0;

	if (SPI_processed > 0)
		value = statement_value(0, 1, &isnull);
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

/*
 * Begin to work on the table in the current transaction.  Never waits for a
 * lock: who holds one, such as DROP EXTENSION, may hold it for long.
 *
 * Deferred triggers are made immediate, because at the commit they would run
 * with the worker's rights; and what a trigger sets is undone at the end.
 */
QueueAccess
queue_open(void)
{
	Oid			found = InvalidOid;
	ExtensionAge age = extension_find(&found);
	Oid			table = OidIsValid(found) ? get_relname_relid(OUTBOX_TABLE, found) : InvalidOid;
	Oid			owner;
	ConstraintsSetStmt immediate = {.type = T_ConstraintsSetStmt};

	if (!OidIsValid(table))
		return QUEUE_MISSING;
	if (!ConditionalLockRelationOid(table, RowExclusiveLock))
		return QUEUE_LOCKED;
	owner = outbox_owner(table);
	if (!OidIsValid(owner))
		return QUEUE_MISSING;

	GetUserIdAndSecContext(&saved_user, &saved_security_context);
	SetUserIdAndSecContext(owner, saved_security_context |
						   SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	saved_nest_level = NewGUCNestLevel();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	AfterTriggerSetState(&immediate);
	namespace = found;
	return age == EXTENSION_NEWER ? QUEUE_NEWER : QUEUE_OPEN;
}

/* End the work on the table, before the transaction commits. */
void
queue_close(void)
{
	SPI_finish();
	PopActiveSnapshot();
	AtEOXact_GUC(false, saved_nest_level);
	SetUserIdAndSecContext(saved_user, saved_security_context);
}

/* One descent of the index a priority: rows due later cost nothing. */
static Statement candidates_statement = {
	.sql = "SELECT q.id FROM pg_catalog.generate_series(9, 0, -1) AS p(priority)"
	" CROSS JOIN LATERAL (SELECT o.id, o.due_at FROM %s AS o"
	"  WHERE o.origin = $1 AND o.account = $2 AND o.priority = p.priority"
	"  AND o.due_at <= $3 AND o.status = 'queued' AND o.sender <> ALL ($6)"
	"  ORDER BY o.due_at, o.id LIMIT $4 + $5) AS q"
	" ORDER BY p.priority DESC, q.due_at, q.id LIMIT $4 OFFSET $5",
	.nargs = 6, .argtypes = {INT8OID, NAMEOID, TIMESTAMPTZOID, INT8OID, INT8OID, NAMEARRAYOID}
};

/*
 * The messages of an account that are due, but for those of some senders, best
 * first: as many as asked for, after as many as are to be skipped.
 */
void
queue_candidates(const char *account, const NameData *but, int nbut, TimestampTz now,
				  int skip, int limit, int64 *ids, int *nids)
{
	Datum		values[] = {
		Int64GetDatum(outbox_origin()), name_datum(account),
		TimestampTzGetDatum(now), Int64GetDatum(limit), Int64GetDatum(skip),
		name_array(but, nbut)
	};

	statement_run(namespace, &candidates_statement, values, NULL);
	*nids = (int) SPI_processed;
	for (int i = 0; i < *nids; i++)
		ids[i] = statement_int64(i, 1);
	SPI_freetuptable(SPI_tuptable);
}

static Statement next_due_statement = {
	.sql = "SELECT pg_catalog.min(q.due_at) FROM pg_catalog.generate_series(9, 0, -1) AS p(priority)"
	" CROSS JOIN LATERAL (SELECT o.due_at FROM %s AS o"
	"  WHERE o.origin = $1 AND o.account = $2 AND o.priority = p.priority"
	"  AND o.due_at IS NOT NULL AND o.status = 'queued' AND o.sender <> ALL ($3)"
	"  ORDER BY o.due_at, o.id LIMIT 1) AS q",
	.nargs = 3, .argtypes = {INT8OID, NAMEOID, NAMEARRAYOID}
};

/*
 * When the next message of an account is due, but for those of some senders;
 * DT_NOEND: it has none queued.
 */
TimestampTz
queue_next_due(const char *account, const NameData *but, int nbut)
{
	Datum		values[] = {
		Int64GetDatum(outbox_origin()), name_datum(account), name_array(but, nbut)
	};
	TimestampTz due;

	statement_run(namespace, &next_due_statement, values, NULL);
	due = timestamp_or_never();
	SPI_freetuptable(SPI_tuptable);
	return due;
}

static Statement next_expiry_statement = {
	.sql = "SELECT send_before FROM %s WHERE origin = $1 AND finished_at IS NULL"
	" AND status = 'queued' ORDER BY send_before LIMIT 1",
	.nargs = 1, .argtypes = {INT8OID}
};

/* When the next queued message expires; DT_NOEND: nothing is queued. */
TimestampTz
queue_next_expiry(void)
{
	Datum		values[] = {Int64GetDatum(outbox_origin())};
	TimestampTz next;

	statement_run(namespace, &next_expiry_statement, values, NULL);
	next = timestamp_or_never();
	SPI_freetuptable(SPI_tuptable);
	return next;
}

static Statement expiring_statement = {
	.sql = "SELECT id FROM %s WHERE origin = $1 AND send_before <= $2 AND finished_at IS NULL"
	" AND status = 'queued' AND id <> ALL ($4)"
	" ORDER BY send_before LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED",
	.nargs = 4, .argtypes = {INT8OID, TIMESTAMPTZOID, INT8OID, INT8ARRAYOID}
};

/*
 * Find queued messages whose time is over, but for those given and what
 * somebody has locked; no more than limit.
 */
int
queue_expiring(TimestampTz now, const int64 *but, int nbut, int limit, int64 *ids)
{
	Datum		values[] = {
		Int64GetDatum(outbox_origin()), TimestampTzGetDatum(now), Int64GetDatum(limit),
		int64_array(but, nbut)
	};
	int			n;

	statement_run(namespace, &expiring_statement, values, NULL);
	n = (int) SPI_processed;
	for (int i = 0; i < n; i++)
		ids[i] = statement_int64(i, 1);
	SPI_freetuptable(SPI_tuptable);
	return n;
}

static Statement expire_statement = {
	.sql = "UPDATE %s AS o SET status = 'expired', due_at = NULL, finished_at = $2,"
	" error = 'it was not sent before ' || o.send_before"
	" FROM pg_catalog.unnest($1) AS e(id)"
	" WHERE o.id = e.id AND o.status = 'queued' AND o.send_before <= $2 RETURNING o.account",
	.nargs = 2, .argtypes = {INT8ARRAYOID, TIMESTAMPTZOID}
};

/* Expire queued messages whose time is over; the account of each that was. */
List *
queue_expire(TimestampTz now, const int64 *ids, int nids)
{
	Datum		values[] = {int64_array(ids, nids), TimestampTzGetDatum(now)};
	List	   *accounts = NIL;

	statement_run(namespace, &expire_statement, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
		accounts = lappend(accounts, statement_name(i, 1));
	SPI_freetuptable(SPI_tuptable);
	return accounts;
}

static Statement hurry_statement = {
	.sql = "UPDATE %1$s SET due_at = greatest(send_after, pg_catalog.now())"
	" WHERE id IN (SELECT id FROM %1$s WHERE origin = $1 AND account = $2"
	"  AND due_at > pg_catalog.now() AND due_at > send_after AND status = 'queued'"
	"  LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED)",
	.nargs = 3, .argtypes = {INT8OID, NAMEOID, INT8OID}
};

/* Make messages of an account that wait for another try due now, a limited number. */
void
queue_hurry(const char *account)
{
	Datum		values[] = {
		Int64GetDatum(outbox_origin()), name_datum(account), Int64GetDatum(HURRY_LIMIT)
	};

	statement_run(namespace, &hurry_statement, values, NULL);
}

/* The index has the redacted rows and the others apart, hence the two descents. */
static Statement oldest_finished_statement = {
	.sql = "SELECT pg_catalog.min(q.finished_at)"
	" FROM pg_catalog.generate_series(0, $2) AS p(redacted)"
	" CROSS JOIN LATERAL (SELECT o.finished_at FROM %s AS o"
	"  WHERE o.account = $1 AND (o.message IS NULL)::integer = p.redacted"
	"  AND o.finished_at IS NOT NULL ORDER BY o.finished_at LIMIT 1) AS q",
	.nargs = 2, .argtypes = {NAMEOID, INT4OID}
};

/*
 * When the oldest finished message of an account was finished, or the oldest
 * that still has its text; DT_NOEND: there is none.
 */
TimestampTz
queue_oldest_finished(const char *account, bool with_text)
{
	Datum		values[] = {name_datum(account), Int32GetDatum(with_text ? 0 : 1)};
	TimestampTz oldest;

	statement_run(namespace, &oldest_finished_statement, values, NULL);
	oldest = timestamp_or_never();
	SPI_freetuptable(SPI_tuptable);
	return oldest;
}

/* What is locked by somebody is left for later. */
#define OLD_MESSAGES \
	"SELECT id, finished_at FROM %s WHERE account = $1 AND (message IS NULL)::integer = $2" \
	" AND finished_at <= $3 AND (finished_at, id) > ($4, $5)" \
	" ORDER BY finished_at, id LIMIT $6 FOR "

static Statement old_to_delete_statement = {
	.sql = OLD_MESSAGES "UPDATE SKIP LOCKED",
	.nargs = 6, .argtypes = {NAMEOID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, INT8OID}
};

static Statement old_to_redact_statement = {
	.sql = OLD_MESSAGES "NO KEY UPDATE SKIP LOCKED",
	.nargs = 6, .argtypes = {NAMEOID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, INT8OID}
};

static Statement delete_statement = {
	.sql = "DELETE FROM %s WHERE id = ANY ($1)",
	.nargs = 1, .argtypes = {INT8ARRAYOID}
};

static Statement redact_statement = {
	.sql = "UPDATE %s SET message = NULL WHERE id = ANY ($1)",
	.nargs = 1, .argtypes = {INT8ARRAYOID}
};

/*
 * Delete messages of an account that were finished by a time, or only their
 * texts: the first after a place, which becomes that of the last of them.  False
 * if there are none.  Wherever they were queued: a copied text is as private.
 */
bool
queue_remove(const char *account, bool only_text, bool redacted, TimestampTz until,
			 int limit, QueuePlace *place)
{
	Datum		values[] = {
		name_datum(account), Int32GetDatum(redacted), TimestampTzGetDatum(until),
		TimestampTzGetDatum(place->finished_at), Int64GetDatum(place->id), Int64GetDatum(limit)
	};
	int64	   *ids = palloc(sizeof(int64) * limit);
	int			n;

	statement_run(namespace, only_text ? &old_to_redact_statement : &old_to_delete_statement,
				  values, NULL);
	n = (int) SPI_processed;
	for (int i = 0; i < n; i++)
	{
		ids[i] = place->id = statement_int64(i, 1);
		place->finished_at = statement_int64(i, 2);
	}
	SPI_freetuptable(SPI_tuptable);
	if (n == 0)
		return false;

	values[0] = int64_array(ids, n);
	statement_run(namespace, only_text ? &redact_statement : &delete_statement, values, NULL);
	return true;
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
	return compare_ids(&((const QueueClaim *) a)->id, &((const QueueClaim *) b)->id);
}

/*
 * The candidates are known: nothing here may tempt the planner to look for
 * them by another index than the primary key, hence the coalesce and the
 * IS NOT DISTINCT.
 */
static Statement claim_statement = {
	.sql = "UPDATE %1$s AS o SET status = 'sending', attempts = least(o.attempts + 1, 32767),"
	" started_at = $2"
	" FROM (SELECT q.id FROM pg_catalog.unnest($1) AS c(id) JOIN %1$s AS q ON q.id = c.id"
	"  WHERE q.status = 'queued' AND coalesce(q.due_at, 'infinity') <= $2"
	"  AND q.send_before > $2 AND q.origin IS NOT DISTINCT FROM $3"
	"  FOR NO KEY UPDATE OF q SKIP LOCKED) AS c"
	" WHERE o.id = c.id"
	" RETURNING o.id",
	.nargs = 3, .argtypes = {INT8ARRAYOID, TIMESTAMPTZOID, INT8OID}
};

static Statement claimed_statement = {
	.sql = "SELECT o.id, o.mobile, o.message, o.line, o.line2, o.type, o.template,"
	" o.account, o.sender, o.attempts, o.send_after, o.due_at,"
	" coalesce(o.started_at, '-infinity')"
	" FROM pg_catalog.unnest($1) AS c(id) JOIN %s AS o ON o.id = c.id"
	" WHERE o.status = 'sending'",
	.nargs = 1, .argtypes = {INT8ARRAYOID}
};

/* The ids of the last result, ordered. */
static int64 *
take_ids(int *nids)
{
	int64	   *ids = palloc(sizeof(int64) * (SPI_processed + 1));

	*nids = (int) SPI_processed;
	for (int i = 0; i < *nids; i++)
		ids[i] = statement_int64(i, 1);
	SPI_freetuptable(SPI_tuptable);
	qsort(ids, *nids, sizeof(int64), compare_ids);
	return ids;
}

/*
 * Claim messages: those that are still queued, and not locked by anybody, are
 * 'sending' from the commit on.  They come in the order asked for, in memory
 * of the transaction.
 *
 * They are read when all triggers have run, whatever those did, to these rows
 * or from them to others: only what is 'sending' in the end may be sent.
 */
QueueClaim *
queue_claim(const int64 *ids, int nids, TimestampTz now, int *nclaims)
{
	Datum		values[] = {
		int64_array(ids, nids), TimestampTzGetDatum(now), Int64GetDatum(outbox_origin())
	};
	QueueClaim *found;
	QueueClaim *claims;
	bool	   *returned;
	int64	   *updated;
	int			n;

	statement_run(namespace, &claim_statement, values, NULL);
	updated = take_ids(&n);
	values[0] = int64_array(updated, n);
	statement_run(namespace, &claimed_statement, values, NULL);
	n = (int) SPI_processed;
	found = palloc(sizeof(QueueClaim) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		QueueClaim *claim = &found[i];

		claim->id = statement_int64(i, 1);
		claim->mobile = statement_string(i, 2);
		claim->message = statement_string(i, 3);
		claim->line = statement_string(i, 4);
		claim->line2 = statement_string(i, 5);
		claim->type = statement_number(i, 6, INT2OID);
		claim->template = statement_number(i, 7, INT4OID);
		claim->account = statement_name(i, 8);
		claim->sender = statement_name(i, 9);
		claim->attempts = statement_number(i, 10, INT2OID);
		claim->send_after = statement_int64(i, 11);
		claim->due_at = statement_int64(i, 12);
		claim->started_at = statement_int64(i, 13);
	}
	SPI_freetuptable(SPI_tuptable);

	qsort(found, n, sizeof(QueueClaim), compare_claims);
	claims = palloc(sizeof(QueueClaim) * Max(n, 1));
	returned = palloc0(sizeof(bool) * Max(n, 1));
	*nclaims = 0;
	for (int i = 0; i < nids && *nclaims < n; i++)
	{
		QueueClaim key = {.id = ids[i]};
		QueueClaim *claim = bsearch(&key, found, n, sizeof(QueueClaim), compare_claims);

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
result_parameters(const QueueResult *results, int nresults, Datum *values)
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
		const QueueResult *result = &results[i];

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

/* Tell whether an id is among ordered ones. */
static bool
is_among(int64 id, const int64 *ids, int nids)
{
	return bsearch(&id, ids, nids, sizeof(int64), compare_ids) != NULL;
}

/* Whether the row o awaits the result r; also where somebody queued it again by hand. */
#define AWAITS_RESULT \
	"o.status IN ('sending', 'queued') AND coalesce(o.started_at, '-infinity') = r.started_at"

static Statement record_statement = {
	.sql = "UPDATE %1$s AS o SET status = r.status::%2$s,"
	" due_at = CASE WHEN r.status = 'queued' THEN coalesce(r.due_at, o.due_at) END,"
	" finished_at = CASE WHEN r.status <> 'queued' THEN r.at END,"
	" attempts = CASE WHEN r.counted THEN o.attempts ELSE greatest(o.attempts - 1, 0) END,"
	" http_status = coalesce(r.http_status, o.http_status),"
	" api_status = CASE WHEN r.http_status IS NULL THEN o.api_status ELSE r.api_status END,"
	" message_id = CASE WHEN r.http_status IS NULL THEN o.message_id ELSE r.message_id END,"
	" sent_line = CASE WHEN r.http_status IS NULL THEN o.sent_line ELSE r.sent_line END,"
	" response = CASE WHEN r.http_status IS NULL THEN o.response ELSE r.response END,"
	" error = r.error,"
	" errors = CASE WHEN r.error IS NULL THEN o.errors ELSE"
	"  CASE WHEN pg_catalog.jsonb_typeof(o.errors) IS DISTINCT FROM 'array'"
	"   THEN pg_catalog.jsonb_build_array(o.errors)"
	"  WHEN pg_catalog.jsonb_array_length(o.errors) < $14 THEN o.errors ELSE o.errors - 0 END"
	"  || pg_catalog.jsonb_build_object('attempt', o.attempts, 'at', r.at,"
	"   'phase', r.phase, 'http_status', r.http_status, 'api_status', r.api_status,"
	"   'error', r.error) END"
	" FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
	"  AS r(id, started_at, status, due_at, counted, at, http_status, api_status,"
	"   message_id, sent_line, response, error, phase)"
	" WHERE o.id = r.id AND " AWAITS_RESULT,
	.nargs = 14, .argtypes = {INT8ARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID,
		TIMESTAMPTZARRAYOID, BOOLARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID, INT4ARRAYOID,
		INT8ARRAYOID, TEXTARRAYOID, JSONBARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4OID}
};

static Statement awaiting_statement = {
	.sql = "SELECT o.id FROM unnest($1, $2, $3) AS r(id, started_at, status)"
	" JOIN %s AS o ON o.id = r.id"
	" WHERE " AWAITS_RESULT " AND o.status::text <> r.status",
	.nargs = 3, .argtypes = {INT8ARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID}
};

/* Tell whether the row of a message awaits the result of a certain request. */
bool
queue_awaits(int64 id, TimestampTz started_at)
{
	QueueResult result = {.id = id, .started_at = started_at, .status = ""};
	Datum		values[NUM_RESULT_COLUMNS];
	bool		awaits;

	result_parameters(&result, 1, values);
	statement_run(namespace, &awaiting_statement, values, NULL);
	awaits = SPI_processed > 0;
	SPI_freetuptable(SPI_tuptable);
	return awaits;
}

static Statement lock_statement = {
	.sql = "SELECT o.id FROM pg_catalog.unnest($1) AS r(id) JOIN %s AS o ON o.id = r.id"
	" FOR NO KEY UPDATE OF o SKIP LOCKED",
	.nargs = 1, .argtypes = {INT8ARRAYOID}
};

/*
 * Record what became of messages.
 *
 * A result is marked as recorded if its row took it, and also if its row does
 * not await it: somebody with the right to do so finished it by hand, or made
 * the table anew.  With skip_locked, rows that somebody else has locked are
 * marked as such and left alone.  A result that is marked as neither was
 * suppressed by a trigger, or undone.
 */
void
queue_record(QueueResult *results, int nresults, bool skip_locked)
{
	Datum		values[NUM_RESULT_COLUMNS + 1];
	int64	   *ids = NULL;		/* of rows that are not locked */
	int			nids = 0;
	int64	   *awaiting;
	int			nawaiting;

	values[NUM_RESULT_COLUMNS] = Int32GetDatum(MAX_ERRORS);
	result_parameters(results, nresults, values);
	if (skip_locked)
	{
		int			nlocked = 0;

		statement_run(namespace, &lock_statement, &values[RESULT_ID], NULL);
		ids = take_ids(&nids);
		for (int i = 0; i < nresults; i++)
		{
			results[i].locked = !is_among(results[i].id, ids, nids);
			nlocked += results[i].locked;
		}
		if (nlocked > 0)
			result_parameters(results, nresults, values);
	}
	statement_run(namespace, &record_statement, values, NULL);

	/* Whatever triggers did, here is what came of it; of rows that are locked, too. */
	for (int i = 0; i < nresults; i++)
		results[i].locked = false;
	result_parameters(results, nresults, values);
	statement_run(namespace, &awaiting_statement, values, NULL);
	awaiting = take_ids(&nawaiting);
	for (int i = 0; i < nresults; i++)
	{
		results[i].recorded = !is_among(results[i].id, awaiting, nawaiting);
		results[i].locked = skip_locked && !results[i].recorded &&
			!is_among(results[i].id, ids, nids);
	}
}

static Statement orphans_statement = {
	.sql = "SELECT id, account, attempts, coalesce(started_at, '-infinity') FROM %s"
	" WHERE origin = $1 AND due_at IS NOT NULL AND status = 'sending'",
	.nargs = 1, .argtypes = {INT8OID}
};

/* The rows that a former worker left in the state 'sending'. */
List *
queue_orphans(void)
{
	Datum		values[] = {Int64GetDatum(outbox_origin())};
	List	   *orphans = NIL;

	statement_run(namespace, &orphans_statement, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		QueueOrphan *orphan = palloc(sizeof(QueueOrphan));

		orphan->id = statement_int64(i, 1);
		orphan->account = statement_name(i, 2);
		orphan->attempts = statement_number(i, 3, INT2OID);
		orphan->started_at = statement_int64(i, 4);
		orphans = lappend(orphans, orphan);
	}
	SPI_freetuptable(SPI_tuptable);
	return orphans;
}

static Statement has_foreign_statement = {
	.sql = "(SELECT 1 FROM %1$s WHERE origin < $1 AND due_at IS NOT NULL LIMIT 1) UNION ALL"
	" (SELECT 1 FROM %1$s WHERE origin > $1 AND due_at IS NOT NULL LIMIT 1)",
	.nargs = 1, .argtypes = {INT8OID}
};

/* Tell whether there are unfinished messages that another database queued. */
bool
queue_has_foreign(void)
{
	Datum		values[] = {Int64GetDatum(outbox_origin())};
	bool		any;

	statement_run(namespace, &has_foreign_statement, values, NULL);
	any = SPI_processed > 0;
	SPI_freetuptable(SPI_tuptable);
	return any;
}

static Statement has_prepared_statement = {
	.sql = "SELECT 1 FROM pg_catalog.pg_prepared_xacts"
	" WHERE database = pg_catalog.current_database() LIMIT 1",
	.nargs = 0, .argtypes = {0}
};

/* Tell whether this database has prepared transactions. */
bool
queue_has_prepared(void)
{
	bool		any;

	statement_run(namespace, &has_prepared_statement, NULL, NULL);
	any = SPI_processed > 0;
	SPI_freetuptable(SPI_tuptable);
	return any;
}

