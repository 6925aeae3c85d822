/*
 * result.c
 *		Results: what became of messages, written onto their rows.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "outbox/delivery.h"
#include "outbox/result.h"
#include "outbox/row.h"
#include "outbox/statement.h"
#include "outbox/tell.h"

/* The columns that a result sets. */
static const enum OutboxColumn result_columns[] = {
	OUTBOX_STATUS, OUTBOX_ATTEMPTS, OUTBOX_DUE_AT, OUTBOX_FINISHED_AT, OUTBOX_HTTP_STATUS,
	OUTBOX_API_STATUS, OUTBOX_MESSAGE_ID, OUTBOX_SENT_LINE, OUTBOX_RESPONSE, OUTBOX_ERROR,
	OUTBOX_EVENTS, OUTBOX_DELIVERY
};

/* Those of them that are always set, which come first. */
#define NUM_USUAL_COLUMNS (lengthof(result_columns) - 1)

/*
 * Tell whether the row awaits the result of the request that was started then,
 * which it also does where it was queued again by hand meanwhile.
 */
static bool
row_awaits(const Rows *rows, TimestampTz started_at)
{
	Oid			status = row_status(rows);

	return (status == rows_status(rows, STATUS_SENDING) || status == rows_status(rows, STATUS_QUEUED)) &&
		row_time(rows, OUTBOX_STARTED_AT, DT_NOBEGIN) == started_at;
}

bool
result_is_awaited(int64 id, TimestampTz started_at)
{
	Rows	   *rows = rows_open(NULL, 0);
	bool		awaited = row_find(rows, id) && row_awaits(rows, started_at);

	rows_close(rows);
	return awaited;
}

/* Append a key and its value to an object. */
static void
push_pair(JsonbBuild *build, const char *name, JsonbValue value)
{
	JsonbValue	key = {.type = jbvString};

	key.val.string.val = unconstify(char *, name);
	key.val.string.len = (int) strlen(name);
	add_to_jsonb(build, WJB_KEY, &key);
	add_to_jsonb(build, WJB_VALUE, &value);
}

/* Return a string, or null if it is NULL. */
static JsonbValue
json_string(const char *string)
{
	JsonbValue	value = {.type = jbvNull};

	if (string)
	{
		value.type = jbvString;
		value.val.string.val = unconstify(char *, string);
		value.val.string.len = (int) strlen(string);
	}
	return value;
}

/* Return a number, or null if there is none. */
static JsonbValue
json_number(bool is_known, int number)
{
	JsonbValue	value = {.type = jbvNull};

	if (is_known)
	{
		value.type = jbvNumeric;
		value.val.numeric = int64_to_numeric(number);
	}
	return value;
}

/* Return an array of one object, which tells of a failed attempt. */
static Datum
failed_attempt(const MessageResult *result, int attempt)
{
	JsonbBuild	build = {0};
	char		at[MAXDATELEN + 1];

	JsonEncodeDateTime(at, TimestampTzGetDatum(result->at), TIMESTAMPTZOID, NULL);
	add_to_jsonb(&build, WJB_BEGIN_ARRAY, NULL);
	add_to_jsonb(&build, WJB_BEGIN_OBJECT, NULL);
	push_pair(&build, "attempt", json_number(attempt != NULL_NUMBER, attempt));
	push_pair(&build, "at", json_string(at));
	push_pair(&build, "phase", json_string(result->phase));
	push_pair(&build, "http_status", json_number(result->http_status != 0, result->http_status));
	push_pair(&build, "api_status", json_number(result->has_api_status, result->api_status));
	push_pair(&build, "error", json_string(result->error));
	add_to_jsonb(&build, WJB_END_OBJECT, NULL);
	add_to_jsonb(&build, WJB_END_ARRAY, NULL);
	return JsonbPGetDatum(JsonbValueToJsonb(build.result));
}

/*
 * Events that are larger than the extension makes them are dropped.  They are not even
 * read, as they may be larger than the worker should be.
 */
#define MAX_EVENTS_SIZE (8 * 1024 * 1024)

/* Append a failed attempt to the events of the row; what is not an array becomes the first of one. */
static void
append_event(Rows *rows, const MessageResult *result)
{
	Datum		failed = failed_attempt(result, row_number(rows, OUTBOX_ATTEMPTS, INT2OID));
	bool		isnull;
	Datum		events = row_value(rows, OUTBOX_EVENTS, &isnull);

	if (!isnull && row_size(rows, OUTBOX_EVENTS) <= MAX_EVENTS_SIZE)
	{
		Jsonb	   *kept = DatumGetJsonbP(events);

		if (JB_ROOT_IS_ARRAY(kept) && !JB_ROOT_IS_SCALAR(kept) && JB_ROOT_COUNT(kept) >= OUTBOX_MAX_EVENTS)
			events = DirectFunctionCall2(jsonb_delete_idx, events, Int32GetDatum(0));
		failed = DirectFunctionCall2(jsonb_concat, events, failed);
	}
	row_set(rows, OUTBOX_EVENTS, failed);
}

/* Set a time of the row, or null. */
static void
set_time(Rows *rows, enum OutboxColumn column, bool is_known, TimestampTz at)
{
	if (is_known)
		row_set(rows, column, TimestampTzGetDatum(at));
	else
		row_set_null(rows, column);
}

/* Set what the reply said. */
static void
set_reply(Rows *rows, const MessageResult *result)
{
	row_set(rows, OUTBOX_HTTP_STATUS, Int16GetDatum((int16) result->http_status));
	row_set_null(rows, OUTBOX_API_STATUS);
	row_set_null(rows, OUTBOX_MESSAGE_ID);
	row_set_null(rows, OUTBOX_RESPONSE);
	if (result->has_api_status)
		row_set(rows, OUTBOX_API_STATUS, Int32GetDatum(result->api_status));
	if (result->has_message_id)
		row_set(rows, OUTBOX_MESSAGE_ID, Int64GetDatum(result->message_id));
	if (result->response)
		row_set(rows, OUTBOX_RESPONSE, JsonbPGetDatum(result->response));
	row_set_string(rows, OUTBOX_SENT_LINE, result->sent_line);
}

/* Write a result onto the row, which is locked.  What that takes of memory is freed, as there are many. */
static void
write_result(Rows *rows, const MessageResult *result)
{
	MemoryContext writing = AllocSetContextCreate(CurrentMemoryContext, "sms3300 result", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(writing);
	bool		queued = result->status == STATUS_QUEUED;

	/* This looks at the attempts as they were. */
	if (result->error)
		append_event(rows, result);
	row_set_string(rows, OUTBOX_ERROR, result->error);
	row_set(rows, OUTBOX_STATUS, ObjectIdGetDatum(rows_status(rows, result->status)));
	if (!queued || result->due_at != DT_NOBEGIN)
		set_time(rows, OUTBOX_DUE_AT, queued, result->due_at);
	set_time(rows, OUTBOX_FINISHED_AT, !queued, result->at);
	if (!result->counted)
		row_set(rows, OUTBOX_ATTEMPTS,
				Int16GetDatum((int16) Max(row_number(rows, OUTBOX_ATTEMPTS, INT2OID) - 1, 0)));
	if (result->http_status != 0)
		set_reply(rows, result);
	if (result->tracked)
		row_set_label(rows, OUTBOX_DELIVERY, delivery_label(DELIVERY_WAITING));
	row_write(rows);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(writing);
}

/* Record a result, as results_record() does. */
static void
record_result(Rows *rows, MessageResult *result, bool skip_locked)
{
	result->recorded = true;
	result->written = false;
	result->locked = false;
	result->expires = DT_NOEND;
	if (!row_find(rows, result->id) || !row_awaits(rows, result->started_at))
		return;
	switch (row_lock(rows, skip_locked ? LockWaitSkip : LockWaitBlock))
	{
		case ROW_LOCKED:
			if (row_awaits(rows, result->started_at))
			{
				result->expires = row_time(rows, OUTBOX_SEND_BEFORE, DT_NOEND);
				write_result(rows, result);
				result->written = true;
			}
			break;
		case ROW_LOCKED_BY_OTHERS:
			result->recorded = false;
			result->locked = true;
			break;
		case ROW_GONE:
			break;
	}
}

/* Whatever triggers have done, see which rows still await their result. */
static void
look_again(MessageResult *results, int nresults)
{
	Rows	   *rows = rows_open(NULL, 0);

	for (int i = 0; i < nresults; i++)
	{
		MessageResult *result = &results[i];
		bool		found = row_find(rows, result->id);
		bool		has_status = found && row_status(rows) == rows_status(rows, result->status);

		result->recorded = !found || has_status || !row_awaits(rows, result->started_at);
		result->written &= has_status;
		result->locked &= !result->recorded;
	}
	rows_close(rows);
}

void
results_record(MessageResult *results, int nresults, bool skip_locked)
{
	bool		tracked = false;
	Rows	   *rows;

	for (int i = 0; i < nresults; i++)
		tracked |= results[i].tracked;
	rows = rows_open(result_columns, tracked ? lengthof(result_columns) : NUM_USUAL_COLUMNS);
	for (int i = 0; i < nresults; i++)
		record_result(rows, &results[i], skip_locked);
	if (rows_close(rows))
		look_again(results, nresults);
}

void
results_tell(const MessageResult *results, int nresults)
{
	for (int i = 0; i < nresults; i++)
		if (results[i].written && results[i].status != STATUS_QUEUED)
			tell_status(results[i].account, results[i].id, results[i].status);
}
