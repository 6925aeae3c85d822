/*
 * statistics.c
 *		Return the rows of sms3300_stat_worker and sms3300_stat_account.
 *
 * Each view calls a function in this file once for each row, and one for each
 * column that is read from the table, if that column is selected.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "compat.h"
#include "outbox/access.h"
#include "outbox/figures.h"
#include "shared/armed.h"
#include "shared/counters.h"
#include "shared/registry.h"

PG_FUNCTION_INFO_V1(sms3300_stat_get_worker);
PG_FUNCTION_INFO_V1(sms3300_stat_get_account);
PG_FUNCTION_INFO_V1(sms3300_stat_get_queued);
PG_FUNCTION_INFO_V1(sms3300_stat_get_oldest_due_at);
PG_FUNCTION_INFO_V1(sms3300_stat_get_foreign_rows);
PG_FUNCTION_INFO_V1(sms3300_stat_reset);

#define MAX_STAT_COLUMNS 32

/* A row under construction. */
typedef struct StatRow
{
	int			n;
	Datum		values[MAX_STAT_COLUMNS];
	bool		nulls[MAX_STAT_COLUMNS];
} StatRow;

/* Raise an error unless the library was preloaded. */
static void
require_preloaded(void)
{
	if (!registry_attached())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sms3300 is not preloaded"),
				 errhint("Add sms3300 to shared_preload_libraries and restart the server.")));
}

/* Append a value. */
static void
add(StatRow *row, Datum value, bool isnull)
{
	row->values[row->n] = value;
	row->nulls[row->n] = isnull;
	row->n++;
}

/* Append a string, or NULL. */
static void
add_string(StatRow *row, const char *value)
{
	add(row, value ? CStringGetTextDatum(value) : (Datum) 0, value == NULL);
}

/* Append a time, or NULL for 0. */
static void
add_time(StatRow *row, TimestampTz value)
{
	add(row, TimestampTzGetDatum(value), value == 0);
}

/* Append the sum and the percentiles of a histogram, in milliseconds. */
static void
add_histogram(StatRow *row, const Histogram *histogram)
{
	static const double fractions[] = {0.50, 0.95, 0.99};

	add(row, Float8GetDatum((double) histogram->sum / 1000), false);
	for (size_t i = 0; i < lengthof(fractions); i++)
	{
		double		percentile = histogram_percentile(histogram, fractions[i]);

		add(row, Float8GetDatum(percentile / 1000), percentile < 0);
	}
}

/* Form the row that the calling function returns. */
static Datum
finish_stat_row(FunctionCallInfo fcinfo, StatRow *row)
{
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != row->n)
		elog(ERROR, "unexpected return type of function");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), row->values, row->nulls));
}

/* How the states of a worker are shown. */
static const char *const worker_states[] = {
	[WORKER_NONE] = "none",
	[WORKER_WAITING] = "waiting",
	[WORKER_STARTING] = "starting",
	[WORKER_RUNNING] = "running",
	[WORKER_BLOCKED] = "blocked",
	[WORKER_RESTARTING] = "restarting"
};

/* sms3300_stat_get_worker(database): describe the worker of a database; NULL if unknown. */
Datum
sms3300_stat_get_worker(PG_FUNCTION_ARGS)
{
	WorkerStat	stat;
	StatRow		row = {0};

	require_preloaded();
	if (!registry_worker_stat(PG_GETARG_OID(0), &stat))
		PG_RETURN_NULL();

	add(&row, Int32GetDatum(stat.pid), stat.pid == 0);
	add_string(&row, worker_states[stat.state]);
	add_time(&row, stat.pid == 0 ? 0 : stat.started_at);
	add(&row, Int32GetDatum(stat.in_flight), false);
	add_string(&row, stat.last_error_at ? stat.last_error : NULL);
	add_time(&row, stat.last_error_at);
	PG_RETURN_DATUM(finish_stat_row(fcinfo, &row));
}

/* sms3300_stat_get_account(name): describe an account of this database; NULL if there is none. */
Datum
sms3300_stat_get_account(PG_FUNCTION_ARGS)
{
	const Account *account;
	AccountCounters counted = {0};
	StatRow		row = {0};
	const char *mismatch = extension_mismatch(EXTENSION_NEWER);
	const char *pause;
	bool		stopped;

	require_preloaded();
	account = account_find(NameStr(*PG_GETARG_NAME(0)));
	if (account == NULL)
		PG_RETURN_NULL();
	counters_read(account->serverid, &counted);

	pause = mismatch ? mismatch :
		!registry_enabled ? "sms3300.enabled is off" :
		!is_armed() ? NOT_ARMED :
		account->paused ? "the option \"paused\" of the account is true" : NULL;
	stopped = account_has_stopped(counted.live.state) && pause == NULL;

	add(&row, Int64GetDatum(outbox_origin()), false);
	add_string(&row, pause ? "paused" : stopped ? "stopped" : "ok");
	add_string(&row, pause ? pause : stopped ? counted.reason : NULL);
	add_time(&row, stopped ? counted.live.probe_at : 0);
	add(&row, Int32GetDatum(counted.live.in_flight), false);
	for (int i = 0; i < NUM_COUNTERS; i++)
		add(&row, Int64GetDatum(counted.counters[i]), false);
	for (int i = 0; i < NUM_TIMES; i++)
		add_histogram(&row, &counted.times[i]);
	add_time(&row, counted.reset_at);
	PG_RETURN_DATUM(finish_stat_row(fcinfo, &row));
}

/* sms3300_stat_get_queued(origin, account): count the queued messages of an account. */
Datum
sms3300_stat_get_queued(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(figure_queued(get_func_namespace(fcinfo->flinfo->fn_oid),
								  PG_GETARG_INT64(0), PG_GETARG_NAME(1)));
}

/* sms3300_stat_get_oldest_due_at(origin, account): find the earliest due_at of those. */
Datum
sms3300_stat_get_oldest_due_at(PG_FUNCTION_ARGS)
{
	TimestampTz due_at;

	if (!figure_oldest_due_at(get_func_namespace(fcinfo->flinfo->fn_oid),
							  PG_GETARG_INT64(0), PG_GETARG_NAME(1), &due_at))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(due_at);
}

/* sms3300_stat_get_foreign_rows(origin, account): count what another database queued. */
Datum
sms3300_stat_get_foreign_rows(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(figure_foreign_rows(get_func_namespace(fcinfo->flinfo->fn_oid),
										PG_GETARG_INT64(0), PG_GETARG_NAME(1)));
}

/* sms3300_stat_reset(): reset the counters of this database's accounts. */
Datum
sms3300_stat_reset(PG_FUNCTION_ARGS)
{
	require_preloaded();
	counters_reset();
	registry_forget_error(MyDatabaseId);
	PG_RETURN_VOID();
}
