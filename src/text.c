/*
 * text.c
 *		Numbers and texts as SQL sees them: in the server's encoding, with errors.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "compat.h"
#include "mobile.h"
#include "segments.h"
#include "text.h"

/* How many bytes of a refused value an error shows */
#define SHOWN_BYTES		64

/* The printf arguments for "%.*s%s" that show a value, clipped if long */
#define SHOWN(str, len) \
	pg_mbcliplen(str, len, SHOWN_BYTES), str, (len) > SHOWN_BYTES ? "..." : ""

PG_FUNCTION_INFO_V1(sms3300_mobile);
PG_FUNCTION_INFO_V1(sms3300_is_mobile);
PG_FUNCTION_INFO_V1(sms3300_segments);

/*
 * Return a text in UTF-8 and adjust its length, copying only where the server
 * has another encoding.
 *
 * SQL_ASCII means that the server doesn't know: the bytes are taken for UTF-8,
 * and the functions that read them see to what is invalid.
 */
static const char *
server_to_utf8(const char *str, int *len)
{
	char	   *utf8;

	if (GetDatabaseEncoding() == PG_SQL_ASCII)
		return str;

	utf8 = pg_server_to_any(str, *len, PG_UTF8);
	if (utf8 != str)
		*len = (int) strlen(utf8);

	return utf8;
}

/* Bring a mobile number to its canonical form, or return false. */
static bool
read_mobile(const char *str, int len, char out[MOBILE_SIZE])
{
	const char *utf8 = server_to_utf8(str, &len);

	return mobile_canonical(utf8, len, out);
}

/* Bring a mobile number to its canonical form, or raise an error. */
static void
require_mobile(const char *str, int len, char out[MOBILE_SIZE])
{
	if (!read_mobile(str, len, out))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid mobile number"),
				 errdetail("\"%.*s%s\" is not 9 and nine digits, alone or after 0, 98, +98 or 0098.", SHOWN(str, len)),
				 errhint("Write one number without letters, for example 09123456789 or +98 912 345 6789.")));
}

/* Return the canonical form of a mobile number, or raise an error. */
char *
mobile_from_text(const char *str, int len)
{
	char	   *mobile = palloc(MOBILE_SIZE);

	require_mobile(str, len, mobile);
	return mobile;
}

/*
 * Return the canonical form of an SMS line, or raise an error that names what
 * holds it.
 */
char *
line_from_text(const char *str, int len, const char *what)
{
	char	   *line = palloc(LINE_SIZE);
	int			utf8_len = len;
	const char *utf8 = server_to_utf8(str, &utf8_len);

	if (!line_canonical(utf8, utf8_len, line))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for \"%s\"", what),
				 errdetail("\"%.*s%s\" is not 4 to 14 digits, alone or after 0, 98, +98 or 0098.", SHOWN(str, len)),
				 errhint("Write the line with its country code, for example 983000330000.")));

	return line;
}

/* Return the canonical form of a mobile number. */
Datum
sms3300_mobile(PG_FUNCTION_ARGS)
{
	text	   *input = PG_GETARG_TEXT_PP(0);
	char		mobile[MOBILE_SIZE];

	require_mobile(VARDATA_ANY(input), VARSIZE_ANY_EXHDR(input), mobile);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(mobile, MOBILE_SIZE - 1));
}

/* Tell whether a text is a mobile number. */
Datum
sms3300_is_mobile(PG_FUNCTION_ARGS)
{
	text	   *input = PG_GETARG_TEXT_PP(0);
	char		mobile[MOBILE_SIZE];

	PG_RETURN_BOOL(read_mobile(VARDATA_ANY(input), VARSIZE_ANY_EXHDR(input), mobile));
}

/* Return the row type of the calling function, looked up once a query. */
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

/* Return the encoding, units, parts and free units of a text. */
Datum
sms3300_segments(PG_FUNCTION_ARGS)
{
	text	   *input = PG_GETARG_TEXT_PP(0);
	int			len = VARSIZE_ANY_EXHDR(input);
	const char *utf8 = server_to_utf8(VARDATA_ANY(input), &len);
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
