/*
 * result.c
 *		What became of messages, and how that gets onto their rows.
 *
 * The results come to the statements as a relation in memory, a row each: one
 * scan, where as many arrays as there are columns would be one each.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "outbox/access.h"
#include "outbox/candidates.h"
#include "outbox/direct.h"
#include "outbox/result.h"
#include "outbox/statement.h"

/* The objects in "errors" that are kept, the newest. */
#define MAX_ERRORS 50

/* The relation's name in the statements, and its columns. */
#define RESULTS "results"

enum
{
	RESULT_ID, RESULT_STARTED_AT, RESULT_STATUS, RESULT_DUE_AT, RESULT_COUNTED, RESULT_AT,
	RESULT_HTTP_STATUS, RESULT_API_STATUS, RESULT_MESSAGE_ID, RESULT_SENT_LINE,
	RESULT_RESPONSE, RESULT_ERROR, RESULT_PHASE, NUM_RESULT_COLUMNS
};

static const struct
{
	const char *name;
	Oid			type;
}			result_columns[NUM_RESULT_COLUMNS] = {
	[RESULT_ID] = {"id", INT8OID},
	[RESULT_STARTED_AT] = {"started_at", TIMESTAMPTZOID},
	[RESULT_STATUS] = {"status", TEXTOID},
	[RESULT_DUE_AT] = {"due_at", TIMESTAMPTZOID},
	[RESULT_COUNTED] = {"counted", BOOLOID},
	[RESULT_AT] = {"at", TIMESTAMPTZOID},
	[RESULT_HTTP_STATUS] = {"http_status", INT4OID},
	[RESULT_API_STATUS] = {"api_status", INT4OID},
	[RESULT_MESSAGE_ID] = {"message_id", INT8OID},
	[RESULT_SENT_LINE] = {"sent_line", TEXTOID},
	[RESULT_RESPONSE] = {"response", JSONBOID},
	[RESULT_ERROR] = {"error", TEXTOID},
	[RESULT_PHASE] = {"phase", TEXTOID},
};

/* The relation's description, made at its first use in a process. */
static TupleDesc
description(void)
{
	static TupleDesc made = NULL;
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

	if (made == NULL)
	{
		TupleDesc	making = CreateTemplateTupleDesc(NUM_RESULT_COLUMNS);

		for (int i = 0; i < NUM_RESULT_COLUMNS; i++)
			TupleDescInitEntry(making, (AttrNumber) (i + 1), result_columns[i].name, result_columns[i].type, -1, 0);
		made = making;
	}
	MemoryContextSwitchTo(caller);
	return made;
}

/* Set a value of a row. */
static void
set_value(Datum *values, bool *nulls, int column, Datum value, bool isnull)
{
	values[column] = value;
	nulls[column] = isnull;
}

/* Set a text of a row. */
static void
set_text(Datum *values, bool *nulls, int column, const char *value)
{
	set_value(values, nulls, column, value ? CStringGetTextDatum(value) : (Datum) 0, value == NULL);
}

/* Append a result to the relation. */
static void
append(Tuplestorestate *rows, const MessageResult *result)
{
	Datum		values[NUM_RESULT_COLUMNS];
	bool		nulls[NUM_RESULT_COLUMNS];

	set_value(values, nulls, RESULT_ID, Int64GetDatum(result->id), false);
	set_value(values, nulls, RESULT_STARTED_AT, TimestampTzGetDatum(result->started_at), false);
	set_text(values, nulls, RESULT_STATUS, result->status);
	set_value(values, nulls, RESULT_DUE_AT, TimestampTzGetDatum(result->due_at),
			  result->due_at == DT_NOBEGIN);
	set_value(values, nulls, RESULT_COUNTED, BoolGetDatum(result->counted), false);
	set_value(values, nulls, RESULT_AT, TimestampTzGetDatum(result->at), false);
	set_value(values, nulls, RESULT_HTTP_STATUS, Int32GetDatum(result->http_status),
			  result->http_status == 0);
	set_value(values, nulls, RESULT_API_STATUS, Int32GetDatum(result->api_status),
			  !result->has_api_status);
	set_value(values, nulls, RESULT_MESSAGE_ID, Int64GetDatum(result->message_id),
			  !result->has_message_id);
	set_text(values, nulls, RESULT_SENT_LINE, result->sent_line);
	set_value(values, nulls, RESULT_RESPONSE, JsonbPGetDatum(result->response),
			  result->response == NULL);
	set_text(values, nulls, RESULT_ERROR, result->error);
	set_text(values, nulls, RESULT_PHASE, result->phase);
	tuplestore_putvalues(rows, description(), values, nulls);
}

/* Run a statement with results as its relation, but for what is recorded and those of locked rows. */
static void
run_with(Statement *statement, Datum *values, const MessageResult *results, int nresults)
{
	EphemeralNamedRelation relation = palloc0(sizeof(EphemeralNamedRelationData));
	Tuplestorestate *rows = tuplestore_begin_heap(false, false, work_mem);

	for (int i = 0; i < nresults; i++)
		if (!results[i].locked && !results[i].recorded)
			append(rows, &results[i]);

	relation->md.name = pstrdup(RESULTS);
	relation->md.tupdesc = description();
	relation->md.enrtype = ENR_NAMED_TUPLESTORE;
	relation->md.enrtuples = nresults;
	relation->reldata = rows;
	if (SPI_register_relation(relation) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register a relation of results");
	statement_run(outbox_namespace(), statement, values, NULL);
	SPI_unregister_relation(RESULTS);
	tuplestore_end(rows);
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
	"  WHEN pg_catalog.jsonb_array_length(o.errors) < $1 THEN o.errors ELSE o.errors - 0 END"
	"  || pg_catalog.jsonb_build_object('attempt', o.attempts, 'at', r.at,"
	"   'phase', r.phase, 'http_status', r.http_status, 'api_status', r.api_status,"
	"   'error', r.error) END"
	" FROM " RESULTS " AS r WHERE o.id = r.id AND " AWAITS_RESULT
	" RETURNING o.status::text = r.status",
	.nargs = 1, .argtypes = {INT4OID}
};

static Statement awaiting_statement = {
	.sql = "SELECT o.id FROM " RESULTS " AS r JOIN %s AS o ON o.id = r.id"
	" WHERE " AWAITS_RESULT " AND o.status::text <> r.status",
	.nargs = 0, .argtypes = {0}
};

static Statement lock_statement = {
	.sql = "SELECT o.id FROM " RESULTS " AS r JOIN %s AS o ON o.id = r.id"
	" FOR NO KEY UPDATE OF o SKIP LOCKED",
	.nargs = 0, .argtypes = {0}
};

/* Tell whether an id is among ordered ones. */
static bool
is_among(int64 id, const int64 *ids, int nids)
{
	return nids > 0 && bsearch(&id, ids, nids, sizeof(int64), statement_compare_ids) != NULL;
}

/* Tell whether the row of a message awaits the result of a certain request. */
bool
result_is_awaited(int64 id, TimestampTz started_at)
{
	MessageResult result = {.id = id, .started_at = started_at, .status = ""};
	bool		awaits;

	run_with(&awaiting_statement, NULL, &result, 1);
	awaits = SPI_processed > 0;
	SPI_freetuptable(SPI_tuptable);
	return awaits;
}

/* Write results, and tell whether the rows of all have taken them, and keep them. */
static bool
write_results(const MessageResult *results, int nresults)
{
	Datum		values[] = {Int32GetDatum(MAX_ERRORS)};
	int			missing = 0;

	for (int i = 0; i < nresults; i++)
		missing += !results[i].recorded;
	run_with(&record_statement, values, results, nresults);
	for (uint64 i = 0; i < SPI_processed; i++)
		missing -= statement_bool(i, 1);
	SPI_freetuptable(SPI_tuptable);
	return missing == 0 && !outbox_has_after_triggers();
}

/* Write that a message was sent without a statement; false if that cannot be. */
static bool
write_sent(MessageResult *result, Oid queued, Oid sending, Oid sent)
{
	bool		isnull;
	Oid			status;

	if (!direct_find(result->id, &result->place))
		return false;
	status = DatumGetObjectId(direct_value(OUTBOX_STATUS, &isnull));
	if (isnull || (status != sending && status != queued) ||
		direct_time(OUTBOX_STARTED_AT, DT_NOBEGIN) != result->started_at)
		return false;

	direct_set(OUTBOX_STATUS, ObjectIdGetDatum(sent), false);
	direct_set(OUTBOX_DUE_AT, (Datum) 0, true);
	direct_set(OUTBOX_FINISHED_AT, TimestampTzGetDatum(result->at), false);
	direct_set(OUTBOX_HTTP_STATUS, Int16GetDatum(result->http_status), false);
	direct_set(OUTBOX_API_STATUS, Int32GetDatum(result->api_status), !result->has_api_status);
	direct_set(OUTBOX_MESSAGE_ID, Int64GetDatum(result->message_id), !result->has_message_id);
	direct_set_string(OUTBOX_SENT_LINE, result->sent_line);
	direct_set(OUTBOX_RESPONSE, JsonbPGetDatum(result->response), result->response == NULL);
	direct_set(OUTBOX_ERROR, (Datum) 0, true);
	return direct_write(&result->place);
}

/*
 * Write what went well without a statement, which nearly all does.  What cannot
 * be written so is left: all else, and rows that somebody has changed or locked.
 * How many are left.
 */
static int
write_directly(MessageResult *results, int nresults)
{
	int			nleft = 0;
	Oid			queued;
	Oid			sending;
	Oid			sent;

	direct_begin(outbox_table());
	queued = direct_status("queued");
	sending = direct_status("sending");
	sent = direct_status("sent");
	for (int i = 0; i < nresults; i++)
	{
		MessageResult *result = &results[i];

		result->recorded = strcmp(result->status, "sent") == 0 && result->error == NULL &&
			result->http_status != 0 && write_sent(result, queued, sending, sent);
		nleft += !result->recorded;
	}
	direct_end();
	return nleft;
}

/* Record with statements what is not recorded yet. */
static void
record_by_statements(MessageResult *results, int nresults, bool skip_locked)
{
	int64	   *ids = NULL;		/* of rows that are not locked */
	int			nids = 0;
	int64	   *awaiting = NULL;
	int			nawaiting = 0;

	if (skip_locked)
	{
		run_with(&lock_statement, NULL, results, nresults);
		ids = statement_ids(&nids);
		for (int i = 0; i < nresults; i++)
			results[i].locked = !results[i].recorded && !is_among(results[i].id, ids, nids);
	}
	if (!write_results(results, nresults))
	{
		/* Whatever triggers did, here is what came of it; of rows that are locked, too. */
		for (int i = 0; i < nresults; i++)
			results[i].locked = false;
		run_with(&awaiting_statement, NULL, results, nresults);
		awaiting = statement_ids(&nawaiting);
	}
	for (int i = 0; i < nresults; i++)
	{
		results[i].recorded |= !is_among(results[i].id, awaiting, nawaiting);
		results[i].locked = skip_locked && !results[i].recorded &&
			!is_among(results[i].id, ids, nids);
	}
}

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
results_record(MessageResult *results, int nresults, bool skip_locked)
{
	for (int i = 0; i < nresults; i++)
		results[i].recorded = results[i].locked = false;
	if (!outbox_is_direct() || write_directly(results, nresults) > 0)
		record_by_statements(results, nresults, skip_locked);
}
