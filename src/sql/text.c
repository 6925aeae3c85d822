/*
 * text.c
 *		SQL functions on mobile numbers and texts.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "account/input.h"
#include "compat.h"
#include "text/mobile.h"
#include "text/preview.h"
#include "text/segments.h"

PG_FUNCTION_INFO_V1(sms3300_mobile);
PG_FUNCTION_INFO_V1(sms3300_is_mobile);
PG_FUNCTION_INFO_V1(sms3300_mobile_or_null);
PG_FUNCTION_INFO_V1(sms3300_mobile_number);
PG_FUNCTION_INFO_V1(sms3300_is_mobile_number);
PG_FUNCTION_INFO_V1(sms3300_mobile_or_null_number);
PG_FUNCTION_INFO_V1(sms3300_segments);
PG_FUNCTION_INFO_V1(sms3300_preview);

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

/* Return the canonical form of a mobile number, NULL if a text is none. */
Datum
sms3300_mobile_or_null(PG_FUNCTION_ARGS)
{
	text	   *input = PG_GETARG_TEXT_PP(0);
	char		mobile[MOBILE_SIZE];

	if (!input_read_mobile(VARDATA_ANY(input), VARSIZE_ANY_EXHDR(input), mobile))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(mobile));
}

/* The size of a 64-bit number as a string, with a note */
#define NUMBER_SIZE 32

/*
 * Write a number, which lacks the leading 0 of a mobile number, and return its length.
 * In a text, a sign would be taken for a hyphen.
 */
static int
write_number(int64 number, char out[NUMBER_SIZE])
{
	return snprintf(out, NUMBER_SIZE, number < 0 ? INT64_FORMAT " (negative)" : INT64_FORMAT, number);
}

/* sms3300_mobile(bigint) */
Datum
sms3300_mobile_number(PG_FUNCTION_ARGS)
{
	char		number[NUMBER_SIZE];
	int			len = write_number(PG_GETARG_INT64(0), number);

	PG_RETURN_TEXT_P(cstring_to_text(input_mobile(number, len)));
}

/* sms3300_is_mobile(bigint) */
Datum
sms3300_is_mobile_number(PG_FUNCTION_ARGS)
{
	char		number[NUMBER_SIZE];
	char		mobile[MOBILE_SIZE];
	int			len = write_number(PG_GETARG_INT64(0), number);

	PG_RETURN_BOOL(input_read_mobile(number, len, mobile));
}

/* sms3300_mobile_or_null(bigint) */
Datum
sms3300_mobile_or_null_number(PG_FUNCTION_ARGS)
{
	char		number[NUMBER_SIZE];
	char		mobile[MOBILE_SIZE];
	int			len = write_number(PG_GETARG_INT64(0), number);

	if (!input_read_mobile(number, len, mobile))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(mobile));
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

/* Return an array that lists each of some characters with its code point. */
static Datum
list_characters(const PreviewList *list)
{
	Datum	   *items = palloc(sizeof(Datum) * Max(list->n, 1));

	for (int i = 0; i < list->n; i++)
	{
		const PreviewCharacter *c = &list->characters[i];
		char	   *utf8 = pnstrdup(c->start, c->len);

		items[i] = CStringGetTextDatum(psprintf("%s (U+%04X)", pg_any_to_server(utf8, c->len, PG_UTF8), c->code));
	}
	return PointerGetDatum(construct_array(items, list->n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* Return what makes a text long, or look wrong: see text/preview.h. */
Datum
sms3300_preview(PG_FUNCTION_ARGS)
{
	text	   *input = PG_GETARG_TEXT_PP(0);
	int			len = VARSIZE_ANY_EXHDR(input);
	const char *utf8 = input_to_utf8(VARDATA_ANY(input), &len);
	Segments	segments;
	Preview    *preview = palloc(sizeof(Preview));
	Datum		values[4];
	bool		nulls[4] = {false};

	segments_count(utf8, len, &segments);
	preview_text(utf8, len, preview);

	values[0] = CStringGetTextDatum(segments.ucs2 ? "UCS-2" : "GSM-7");
	values[1] = Int32GetDatum(segments.parts);
	values[2] = list_characters(&preview->ucs2);
	values[3] = list_characters(&preview->arabic);

	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(result_row_type(fcinfo), values, nulls)));
}
