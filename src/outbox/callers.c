/*
 * callers.c
 *		Statements of callers on sms_outbox.
 *
 * Callers read and insert with their own privileges.  Columns that only the
 * extension may write are written with those of the table's owner.  All names in
 * the statements are qualified.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "account/input.h"
#include "outbox/access.h"
#include "outbox/callers.h"
#include "outbox/owner.h"
#include "outbox/statement.h"

#define CALLER_COLUMNS \
	"mobile, message, line, line2, type, template, account, priority, " \
	"send_after, send_before, dedup_key, metadata"

#define CALLER_TYPES \
	{TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT2OID, INT4OID, NAMEOID, INT2OID, \
	 TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, JSONBOID}

static Statement insert_statement = {
	.sql = "INSERT INTO %s (" CALLER_COLUMNS ")"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING id",
	.nargs = OUTBOX_CALLER_COLUMNS, .argtypes = CALLER_TYPES
};

static Statement insert_once_statement = {
	.sql = "INSERT INTO %s (" CALLER_COLUMNS ")"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
	" ON CONFLICT DO NOTHING RETURNING id",
	.nargs = OUTBOX_CALLER_COLUMNS, .argtypes = CALLER_TYPES
};

/* The message that holds a key; those that gave it away have another status. */
static Statement find_key_statement = {
	.sql = "SELECT id, mobile, message FROM %s WHERE sender OPERATOR(pg_catalog.=) CURRENT_USER"
	" AND dedup_key OPERATOR(pg_catalog.=) $1"
	" AND status::pg_catalog.text OPERATOR(pg_catalog.=) ANY ('{queued,sending,sent,unknown}'::pg_catalog.text[])",
	.nargs = 1, .argtypes = {TEXTOID}
};

/*
 * Say that nothing was queued if the message that holds the key is not the same.  A
 * trigger of the table's owner may have set what the caller left null.
 */
static void
report_other_message(const Datum *values, const bool *nulls)
{
	const int	message = OUTBOX_MESSAGE - OUTBOX_MOBILE;
	char	   *number = nulls[0] ? NULL : TextDatumGetCString(values[0]);
	char	   *stored = statement_string(0, 3);
	bool		other_recipient = number &&
		strcmp(statement_name(0, 2), input_mobile(number, (int) strlen(number))) != 0;
	bool		other_text = stored && !nulls[message] &&
		strcmp(stored, TextDatumGetCString(values[message])) != 0;

	if (other_recipient || other_text)
		ereport(NOTICE,
				(errmsg("message " INT64_FORMAT " has the same \"dedup_key\" but a different %s; nothing was queued",
						statement_int64(0, 1),
						!other_recipient ? "text" : other_text ? "recipient and text" : "recipient"),
				 errhint("Use a different key for each message.")));
}

/*
 * Queue a message with the caller's privileges and return its id.  If the caller
 * has a message with the same dedup_key, nothing is queued and the id of that
 * message is returned.
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
		statement_run(namespace, &insert_once_statement, args, flags);
		*inserted = SPI_processed > 0;
		if (*inserted)
			break;

		/* The row with the key may be deleted concurrently, so try again. */
		statement_run(namespace, &find_key_statement, &args[key], NULL);
		if (SPI_processed > 0)
		{
			report_other_message(values, nulls);
			break;
		}
	}
	if (!once || SPI_processed == 0)
	{
		statement_run(namespace, &insert_statement, args, flags);
		*inserted = SPI_processed > 0;
	}
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("the message was not queued"),
				 errdetail("A trigger on %s suppressed its row.", OUTBOX_TABLE)));
	id = statement_int64(0, 1);
	SPI_finish();
	return id;
}

/* Return a timestamp of the first row of the last result, 0 if it is null. */
static TimestampTz
timestamp_of(int column)
{
	bool		isnull;
	Datum		value = statement_value(0, column, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(value);
}

static Statement read_statement = {
	.sql = "SELECT account, status, sender, priority, attempts, send_after, send_before,"
	" due_at, started_at, finished_at, message_id, line, sent_line, type, error,"
	" %2$s OPERATOR(pg_catalog.->) -1 OPERATOR(pg_catalog.->>) 'error', origin,"
	" message IS NULL, mobile, api_status, xmax, message, line2"
	" FROM %1$s WHERE id OPERATOR(pg_catalog.=) $1",
	.nargs = 1, .argtypes = {INT8OID}, .reads = true
};

/* Read a row that the caller may see.  Returns false if there is none. */
bool
outbox_read(Oid namespace, int64 id, OutboxRow *row)
{
	Datum		values[] = {Int64GetDatum(id)};
	MemoryContext caller = CurrentMemoryContext;
	bool		found;
	Caller		reader;

	become_reader(namespace, &reader);
	SPI_connect();
	statement_run(namespace, &read_statement, values, NULL);
	found = SPI_processed > 0;
	MemoryContextSwitchTo(caller);
	if (found)
	{
		bool		isnull;
		Datum		message_id;
		Datum		message;

		row->account = statement_name(0, 1);
		row->status = status_of_label(statement_name(0, 2));
		row->sender = statement_name(0, 3);
		row->priority = statement_number(0, 4, INT2OID);
		row->attempts = statement_number(0, 5, INT2OID);
		row->send_after = timestamp_of(6);
		row->send_before = timestamp_of(7);
		row->due_at = timestamp_of(8);
		row->started_at = timestamp_of(9);
		row->finished_at = timestamp_of(10);
		message_id = statement_value(0, 11, &isnull);
		row->has_message_id = !isnull;
		row->message_id = isnull ? 0 : DatumGetInt64(message_id);
		row->line = statement_string(0, 12);
		row->sent_line = statement_string(0, 13);
		row->type = statement_number(0, 14, INT2OID);
		row->error = statement_string(0, 15);
		row->last_failure = statement_string(0, 16);
		row->origin = statement_int64(0, 17);
		row->redacted = DatumGetBool(statement_value(0, 18, &isnull));
		row->mobile = statement_string(0, 19);
		row->api_status = statement_number(0, 20, INT4OID);
		row->xmax = DatumGetTransactionId(statement_value(0, 21, &isnull));
		message = statement_value(0, 22, &isnull);
		row->parts = isnull ? (Parts) {0} : parts_count(message);
		row->line2 = statement_string(0, 23);
	}
	SPI_finish();
	become_caller(&reader);
	return found;
}

static Statement count_before_statement = {
	.sql = "SELECT pg_catalog.count(*) FROM (SELECT"
	" FROM pg_catalog.generate_series(9, $3, -1) AS p(priority)"
	" CROSS JOIN LATERAL (SELECT FROM %s AS o"
	"  WHERE o.origin = $1 AND o.account = $2 AND o.priority = p.priority"
	"  AND o.due_at <= pg_catalog.clock_timestamp() AND o.status = 'queued'"
	"  AND (p.priority > $3 OR (o.due_at, o.id) < ($4, $5)) LIMIT $6) AS q LIMIT $6) AS q",
	.nargs = 6, .argtypes = {INT8OID, NAMEOID, INT4OID, TIMESTAMPTZOID, INT8OID, INT8OID},
	.reads = true
};

/* Return the number of due messages of all senders ahead of a queued one, at most "limit". */
int64
outbox_count_before(Oid namespace, int64 id, const OutboxRow *row, int64 limit)
{
	NameData	name = {{0}};
	Datum		values[] = {
		Int64GetDatum(outbox_origin()), NameGetDatum(&name), Int32GetDatum(row->priority),
		TimestampTzGetDatum(row->due_at), Int64GetDatum(id), Int64GetDatum(limit)
	};

	namestrcpy(&name, row->account);
	return run_as_owner(namespace, &count_before_statement, values, NULL);
}
