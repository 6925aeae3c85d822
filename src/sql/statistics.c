/*
 * statistics.c
 *		Return the rows of sms3300_stat_worker, sms3300_stat_account and
 *		sms3300_stat_mapping.
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
#include "account/rules.h"
#include "compat.h"
#include "outbox/access.h"
#include "outbox/budget.h"
#include "outbox/candidates.h"
#include "outbox/figures.h"
#include "outbox/history.h"
#include "shared/armed.h"
#include "shared/counters.h"
#include "shared/mappings.h"
#include "shared/registry.h"
#include "sql/srf.h"

PG_FUNCTION_INFO_V1(sms3300_stat_get_worker);
PG_FUNCTION_INFO_V1(sms3300_stat_get_account);
PG_FUNCTION_INFO_V1(sms3300_stat_get_hour);
PG_FUNCTION_INFO_V1(sms3300_get_history);
PG_FUNCTION_INFO_V1(sms3300_stat_get_mapping);
PG_FUNCTION_INFO_V1(sms3300_stat_get_mapping_queued);
PG_FUNCTION_INFO_V1(sms3300_stat_get_queued);
PG_FUNCTION_INFO_V1(sms3300_stat_get_oldest_due_at);
PG_FUNCTION_INFO_V1(sms3300_stat_get_foreign_rows);
PG_FUNCTION_INFO_V1(sms3300_stat_reset);

#define MAX_STAT_COLUMNS 64

/*
 * A row under construction.  Its columns are found by their names, since the
 * SQL objects may be of another version than the library.
 */
typedef struct StatRow
{
	TupleDesc	desc;
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

/* Begin the row that the calling function returns, with NULL in each column. */
static void
begin_stat_row(FunctionCallInfo fcinfo, StatRow *row)
{
	if (get_call_result_type(fcinfo, NULL, &row->desc) != TYPEFUNC_COMPOSITE || row->desc->natts > MAX_STAT_COLUMNS)
		elog(ERROR, "unexpected return type of function");
	memset(row->nulls, true, sizeof(row->nulls));
}

/* Set a column, unless the row has none of that name. */
static void
set_column(StatRow *row, const char *name, Datum value, bool isnull)
{
	for (int i = 0; i < row->desc->natts; i++)
	{
		if (strcmp(NameStr(TupleDescAttr(row->desc, i)->attname), name) != 0)
			continue;
		row->values[i] = value;
		row->nulls[i] = isnull;
	}
}

/* Set a column to a string, or NULL. */
static void
set_string(StatRow *row, const char *name, const char *value)
{
	set_column(row, name, value ? CStringGetTextDatum(value) : (Datum) 0, value == NULL);
}

/* Set a column to a time, or NULL for 0. */
static void
set_time(StatRow *row, const char *name, TimestampTz value)
{
	set_column(row, name, TimestampTzGetDatum(value), value == 0);
}

/* Set the sum and the percentiles of a histogram, in milliseconds. */
static void
set_histogram(StatRow *row, const char *name, const Histogram *histogram)
{
	static const int percents[] = {50, 95, 99};

	set_column(row, psprintf("%s_sum", name), Float8GetDatum((double) histogram->sum / 1000), false);
	for (size_t i = 0; i < lengthof(percents); i++)
	{
		double		percentile = histogram_percentile(histogram, percents[i] / 100.0);

		set_column(row, psprintf("%s_p%d", name, percents[i]), Float8GetDatum(percentile / 1000), percentile < 0);
	}
}

/* Form the row. */
static Datum
finish_stat_row(StatRow *row)
{
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(row->desc), row->values, row->nulls));
}

/* The columns of the counters. */
static const char *const counter_columns[NUM_COUNTERS] = {
	[COUNTER_SENT] = "sent",
	[COUNTER_REJECTED] = "rejected",
	[COUNTER_FAILED] = "failed",
	[COUNTER_UNKNOWN] = "unknown",
	[COUNTER_EXPIRED] = "expired",
	[COUNTER_SUPPRESSED] = "suppressed",
	[COUNTER_RETRIED] = "retried",
	[COUNTER_REQUESTS] = "requests",
	[COUNTER_DELIVERED] = "delivered",
	[COUNTER_UNDELIVERED] = "undelivered",
	[COUNTER_UNCONFIRMED] = "unconfirmed"
};

/* What the columns of the histograms begin with. */
static const char *const time_columns[NUM_TIMES] = {
	[TIME_REQUEST] = "request_time",
	[TIME_WAIT] = "wait_time"
};

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
	StatRow		row;

	require_preloaded();
	if (!registry_worker_stat(PG_GETARG_OID(0), &stat))
		PG_RETURN_NULL();

	begin_stat_row(fcinfo, &row);
	set_column(&row, "pid", Int32GetDatum(stat.pid), stat.pid == 0);
	set_string(&row, "state", worker_states[stat.state]);
	set_time(&row, "started_at", stat.pid == 0 ? 0 : stat.started_at);
	set_column(&row, "in_flight", Int32GetDatum(stat.in_flight), false);
	set_string(&row, "last_error", stat.last_error_at ? stat.last_error : NULL);
	set_time(&row, "last_error_at", stat.last_error_at);
	set_time(&row, "blocked_since", stat.obstruction.since);
	set_column(&row, "blocked_by", Int32GetDatum(stat.obstruction.pid), stat.obstruction.pid == 0);
	PG_RETURN_DATUM(finish_stat_row(&row));
}

/* Whether an account sends, as it is shown. */
typedef struct Situation
{
	const char *state;
	const char *reason;			/* NULL: none */
	TimestampTz next;			/* when that may change; 0: unknown */
} Situation;

/* Return the parts that an account may have sent today; -1: unknown, or it has no limit. */
static int64
parts_today(const Account *account, const DayParts *parts, TimestampTz now)
{
	if (account->max_parts_per_day == 0 || parts->day == 0)
		return -1;
	return parts->day == hours_day_begin(&account->hours, now) ? parts->queued + parts->at_once : 0;
}

/* Tell whether an account sends.  What comes first is what has to be changed first. */
static Situation
account_situation(const Account *account, const AccountCounters *counted, TimestampTz now)
{
	const char *mismatch = extension_mismatch(EXTENSION_NEWER);
	TimestampTz opening = rules_opening(account, 0, now);

	if (mismatch)
		return (Situation) {.state = "paused", .reason = mismatch};
	if (!registry_enabled)
		return (Situation) {.state = "paused", .reason = "sms3300.enabled is off"};
	if (!is_armed())
		return (Situation) {.state = "paused", .reason = NOT_ARMED};
	if (account->paused)
		return (Situation) {.state = "paused", .reason = account_why_paused(account)};
	if (budget_is_reached(account, now))
		return (Situation) {.state = "stopped", .reason = rules_budget(account, parts_today(account, &counted->day_parts, now)),
			.next = hours_day_end(&account->hours, now)};
	if (account_has_stopped(counted->live.state))
		return (Situation) {.state = "stopped", .reason = counted->reason, .next = counted->live.probe_at};
	if (opening > now)
		return (Situation) {.state = "closed", .reason = rules_hours(account), .next = opening};
	return (Situation) {.state = "ok"};
}

/* sms3300_stat_get_account(name): describe an account of this database; NULL if there is none. */
Datum
sms3300_stat_get_account(PG_FUNCTION_ARGS)
{
	const Account *account;
	AccountCounters counted = {0};
	StatRow		row;
	Situation	situation;
	TimestampTz now = GetCurrentTimestamp();
	int64		parts;

	require_preloaded();
	account = account_find(NameStr(*PG_GETARG_NAME(0)));
	if (account == NULL)
		PG_RETURN_NULL();
	counters_read(account->serverid, &counted);
	situation = account_situation(account, &counted, now);
	parts = parts_today(account, &counted.day_parts, now);

	begin_stat_row(fcinfo, &row);
	set_column(&row, "origin", Int64GetDatum(outbox_origin()), false);
	set_string(&row, "state", situation.state);
	set_string(&row, "reason", situation.reason ? situation.reason : counted.delivery_problem[0] ?
			   psprintf("no delivery states are learnt: %s", counted.delivery_problem) : NULL);
	set_time(&row, "next_probe_at", situation.next);
	set_column(&row, "in_flight", Int32GetDatum(counted.live.in_flight), false);
	for (int i = 0; i < NUM_COUNTERS; i++)
		set_column(&row, counter_columns[i], Int64GetDatum(counted.counters[i]), false);
	for (int i = 0; i < NUM_TIMES; i++)
		set_histogram(&row, time_columns[i], &counted.times[i]);
	set_time(&row, "stats_reset", counted.reset_at);
	set_column(&row, "parts_today", Int64GetDatum(parts), parts < 0);
	PG_RETURN_DATUM(finish_stat_row(&row));
}

/*
 * sms3300_stat_get_mapping(account, user): describe a user mapping.  If it is the only
 * one of its account, a refusal of its credentials stops the account.
 */
Datum
sms3300_stat_get_mapping(PG_FUNCTION_ARGS)
{
	const Account *account;
	AccountCounters counted = {0};
	MappingState mapping = {0};
	StatRow		row;
	bool		of_account;
	const LiveState *live;

	require_preloaded();
	account = account_find(NameStr(*PG_GETARG_NAME(0)));
	if (account == NULL)
		PG_RETURN_NULL();
	counters_read(account->serverid, &counted);
	mappings_read(account->serverid, PG_GETARG_OID(1), &mapping);
	of_account = account->nmappings == 1 && counted.live.of_mapping;
	live = of_account ? &counted.live : &mapping.live;

	begin_stat_row(fcinfo, &row);
	set_column(&row, "origin", Int64GetDatum(outbox_origin()), false);
	set_string(&row, "state", account_has_stopped(live->state) ? "stopped" : "ok");
	set_string(&row, "reason", !account_has_stopped(live->state) ? NULL :
			   of_account ? counted.reason : mapping.reason);
	set_time(&row, "next_probe_at", account_has_stopped(live->state) ? live->probe_at : 0);
	set_column(&row, "in_flight", Int32GetDatum(mapping.live.in_flight), false);
	PG_RETURN_DATUM(finish_stat_row(&row));
}

/* sms3300_stat_get_mapping_queued(origin, account, senders, but): count messages of some senders. */
Datum
sms3300_stat_get_mapping_queued(PG_FUNCTION_ARGS)
{
	int64		n;

	if (!figure_queued_by(get_func_namespace(fcinfo->flinfo->fn_oid), PG_GETARG_INT64(0),
						  PG_GETARG_NAME(1), PG_GETARG_DATUM(2), PG_GETARG_BOOL(3), &n))
		PG_RETURN_NULL();
	PG_RETURN_INT64(n);
}

/* sms3300_stat_get_queued(origin, account): count the queued messages of an account. */
Datum
sms3300_stat_get_queued(PG_FUNCTION_ARGS)
{
	int64		n;

	if (!figure_queued(get_func_namespace(fcinfo->flinfo->fn_oid),
					   PG_GETARG_INT64(0), PG_GETARG_NAME(1), &n))
		PG_RETURN_NULL();
	PG_RETURN_INT64(n);
}

/*
 * Return since when the messages of an account have been late: the earliest due_at, or
 * the opening after it for messages that wait for the hours of the account.
 */
static TimestampTz
oldest_due_at(Oid schema, int64 origin, Name name)
{
	const Account *account = account_find(NameStr(*name));
	int			urgent = account ? Min(account->urgent_priority, NUM_PRIORITIES) : 0;
	TimestampTz due_at;
	TimestampTz held_due_at;

	if (urgent == 0 || account->hours.nspans == 0)
		return figure_oldest_due_at(schema, origin, name, 0, MAX_PRIORITY);
	due_at = figure_oldest_due_at(schema, origin, name, urgent, MAX_PRIORITY);
	held_due_at = figure_oldest_due_at(schema, origin, name, 0, urgent - 1);
	return Min(due_at, hours_opening(&account->hours, held_due_at));
}

/* sms3300_stat_get_oldest_due_at(origin, account): find since when those are late. */
Datum
sms3300_stat_get_oldest_due_at(PG_FUNCTION_ARGS)
{
	TimestampTz due_at = oldest_due_at(get_func_namespace(fcinfo->flinfo->fn_oid),
									   PG_GETARG_INT64(0), PG_GETARG_NAME(1));

	if (due_at == DT_NOEND)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(due_at);
}

/* sms3300_stat_get_foreign_rows(origin, account): count what another database queued. */
Datum
sms3300_stat_get_foreign_rows(PG_FUNCTION_ARGS)
{
	int64		n;

	if (!figure_foreign_rows(get_func_namespace(fcinfo->flinfo->fn_oid),
							 PG_GETARG_INT64(0), PG_GETARG_NAME(1), &n))
		PG_RETURN_NULL();
	PG_RETURN_INT64(n);
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

/* sms3300_stat_get_hour(account): return what is counted and not in sms3300_history yet, or NULL. */
Datum
sms3300_stat_get_hour(PG_FUNCTION_ARGS)
{
	const Account *account;
	HourCounts	hour;
	StatRow		row;
	double		p95;

	require_preloaded();
	account = account_find(NameStr(*PG_GETARG_NAME(0)));
	if (account == NULL || !counters_past_hour(account->serverid, DT_NOEND, &hour))
		PG_RETURN_NULL();
	p95 = hour_percentile(&hour, 0.95);
	begin_stat_row(fcinfo, &row);
	set_time(&row, "hour", hour.hour);
	set_column(&row, "sent", Int64GetDatum(hour.sent), false);
	set_column(&row, "rejected", Int64GetDatum(hour.rejected), false);
	set_column(&row, "unknown", Int64GetDatum(hour.unknown), false);
	set_column(&row, "requests", Int64GetDatum(hour.requests), false);
	set_column(&row, "request_time_p95", Float8GetDatum(p95 / 1000), p95 < 0);
	PG_RETURN_DATUM(finish_stat_row(&row));
}

/* Find the rows of sms3300_history. */
static void *
begin_history(FunctionCallInfo fcinfo, FuncCallContext *context)
{
	return history_read(get_func_namespace(fcinfo->flinfo->fn_oid), &context->max_calls);
}

/* sms3300_get_history(): return the rows of sms3300_history. */
Datum
sms3300_get_history(PG_FUNCTION_ARGS)
{
	FuncCallContext *context;
	HeapTuple  *rows;
	Datum		row;

	if (SRF_IS_FIRSTCALL())
		srf_begin(fcinfo, begin_history);
	context = SRF_PERCALL_SETUP();
	rows = context->user_fctx;
	if (context->call_cntr >= context->max_calls)
		SRF_RETURN_DONE(context);

	/* SRF_RETURN_NEXT() counts before it looks at the row. */
	row = heap_copy_tuple_as_datum(rows[context->call_cntr], context->tuple_desc);
	SRF_RETURN_NEXT(context, row);
}
