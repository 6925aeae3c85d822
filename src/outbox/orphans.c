/*
 * orphans.c
 *		The rows that a former worker left in the state 'sending'.
 *
 * They are in the index of the queue among the messages that wait, of which there may be
 * millions.  An index of their own would cost each claim, which changes no indexed column
 * otherwise.  So the queue is searched part by part, and messages are sent meanwhile.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "outbox/access.h"
#include "outbox/orphans.h"
#include "outbox/statement.h"

/* Rows of the queue that are read at once. */
#define PART 2000

#define ROWS_OF_QUEUE \
	"(SELECT o.account, o.priority, o.due_at, o.id, o.status = 'sending' AS sending," \
	" o.attempts, o.started_at FROM ONLY %1$s AS o WHERE o.origin = $1 AND o.due_at IS NOT NULL"

/*
 * Ranges of the index, one after the other: what is left of a priority, of an account, of
 * all; and what has no account, where the table's owner allows that.
 */
static Statement orphans_statement = {
	.sql = "SELECT q.account, q.priority, q.due_at, q.id, q.sending, q.attempts,"
	" coalesce(q.started_at, '-infinity') FROM ("
	ROWS_OF_QUEUE " AND o.account = $2 AND o.priority = $3 AND (o.due_at, o.id) > ($4, $5)"
	"  ORDER BY o.due_at, o.id LIMIT $6) UNION ALL "
	ROWS_OF_QUEUE " AND o.account = $2 AND o.priority < $3"
	"  ORDER BY o.priority DESC, o.due_at, o.id LIMIT $6) UNION ALL "
	ROWS_OF_QUEUE " AND o.account > $2"
	"  ORDER BY o.account, o.priority DESC, o.due_at, o.id LIMIT $6) UNION ALL "
	ROWS_OF_QUEUE " AND o.account IS NULL AND o.status = 'sending' LIMIT $6)) AS q LIMIT $6",
	.nargs = 6, .argtypes = {INT8OID, NAMEOID, INT4OID, TIMESTAMPTZOID, INT8OID, INT8OID}
};

/* Return the orphan that a row is. */
static Orphan *
read_orphan(uint64 row)
{
	Orphan	   *orphan = palloc(sizeof(Orphan));

	orphan->id = statement_int64(row, 4);
	orphan->account = statement_name(row, 1);
	orphan->attempts = statement_number(row, 6, INT2OID);
	orphan->started_at = statement_int64(row, 7);
	return orphan;
}

List *
outbox_orphans(OrphansPlace *place)
{
	Datum		values[] = {
		Int64GetDatum(outbox_origin()), NameGetDatum(&place->account), Int32GetDatum(place->priority),
		TimestampTzGetDatum(place->at.at), Int64GetDatum(place->at.id), Int64GetDatum(PART)
	};
	List	   *orphans = NIL;
	bool		isnull;

	statement_run(outbox_namespace(), &orphans_statement, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
		if (DatumGetBool(statement_value(i, 5, &isnull)) && !isnull)
			orphans = lappend(orphans, read_orphan(i));
	place->ended = SPI_processed < PART;
	if (!place->ended)
	{
		namestrcpy(&place->account, statement_name(PART - 1, 1));
		place->priority = statement_number(PART - 1, 2, INT2OID);
		if (place->priority == NULL_NUMBER)
			place->priority = PG_INT16_MAX;	/* null comes first */
		place->at = (QueuePlace) {statement_int64(PART - 1, 3), statement_int64(PART - 1, 4)};
	}
	SPI_freetuptable(SPI_tuptable);
	return orphans;
}
