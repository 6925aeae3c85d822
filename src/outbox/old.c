/*
 * old.c
 *		The worker's statements on old messages, which are deleted or redacted.
 *
 * See candidates.c for how they run.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/timestamp.h"

#include "outbox/access.h"
#include "outbox/old.h"
#include "outbox/statement.h"

/* The index has the redacted rows and the others apart, hence the two descents. */
static Statement oldest_finished_statement = {
	.sql = "SELECT pg_catalog.min(q.finished_at)"
	" FROM pg_catalog.generate_series(0, $2) AS p(redacted)"
	" CROSS JOIN LATERAL (SELECT o.finished_at FROM ONLY %s AS o"
	"  WHERE o.account = $1 AND (o.message IS NULL)::integer = p.redacted"
	"  AND o.finished_at IS NOT NULL ORDER BY o.finished_at LIMIT 1) AS q",
	.nargs = 2, .argtypes = {NAMEOID, INT4OID}
};

/*
 * When the oldest finished message of an account was finished, or the oldest
 * that still has its text; DT_NOEND: there is none.
 */
TimestampTz
outbox_oldest_finished(const char *account, bool with_text)
{
	Datum		values[] = {statement_name_datum(account), Int32GetDatum(with_text ? 0 : 1)};
	TimestampTz oldest;
	Datum		value;
	bool		isnull;

	statement_run(outbox_namespace(), &oldest_finished_statement, values, NULL);
	isnull = true;
	value = SPI_processed > 0 ? statement_value(0, 1, &isnull) : (Datum) 0;
	oldest = isnull ? DT_NOEND : DatumGetTimestampTz(value);
	SPI_freetuptable(SPI_tuptable);
	return oldest;
}

/* Rows that another session has locked are left for later. */
#define OLD_MESSAGES \
	"SELECT id, finished_at FROM ONLY %s WHERE account = $1 AND (message IS NULL)::integer = $2" \
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
	.sql = "DELETE FROM ONLY %s WHERE id = ANY ($1)",
	.nargs = 1, .argtypes = {INT8ARRAYOID}
};

static Statement redact_statement = {
	.sql = "UPDATE ONLY %s SET message = NULL WHERE id = ANY ($1)",
	.nargs = 1, .argtypes = {INT8ARRAYOID}
};

/*
 * Delete messages of an account that were finished by a time, or only their
 * texts: the first after a place, which becomes that of the last of them.  Returns how
 * many.  Wherever they were queued: a copied text is as private.
 */
int
outbox_remove(const char *account, bool only_text, bool redacted, TimestampTz until,
			 int limit, QueuePlace *place)
{
	Datum		values[] = {
		statement_name_datum(account), Int32GetDatum(redacted), TimestampTzGetDatum(until),
		TimestampTzGetDatum(place->at), Int64GetDatum(place->id), Int64GetDatum(limit)
	};
	int64	   *ids = palloc(sizeof(int64) * limit);
	int			n;

	statement_run(outbox_namespace(), only_text ? &old_to_redact_statement : &old_to_delete_statement,
				  values, NULL);
	n = (int) SPI_processed;
	for (int i = 0; i < n; i++)
	{
		ids[i] = place->id = statement_int64(i, 1);
		place->at = statement_int64(i, 2);
	}
	SPI_freetuptable(SPI_tuptable);
	if (n == 0)
		return 0;

	values[0] = statement_id_array(ids, n);
	statement_run(outbox_namespace(), only_text ? &redact_statement : &delete_statement, values, NULL);
	return n;
}

/* An index helps if its first column is one of those that reference. */
static Statement unindexed_statement = {
	.sql = "SELECT c.conrelid::pg_catalog.regclass::text FROM pg_catalog.pg_constraint AS c"
	" WHERE c.contype = 'f' AND c.confrelid = $1 AND NOT EXISTS (SELECT FROM pg_catalog.pg_index AS i"
	"  WHERE i.indrelid = c.conrelid AND i.indisvalid AND i.indkey[0] = ANY (c.conkey))"
	" ORDER BY 1 LIMIT 1",
	.nargs = 1, .argtypes = {OIDOID}
};

/*
 * Return a table with a foreign key to the messages whose columns have no index, so that
 * each deletion reads all of it; NULL if there is none.
 */
char *
outbox_unindexed_reference(void)
{
	Datum		values[] = {ObjectIdGetDatum(outbox_table())};
	char	   *name;

	statement_run(outbox_namespace(), &unindexed_statement, values, NULL);
	name = SPI_processed > 0 ? statement_string(0, 1) : NULL;
	SPI_freetuptable(SPI_tuptable);
	return name;
}
