/*
 * text.c
 *		SQL functions on mobile numbers and texts.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "account/input.h"
#include "compat.h"
#include "text/mobile.h"
#include "text/segments.h"

PG_FUNCTION_INFO_V1(sms3300_mobile);
PG_FUNCTION_INFO_V1(sms3300_is_mobile);
PG_FUNCTION_INFO_V1(sms3300_segments);

/* Return the canonical form of a mobile number. */
Datum
sms3300_mobile(PG_FUNCTION_ARGS)
{
	text	   *input = PG_GETARG_TEXT_PP(0);

	PG_RETURN_TEXT_P(cstring_to_text(input_mobile(VARDATA_ANY(input), VARSIZE_ANY_EXHDR(input))));
}

/* Return whether a text is a mobile number. */
Datum
sms3300_is_mobile(PG_FUNCTION_ARGS)
{
	text	   *input = PG_GETARG_TEXT_PP(0);
	char		mobile[MOBILE_SIZE];

	PG_RETURN_BOOL(input_read_mobile(VARDATA_ANY(input), VARSIZE_ANY_EXHDR(input), mobile));
}

/* Return the row type of the calling function, looked up once per query. */
static TupleDesc
result_row_type(FunctionCallInfo fcinfo)
{
	FmgrInfo   *flinfo = fcinfo->flinfo;

	if (flinfo->fn_extra == NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(flinfo->fn_mcxt);
		TupleDesc	row_type;

		if (get_call_result_type(fcinfo, NULL, &row_type) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		flinfo->fn_extra = BlessTupleDesc(row_type);
		MemoryContextSwitchTo(old_context);
	}

	return flinfo->fn_extra;
}

/* Return the encoding, units, parts and units left of a text. */
Datum
sms3300_segments(PG_FUNCTION_ARGS)
{
	text	   *input = PG_GETARG_TEXT_PP(0);
	int			len = VARSIZE_ANY_EXHDR(input);
	const char *utf8 = input_to_utf8(VARDATA_ANY(input), &len);
	Segments	segments;
	Datum		values[4];
	bool		nulls[4] = {false};

	segments_count(utf8, len, &segments);

	values[0] = CStringGetTextDatum(segments.ucs2 ? "UCS-2" : "GSM-7");
	values[1] = Int32GetDatum(segments.units);
	values[2] = Int32GetDatum(segments.parts);
	values[3] = Int32GetDatum(segments.units_left);

	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(result_row_type(fcinfo), values, nulls)));
}
