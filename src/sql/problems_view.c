/*
 * problems_view.c
 *		Return the rows of sms3300_problems.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "sql/problems.h"
#include "sql/srf.h"

PG_FUNCTION_INFO_V1(sms3300_get_problems);

/* Return a string as a datum; NULL is null. */
static NullableDatum
string_datum(const char *string)
{
	return (NullableDatum) {.value = string ? CStringGetTextDatum(string) : (Datum) 0,.isnull = string == NULL};
}

/* Return a string as a datum of the type name; NULL is null. */
static NullableDatum
name_datum(const char *string)
{
	Name		name;

	if (string == NULL)
		return (NullableDatum) {.isnull = true};
	name = palloc0(sizeof(NameData));
	namestrcpy(name, string);
	return (NullableDatum) {.value = NameGetDatum(name)};
}

/* Return the row of a problem. */
static Datum
problem_row(TupleDesc desc, const Problem *problem)
{
	NullableDatum row[] = {
		string_datum(problem->critical ? "critical" : "warning"),
		string_datum(problem->name),
		name_datum(problem->account),
		{TimestampTzGetDatum(problem->since), problem->since == 0},
		{Int64GetDatum(problem->messages), problem->messages < 0},
		string_datum(problem->detail),
		string_datum(problem->hint)
	};
	Datum		values[lengthof(row)];
	bool		nulls[lengthof(row)];

	if (desc->natts != lengthof(row))
		elog(ERROR, "unexpected return type of function");
	for (size_t i = 0; i < lengthof(row); i++)
	{
		values[i] = row[i].value;
		nulls[i] = row[i].isnull;
	}
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

/* Find the problems, a list. */
static void *
begin_problems(FunctionCallInfo fcinfo, FuncCallContext *context)
{
	return problems_find(get_func_namespace(fcinfo->flinfo->fn_oid));
}

/* sms3300_get_problems(): return the rows of sms3300_problems. */
Datum
sms3300_get_problems(PG_FUNCTION_ARGS)
{
	FuncCallContext *context;
	List	   *problems;
	Datum		row;

	if (SRF_IS_FIRSTCALL())
		srf_begin(fcinfo, begin_problems);
	context = SRF_PERCALL_SETUP();
	problems = context->user_fctx;
	if (context->call_cntr >= (uint64) list_length(problems))
		SRF_RETURN_DONE(context);

	/* SRF_RETURN_NEXT() counts before it looks at the row. */
	row = problem_row(context->tuple_desc, list_nth(problems, (int) context->call_cntr));
	SRF_RETURN_NEXT(context, row);
}
