/*
 * codes.c
 *		sms3300_codes: what is known of the gateway's error codes.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "gateway/gateway.h"
#include "sql/srf.h"

PG_FUNCTION_INFO_V1(sms3300_get_codes);

/* The next code to return. */
typedef struct CodeCursor
{
	int			known;			/* its place in the list of those that are known */
	int			offset;			/* within a range of codes */
} CodeCursor;

/* Return a UTF-8 text as a datum in the server's encoding; null if that lacks a character. */
static NullableDatum
utf8_datum(const char *text)
{
	int			len = (int) strlen(text);
	Oid			proc = FindDefaultConversionProc(PG_UTF8, GetDatabaseEncoding());
	int			size = len * MAX_CONVERSION_GROWTH + 1;
	char	   *converted;

	if (GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII)
		return (NullableDatum) {.value = CStringGetTextDatum(text)};
	if (!OidIsValid(proc))
		return (NullableDatum) {.isnull = true};
	converted = palloc0(size);
	if (pg_do_encoding_conversion_buf(proc, PG_UTF8, GetDatabaseEncoding(),
									  (unsigned char *) unconstify(char *, text), len,
									  (unsigned char *) converted, size, true) < len)
		return (NullableDatum) {.isnull = true};
	return (NullableDatum) {.value = CStringGetTextDatum(converted)};
}

/* Return the row of a code. */
static Datum
code_row(TupleDesc desc, int code, const GatewayCode *known)
{
	NullableDatum persian = utf8_datum(known->meaning_fa);
	Datum		values[] = {
		Int32GetDatum(code),
		CStringGetTextDatum(gateway_class_name(known->verdict)),
		CStringGetTextDatum(known->meaning),
		persian.value,
		CStringGetTextDatum(known->remedy)
	};
	bool		nulls[] = {false, false, false, persian.isnull, false};

	if (desc->natts != lengthof(values))
		elog(ERROR, "unexpected return type of function");
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

/* Return a cursor before the first code. */
static void *
begin_codes(FunctionCallInfo fcinfo, FuncCallContext *context)
{
	return palloc0(sizeof(CodeCursor));
}

/* sms3300_get_codes(): return the rows of sms3300_codes. */
Datum
sms3300_get_codes(PG_FUNCTION_ARGS)
{
	FuncCallContext *context;
	CodeCursor *next;
	const GatewayCode *known;
	int			code;

	if (SRF_IS_FIRSTCALL())
		srf_begin(fcinfo, begin_codes);
	context = SRF_PERCALL_SETUP();
	next = context->user_fctx;
	if (next->known == gateway_num_known_codes)
		SRF_RETURN_DONE(context);

	known = &gateway_known_codes[next->known];
	code = known->first + next->offset++;
	if (code == known->last)
	{
		next->known++;
		next->offset = 0;
	}
	SRF_RETURN_NEXT(context, code_row(context->tuple_desc, code, known));
}
