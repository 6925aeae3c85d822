/*
 * candidates.c
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
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "outbox/access.h"
#include "outbox/candidates.h"
#include "outbox/statement.h"
#include "outbox/tell.h"

/* The index on senders, which tables of earlier versions lack. */
#define OUTBOX_SENDER_INDEX "sms_outbox_sender_idx"

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

/*
 * The messages of an account in the queue, in order of priority p and time: one
 * descent of the index a priority, to behind the place where the last one ended.
 * Rows due later cost nothing, nor does what is done and still in the index.
 */
#define QUEUE_OF_PRIORITY \
	"ONLY %1$s AS o WHERE o.origin = $1 AND o.account = $2 AND o.priority = p.priority" \
	" AND o.due_at IS NOT NULL AND (o.due_at, o.id) > (($3)[p.priority + 1], ($4)[p.priority + 1])" \
	" AND o.status = 'queued'"

/*
 * Those that are due, and behind them, without an id, the first of each priority that is not,
 * if that is asked for.
 */
static Statement candidates_statement = {
	.sql = "SELECT q.id, p.priority, q.due_at, coalesce(q.size, 0), q.sender"
	" FROM pg_catalog.generate_series(9, $7, -1) AS p(priority) CROSS JOIN LATERAL ("
	"  (SELECT o.id, o.due_at, pg_catalog.octet_length(o.message) AS size, o.sender"
	"   FROM " QUEUE_OF_PRIORITY " AND o.due_at <= $5 ORDER BY o.due_at, o.id LIMIT $6)"
	"  UNION ALL (SELECT NULL, o.due_at, NULL, NULL"
	"   FROM " QUEUE_OF_PRIORITY " AND $8 AND o.due_at > $5 ORDER BY o.due_at, o.id LIMIT 1)) AS q"
	" ORDER BY q.id IS NULL, p.priority DESC, q.due_at, q.id LIMIT $6 + 10",
	.nargs = 8, .argtypes = {INT8OID, NAMEOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID,
		INT8OID, INT4OID, BOOLOID}
};

/* The parameters $1 to $4 of statements on the queue. */
static void
queue_parameters(Datum *values, const char *account, const QueuePlace *after)
{
	Datum		times[NUM_PRIORITIES];
	int64		ids[NUM_PRIORITIES];

	for (int i = 0; i < NUM_PRIORITIES; i++)
	{
		times[i] = TimestampTzGetDatum(after[i].at);
		ids[i] = after[i].id;
	}
	values[0] = Int64GetDatum(outbox_origin());
	values[1] = statement_name_datum(account);
	values[2] = PointerGetDatum(construct_array(times, NUM_PRIORITIES, TIMESTAMPTZOID,
												sizeof(TimestampTz), FLOAT8PASSBYVAL,
												TYPALIGN_DOUBLE));
	values[3] = statement_id_array(ids, NUM_PRIORITIES);
}

/* Return the sender in a row of the last result; mostly it is that of the row before, which is shared. */
static char *
read_sender(uint64 row, int column, char *former)
{
	bool		isnull;
	Datum		value = statement_value(row, column, &isnull);
	const char *sender = isnull ? "" : NameStr(*DatumGetName(value));

	return former && strcmp(sender, former) == 0 ? former : pstrdup(sender);
}

/*
 * The messages of an account that are due and have at least a priority, best first: as
 * many as asked for, from behind a place in each priority on.  Returns how many there
 * are.  If those are all, *later is when the next one is due; DT_NOEND: none is queued.  NULL:
 * it is not looked for.
 */
int
outbox_candidates(const char *account, int least, const QueuePlace *after, TimestampTz now,
				  int limit, Candidate *candidates, TimestampTz *later)
{
	Datum		values[8];
	char	   *sender = NULL;
	int			n = 0;

	queue_parameters(values, account, after);
	values[4] = TimestampTzGetDatum(now);
	values[5] = Int64GetDatum(limit);
	values[6] = Int32GetDatum(least);
	values[7] = BoolGetDatum(later != NULL);

	statement_run(outbox_namespace(), &candidates_statement, values, NULL);
	if (later)
		*later = DT_NOEND;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;

		(void) statement_value(i, 1, &isnull);
		if (isnull)
			*later = Min(*later, statement_int64(i, 3));
		else if (n < limit)
			candidates[n++] = (Candidate) {
				.id = statement_int64(i, 1), .priority = statement_number(i, 2, INT4OID),
				.due_at = statement_int64(i, 3), .size = statement_number(i, 4, INT4OID),
				.sender = sender = read_sender(i, 5, sender)
			};
	}
	SPI_freetuptable(SPI_tuptable);
	return n;
}

/*
 * The first messages of each sender, in the order of senders.  The index on senders makes
 * it a descent for each sender, and one for each of its priorities, whatever is queued.
 */
static Statement others_statement = {
	.sql = "WITH RECURSIVE s(sender, n) AS ("
	"  (SELECT o.sender, 1 FROM ONLY %1$s AS o WHERE o.origin = $1 AND o.account = $2"
	"   AND o.finished_at IS NULL AND o.sender > $3 ORDER BY o.sender LIMIT 1)"
	"  UNION ALL"
	"  SELECT (SELECT o.sender FROM ONLY %1$s AS o WHERE o.origin = $1 AND o.account = $2"
	"   AND o.finished_at IS NULL AND o.sender > s.sender ORDER BY o.sender LIMIT 1), s.n + 1"
	"  FROM s WHERE s.sender IS NOT NULL AND s.n < $5)"
	" SELECT q.id, p.priority, q.due_at, coalesce(q.size, 0), s.sender"
	" FROM s CROSS JOIN pg_catalog.generate_series(9, 0, -1) AS p(priority)"
	" LEFT JOIN LATERAL (SELECT o.id, o.due_at, pg_catalog.octet_length(o.message) AS size"
	"  FROM ONLY %1$s AS o WHERE o.origin = $1 AND o.account = $2 AND o.sender = s.sender"
	"  AND o.priority = p.priority AND o.finished_at IS NULL AND o.due_at <= $4 AND o.status = 'queued'"
	"  ORDER BY o.due_at, o.id LIMIT $6) AS q ON true"
	" WHERE s.sender IS NOT NULL AND (q.id IS NOT NULL OR p.priority = 0)",
	.nargs = 6, .argtypes = {INT8OID, NAMEOID, NAMEOID, TIMESTAMPTZOID, INT4OID, INT4OID}
};

/*
 * The first messages of the next senders of an account behind one in the order of names:
 * of no more than so many senders, and so many of each in a priority.  Returns how many
 * there are, at most limit, and the last of the senders, NULL if those were all.
 */
int
outbox_others(const char *account, const char *after, TimestampTz now, int senders, int each,
			  int limit, Candidate *candidates, char **last)
{
	Datum		values[] = {
		Int64GetDatum(outbox_origin()), statement_name_datum(account), statement_name_datum(after),
		TimestampTzGetDatum(now), Int32GetDatum(senders), Int32GetDatum(each)
	};
	char	   *complete = NULL;	/* the last sender all of whose rows have room */
	int			nsenders = 0;
	int			n = 0;

	*last = NULL;
	if (!OidIsValid(get_relname_relid(OUTBOX_SENDER_INDEX, outbox_namespace())))
		return 0;
	statement_run(outbox_namespace(), &others_statement, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *sender = statement_name(i, 5);
		bool		isnull;

		if (*last == NULL || strcmp(*last, sender) != 0)
		{
			complete = *last;
			*last = sender;
			nsenders++;
		}
		(void) statement_value(i, 1, &isnull);
		if (isnull)
			continue;
		if (n == limit)
		{
			*last = complete;
			nsenders = senders;
			break;
		}
		candidates[n++] = (Candidate) {
			.id = statement_int64(i, 1), .priority = statement_number(i, 2, INT4OID),
			.due_at = statement_int64(i, 3), .size = statement_number(i, 4, INT4OID), .sender = sender
		};
	}
	SPI_freetuptable(SPI_tuptable);
	if (nsenders < senders)
		*last = NULL;
	return n;
}

static Statement next_due_statement = {
	.sql = "SELECT pg_catalog.min(q.due_at) FROM pg_catalog.generate_series($6, $5, -1) AS p(priority)"
	" CROSS JOIN LATERAL (SELECT o.due_at FROM " QUEUE_OF_PRIORITY
	"  ORDER BY o.due_at, o.id LIMIT 1) AS q",
	.nargs = 6, .argtypes = {INT8OID, NAMEOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID, INT4OID, INT4OID}
};

/*
 * When the next message of an account and of certain priorities is due, from behind a
 * place in each priority on; DT_NOEND: it has none queued.
 */
TimestampTz
outbox_next_due(const char *account, int least, int most, const QueuePlace *after)
{
	Datum		values[6];
	TimestampTz due;

	queue_parameters(values, account, after);
	values[4] = Int32GetDatum(least);
	values[5] = Int32GetDatum(most);
	statement_run(outbox_namespace(), &next_due_statement, values, NULL);
	due = timestamp_or_never();
	SPI_freetuptable(SPI_tuptable);
	return due;
}

/* The accounts that have messages in the queue: a descent of the index for each. */
static Statement waiting_statement = {
	.sql = "WITH RECURSIVE a(account) AS ("
	"  (SELECT o.account FROM ONLY %1$s AS o WHERE o.origin = $1 AND o.due_at IS NOT NULL"
	"   ORDER BY o.account LIMIT 1)"
	"  UNION ALL"
	"  SELECT (SELECT o.account FROM ONLY %1$s AS o WHERE o.origin = $1 AND o.account > a.account"
	"   AND o.due_at IS NOT NULL ORDER BY o.account LIMIT 1) FROM a WHERE a.account IS NOT NULL)"
	" SELECT a.account FROM a WHERE a.account IS NOT NULL",
	.nargs = 1, .argtypes = {INT8OID}
};

/* Return the names of the accounts that have messages in the queue, also of later times. */
List *
outbox_waiting_accounts(void)
{
	Datum		values[] = {Int64GetDatum(outbox_origin())};
	List	   *names = NIL;

	statement_run(outbox_namespace(), &waiting_statement, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
		names = lappend(names, statement_name(i, 1));
	SPI_freetuptable(SPI_tuptable);
	return names;
}

static Statement next_expiry_statement = {
	.sql = "SELECT send_before FROM ONLY %s WHERE origin = $1 AND finished_at IS NULL"
	" AND status = 'queued' AND send_before >= $2 AND (send_before, id) > ($2, $3)"
	" ORDER BY send_before LIMIT 1",
	.nargs = 3, .argtypes = {INT8OID, TIMESTAMPTZOID, INT8OID}
};

/* When the next queued message behind a place expires; DT_NOEND: there is none. */
TimestampTz
outbox_next_expiry(QueuePlace after)
{
	Datum		values[] = {
		Int64GetDatum(outbox_origin()), TimestampTzGetDatum(after.at), Int64GetDatum(after.id)
	};
	TimestampTz next;

	statement_run(outbox_namespace(), &next_expiry_statement, values, NULL);
	next = timestamp_or_never();
	SPI_freetuptable(SPI_tuptable);
	return next;
}

static Statement expiring_statement = {
	.sql = "SELECT id, send_before FROM ONLY %s WHERE origin = $1 AND send_before <= $2"
	" AND finished_at IS NULL AND status = 'queued'"
	" AND send_before >= $4 AND (send_before, id) > ($4, $5)"
	" ORDER BY send_before, id LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED",
	.nargs = 5, .argtypes = {INT8OID, TIMESTAMPTZOID, INT8OID, TIMESTAMPTZOID, INT8OID}
};

/*
 * Find at most "limit" queued messages whose deadline has passed, behind a place in that
 * order, except for those that another session has locked.
 */
int
outbox_expiring(TimestampTz now, QueuePlace after, int limit, QueuePlace *expiring)
{
	Datum		values[] = {
		Int64GetDatum(outbox_origin()), TimestampTzGetDatum(now), Int64GetDatum(limit),
		TimestampTzGetDatum(after.at), Int64GetDatum(after.id)
	};
	int			n;

	statement_run(outbox_namespace(), &expiring_statement, values, NULL);
	n = (int) SPI_processed;
	for (int i = 0; i < n; i++)
		expiring[i] = (QueuePlace) {statement_int64(i, 2), statement_int64(i, 1)};
	SPI_freetuptable(SPI_tuptable);
	return n;
}

static Statement expire_statement = {
	.sql = "UPDATE ONLY %s AS o SET status = 'expired', due_at = NULL, finished_at = $2,"
	" error = 'it was not sent before ' || o.send_before || CASE"
	"  WHEN o.send_before BETWEEN $3 AND $4 THEN ': the database did not accept connections from '"
	"   || pg_catalog.date_trunc('second', $3) || ' to ' || pg_catalog.date_trunc('second', $4) ELSE '' END"
	" FROM pg_catalog.unnest($1) AS e(id)"
	" WHERE o.id = e.id AND o.status = 'queued' AND o.send_before <= $2 RETURNING o.account, o.id",
	.nargs = 4, .argtypes = {INT8ARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};

/*
 * Expire queued messages whose time is over; the account of each that was.  If that passed
 * while the database refused connections, from a time to another, their error says so.
 */
List *
outbox_expire(TimestampTz now, const int64 *ids, int nids, TimestampTz refused_since,
			  TimestampTz refused_until)
{
	Datum		values[] = {
		statement_id_array(ids, nids), TimestampTzGetDatum(now),
		TimestampTzGetDatum(refused_since), TimestampTzGetDatum(refused_until)
	};
	List	   *accounts = NIL;

	statement_run(outbox_namespace(), &expire_statement, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *account = statement_name(i, 1);

		tell_status(account, statement_int64(i, 2), STATUS_EXPIRED);
		accounts = lappend(accounts, account);
	}
	SPI_freetuptable(SPI_tuptable);
	return accounts;
}

static Statement hurry_statement = {
	.sql = "UPDATE ONLY %1$s SET due_at = greatest(send_after, pg_catalog.now())"
	" WHERE id IN (SELECT id FROM ONLY %1$s WHERE origin = $1 AND account = $2"
	"  AND due_at > send_after AND due_at > pg_catalog.now() AND status = 'queued' AND ($4 OR attempts = 0)"
	"  ORDER BY due_at LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED)",
	.nargs = 4, .argtypes = {INT8OID, NAMEOID, INT8OID, BOOLOID}
};

/*
 * Make at most "limit" messages of an account that wait for another try due now; "tried":
 * also those whose attempts count.  Returns how many were.  They have an index of their own:
 * those that wait for their time may be a million.
 */
int
outbox_hurry(const char *account, bool tried, int limit)
{
	Datum		values[] = {
		Int64GetDatum(outbox_origin()), statement_name_datum(account), Int64GetDatum(limit),
		BoolGetDatum(tried)
	};

	statement_run(outbox_namespace(), &hurry_statement, values, NULL);
	return (int) SPI_processed;
}

static Statement hurry_disbelieved_statement = {
	.sql = "UPDATE ONLY %1$s SET due_at = pg_catalog.now()"
	" WHERE id IN (SELECT q.id FROM pg_catalog.generate_series(9, 0, -1) AS p(priority)"
	"  CROSS JOIN LATERAL (SELECT o.id FROM ONLY %1$s AS o WHERE o.origin = $1 AND o.account = $2"
	"   AND o.priority = p.priority AND o.due_at > pg_catalog.now() AND o.due_at <= $3 AND o.status = 'queued'"
	"   AND (o.started_at > pg_catalog.now() OR"
	"    (o.started_at IS NULL AND o.created_at > pg_catalog.now() AND o.send_after <= o.created_at))"
	"   ORDER BY o.due_at LIMIT $4 FOR NO KEY UPDATE OF o SKIP LOCKED) AS q LIMIT $4)",
	.nargs = 4, .argtypes = {INT8OID, NAMEOID, TIMESTAMPTZOID, INT8OID}
};

/*
 * Make at most "limit" messages of an account due now that another clock, which has been set
 * back since, has put off up to a time: those that were to be sent at once, and those whose
 * last try it has timed.  Returns how many were.
 */
int
outbox_hurry_disbelieved(const char *account, TimestampTz until, int limit)
{
	Datum		values[] = {
		Int64GetDatum(outbox_origin()), statement_name_datum(account), TimestampTzGetDatum(until),
		Int64GetDatum(limit)
	};

	statement_run(outbox_namespace(), &hurry_disbelieved_statement, values, NULL);
	return (int) SPI_processed;
}

static Statement has_foreign_statement = {
	.sql = "(SELECT 1 FROM ONLY %1$s WHERE origin < $1 AND due_at IS NOT NULL LIMIT 1) UNION ALL"
	" (SELECT 1 FROM ONLY %1$s WHERE origin > $1 AND due_at IS NOT NULL LIMIT 1)",
	.nargs = 1, .argtypes = {INT8OID}
};

/* Tell whether there are unfinished messages that another database queued. */
bool
outbox_has_foreign(void)
{
	Datum		values[] = {Int64GetDatum(outbox_origin())};
	bool		any;

	statement_run(outbox_namespace(), &has_foreign_statement, values, NULL);
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
outbox_has_prepared(void)
{
	bool		any;

	statement_run(outbox_namespace(), &has_prepared_statement, NULL, NULL);
	any = SPI_processed > 0;
	SPI_freetuptable(SPI_tuptable);
	return any;
}

