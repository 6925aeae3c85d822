/*
 * history.c
 *		The table sms3300_history: what was counted by the hour, and by the day.
 *
 * Its owner may be another one than that of sms_outbox, and its statements run as that
 * owner, in a security-restricted operation.  They are run seldom, so nothing is prepared.
 */
#include "postgres.h"

#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "outbox/access.h"
#include "outbox/history.h"
#include "outbox/owner.h"

#define HISTORY_TABLE "sms3300_history"

/* Hours older than this become days, and days older than that are removed. */
#define HOURS_KEPT (7 * USECS_PER_DAY)
#define DAYS_KEPT (365 * USECS_PER_DAY)

/* Write the rows of an hour. */
static void
write_rows(const char *table, const HistoryRow *rows, int nrows)
{
	static Oid	types[] = {NAMEOID, TIMESTAMPTZOID, INT8OID, INT8OID, INT8OID, INT8OID, FLOAT8OID};
	const char *sql = psprintf("INSERT INTO %s AS h (account, hour, whole_day, sent, rejected, unknown, requests, request_time_p95)"
							   " VALUES ($1, $2, false, $3, $4, $5, $6, $7)"
							   " ON CONFLICT (account, hour, whole_day) DO UPDATE SET sent = h.sent + excluded.sent,"
							   " rejected = h.rejected + excluded.rejected, unknown = h.unknown + excluded.unknown,"
							   " requests = h.requests + excluded.requests,"
							   " request_time_p95 = coalesce(greatest(h.request_time_p95, excluded.request_time_p95), 0)",
							   table);

	for (int i = 0; i < nrows; i++)
	{
		const HistoryRow *row = &rows[i];
		NameData	account = {{0}};
		Datum		values[] = {
			NameGetDatum(&account), TimestampTzGetDatum(row->hour), Int64GetDatum(row->sent),
			Int64GetDatum(row->rejected), Int64GetDatum(row->unknown), Int64GetDatum(row->requests),
			Float8GetDatum(row->request_time_p95)
		};
		char		nulls[] = "       ";

		namestrcpy(&account, row->account);
		if (row->request_time_p95 < 0)
			nulls[6] = 'n';
		SPI_execute_with_args(sql, lengthof(types), types, values, nulls, false, 0);
	}
}

/* Make days of old hours, and remove old days.  The percentile of a day is that of its hours, by their requests. */
static void
tidy(const char *table, TimestampTz now)
{
	Oid			type = TIMESTAMPTZOID;
	Datum		hours_until = TimestampTzGetDatum(now - HOURS_KEPT);
	Datum		days_until = TimestampTzGetDatum(now - DAYS_KEPT);

	SPI_execute_with_args(psprintf("WITH o AS (DELETE FROM %1$s WHERE NOT whole_day"
								   "  AND hour < pg_catalog.date_trunc('day', $1, 'Asia/Tehran') RETURNING *)"
								   " INSERT INTO %1$s AS h (account, hour, whole_day, sent, rejected, unknown, requests, request_time_p95)"
								   " SELECT o.account, pg_catalog.date_trunc('day', o.hour, 'Asia/Tehran'), true,"
								   "  pg_catalog.sum(o.sent), pg_catalog.sum(o.rejected), pg_catalog.sum(o.unknown),"
								   "  pg_catalog.sum(o.requests), pg_catalog.sum(o.request_time_p95 * o.requests)"
								   "  / nullif(pg_catalog.sum(o.requests) FILTER (WHERE o.request_time_p95 IS NOT NULL), 0)"
								   " FROM o GROUP BY 1, 2"
								   " ON CONFLICT (account, hour, whole_day) DO UPDATE SET sent = h.sent + excluded.sent,"
								   " rejected = h.rejected + excluded.rejected, unknown = h.unknown + excluded.unknown,"
								   " requests = h.requests + excluded.requests",
								   table), 1, &type, &hours_until, NULL, false, 0);
	SPI_execute_with_args(psprintf("DELETE FROM %s WHERE hour < $1", table), 1, &type, &days_until, NULL, false, 0);
}

/*
 * Return the table; InvalidOid if there is none.  In an earlier version of the extension, a
 * table of this name is somebody else's.
 */
static Oid
find_history(Oid namespace)
{
	Oid			table = get_relname_relid(HISTORY_TABLE, namespace);

	return OidIsValid(table) &&
		getExtensionOfObject(RelationRelationId, table) == get_extension_oid("sms3300", true) ? table : InvalidOid;
}

/* Return the name of the table, qualified. */
static const char *
history_name(Oid namespace)
{
	return psprintf("%s." HISTORY_TABLE, quote_identifier(get_namespace_name(namespace)));
}

bool
history_write(const HistoryRow *rows, int nrows, TimestampTz now)
{
	Oid			namespace = outbox_namespace();
	Oid			table = find_history(namespace);
	const char *name = history_name(namespace);
	Caller		caller;

	if (!OidIsValid(table) || !ConditionalLockRelationOid(table, RowExclusiveLock))
		return false;
	become_owner_of(table, &caller);
	SPI_connect();
	write_rows(name, rows, nrows);
	tidy(name, now);
	SPI_finish();
	become_caller(&caller);
	return true;
}

HeapTuple *
history_read(Oid namespace, uint64 *nrows)
{
	Oid			table = find_history(namespace);
	HeapTuple  *rows = NULL;
	Caller		caller;

	*nrows = 0;
	if (!OidIsValid(table))
		return NULL;
	become_owner_of(table, &caller);
	SPI_connect();

	/* The owner may have altered the columns. */
	if (SPI_execute(psprintf("SELECT account::pg_catalog.name, hour::pg_catalog.timestamptz, sent::pg_catalog.int8,"
							 " rejected::pg_catalog.int8, unknown::pg_catalog.int8, requests::pg_catalog.int8,"
							 " request_time_p95::pg_catalog.float8 FROM ONLY %s", history_name(namespace)),
					true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read %s", HISTORY_TABLE);
	*nrows = SPI_processed;
	rows = SPI_palloc(sizeof(HeapTuple) * Max(*nrows, 1));
	for (uint64 i = 0; i < *nrows; i++)
		rows[i] = SPI_copytuple(SPI_tuptable->vals[i]);
	SPI_finish();
	become_caller(&caller);
	return rows;
}
