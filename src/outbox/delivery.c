/*
 * delivery.c
 *		The delivery states of sent messages: the rows to ask for, and what is learnt.
 *
 * No index is for them alone, and no row has a due time: messages are found by their age,
 * in the index of finished messages.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "outbox/access.h"
#include "outbox/delivery.h"
#include "outbox/row.h"
#include "outbox/statement.h"
#include "outbox/tell.h"

static const char *const labels[NUM_DELIVERY_STATES] = {
#define X(state, label) [state] = (label),
	DELIVERY_STATES(X)
#undef X
};

const char *
delivery_label(DeliveryState state)
{
	Assert(state < NUM_DELIVERY_STATES);
	return labels[state];
}

bool
delivery_is_known(void)
{
	Relation	table = table_open(outbox_table(), NoLock);
	bool		known = columns_have(table, OUTBOX_DELIVERY) &&
		columns_have(table, OUTBOX_DELIVERY_CODE) && columns_have(table, OUTBOX_DELIVERY_AT);

	table_close(table, NoLock);
	return known;
}

/* The index has the redacted rows and the others apart, hence the two descents. */
#define FINISHED_MESSAGES(columns) \
	" FROM pg_catalog.generate_series(0, 1) AS p(redacted)" \
	" CROSS JOIN LATERAL (SELECT " columns " FROM ONLY %1$s AS o" \
	"  WHERE o.account = $1 AND (o.message IS NULL)::integer = p.redacted" \
	"  AND o.finished_at IS NOT NULL AND (o.finished_at, o.id) > ($2, $3)"

static Statement messages_statement = {
	.sql = "SELECT q.id, q.finished_at, q.waiting, q.message_id, q.sender"
	FINISHED_MESSAGES("o.id, o.finished_at, o.message_id, o.sender, o.message_id IS NOT NULL"
					  " AND o.origin = $6 AND o.status = 'sent' AND o.delivery = 'waiting' AS waiting")
	"  AND o.finished_at <= $4 ORDER BY o.finished_at, o.id LIMIT $5) AS q"
	" ORDER BY q.finished_at, q.id LIMIT $5",
	.nargs = 6, .argtypes = {NAMEOID, TIMESTAMPTZOID, INT8OID, TIMESTAMPTZOID, INT8OID, INT8OID}
};

/* A name as a parameter. */
static Datum
name_datum(const char *text)
{
	Name		name = palloc0(sizeof(NameData));

	namestrcpy(name, text);
	return NameGetDatum(name);
}

int
delivery_messages(const char *account, const QueuePlace *after, TimestampTz until,
				  int limit, FinishedMessage *messages)
{
	Datum		values[] = {
		name_datum(account), TimestampTzGetDatum(after->at), Int64GetDatum(after->id),
		TimestampTzGetDatum(until), Int64GetDatum(limit), Int64GetDatum(outbox_origin())
	};
	int			n;

	statement_run(outbox_namespace(), &messages_statement, values, NULL);
	n = (int) SPI_processed;
	for (int i = 0; i < n; i++)
	{
		FinishedMessage *message = &messages[i];
		bool		isnull;

		message->place.id = statement_int64(i, 1);
		message->place.at = statement_int64(i, 2);
		message->waiting = DatumGetBool(statement_value(i, 3, &isnull)) && !isnull;
		message->message_id = message->waiting ? statement_int64(i, 4) : 0;
		message->sender = message->waiting ? statement_name(i, 5) : NULL;
	}
	SPI_freetuptable(SPI_tuptable);
	return n;
}

static Statement next_statement = {
	.sql = "SELECT pg_catalog.min(q.finished_at)"
	FINISHED_MESSAGES("o.finished_at") " ORDER BY o.finished_at LIMIT 1) AS q",
	.nargs = 3, .argtypes = {NAMEOID, TIMESTAMPTZOID, INT8OID}
};

TimestampTz
delivery_next(const char *account, const QueuePlace *after)
{
	Datum		values[] = {
		name_datum(account), TimestampTzGetDatum(after->at), Int64GetDatum(after->id)
	};
	bool		isnull;
	Datum		next;

	statement_run(outbox_namespace(), &next_statement, values, NULL);
	next = statement_value(0, 1, &isnull);
	SPI_freetuptable(SPI_tuptable);
	return isnull ? DT_NOEND : DatumGetTimestampTz(next);
}

/* Tell whether the row is the message that was asked for, and waits for its state. */
static bool
row_waits(const Rows *rows, const DeliveryResult *result)
{
	bool		isnull;
	int64		message_id = DatumGetInt64(row_value(rows, OUTBOX_MESSAGE_ID, &isnull));

	return !isnull && message_id == result->message_id &&
		row_status(rows) == rows_status(rows, STATUS_SENT) &&
		row_has_label(rows, OUTBOX_DELIVERY, delivery_label(DELIVERY_WAITING));
}

/* Write a state onto the row, which is locked. */
static void
write_state(Rows *rows, const DeliveryResult *result)
{
	row_set_label(rows, OUTBOX_DELIVERY, delivery_label(result->state));
	if (result->has_code)
		row_set(rows, OUTBOX_DELIVERY_CODE, Int32GetDatum(result->code));
	row_set(rows, OUTBOX_DELIVERY_AT, TimestampTzGetDatum(GetCurrentTimestamp()));
	row_write(rows);
}

void
delivery_record(const char *account, DeliveryResult *results, int nresults)
{
	static const enum OutboxColumn columns[] = {
		OUTBOX_DELIVERY, OUTBOX_DELIVERY_CODE, OUTBOX_DELIVERY_AT
	};
	Rows	   *rows = rows_open(columns, lengthof(columns));

	for (int i = 0; i < nresults; i++)
	{
		DeliveryResult *result = &results[i];

		result->written = row_find(rows, result->id) && row_waits(rows, result) &&
			row_lock(rows, LockWaitSkip) == ROW_LOCKED && row_waits(rows, result);
		if (result->written)
			write_state(rows, result);
	}
	rows_close(rows);
	for (int i = 0; i < nresults; i++)
		if (results[i].written)
			tell_delivery(account, results[i].id, delivery_label(results[i].state));
}
