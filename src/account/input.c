/*
 * input.c
 *		Check values that callers give, and bring them to their canonical form.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "account/input.h"
#include "text/blank.h"
#include "text/mobile.h"

/* How many bytes of a refused value an error shows */
#define SHOWN_BYTES		64

/* The printf arguments for "%.*s%s" that show a value, truncated if long */
#define SHOWN(str, len) \
	pg_mbcliplen(str, len, SHOWN_BYTES), str, (len) > SHOWN_BYTES ? "..." : ""

/*
 * Convert a text to UTF-8.
 *
 * SQL_ASCII means that the encoding is unknown.  The bytes are then taken as
 * UTF-8, and the functions that read them handle invalid sequences.
 */
const char *
input_to_utf8(const char *str, int *len)
{
	char	   *utf8;

	if (GetDatabaseEncoding() == PG_SQL_ASCII)
		return str;

	utf8 = pg_server_to_any(str, *len, PG_UTF8);
	if (utf8 != str)
		*len = (int) strlen(utf8);

	return utf8;
}

/*
 * Convert a text to UTF-8 if that is possible.
 *
 * The error is discarded because it shows bytes, which may belong to a password.
 * The conversion touches only memory, so no subtransaction is needed.
 */
const char *
input_try_utf8(const char *str, int *len)
{
	MemoryContext context = CurrentMemoryContext;
	const char *volatile utf8 = NULL;

	PG_TRY();
	{
		utf8 = pg_server_to_any(str, *len, PG_UTF8);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	if (utf8 && utf8 != str)
		*len = (int) strlen(utf8);
	return utf8;
}

/* Bring a mobile number to its canonical form. */
bool
input_read_mobile(const char *str, int len, char out[MOBILE_SIZE])
{
	const char *utf8 = input_to_utf8(str, &len);

	return mobile_canonical(utf8, len, out);
}

/* Return the canonical form of a mobile number, or raise an error. */
char *
input_mobile(const char *str, int len)
{
	char	   *mobile = palloc(MOBILE_SIZE);

	if (!input_read_mobile(str, len, mobile))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid mobile number"),
				 errdetail("\"%.*s%s\" is not a 9 followed by nine digits, with or without the prefix 0, 98, +98 or 0098.", SHOWN(str, len)),
				 errhint("Write a single number without letters, for example 09123456789 or +98 912 345 6789.")));
	return mobile;
}

/* Compare canonical mobile numbers. */
int
input_compare_mobiles(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* Return the canonical form of an SMS line, or raise an error. */
char *
input_line(const char *str, int len, const char *what)
{
	char	   *line = palloc(LINE_SIZE);
	int			utf8_len = len;
	const char *utf8 = input_to_utf8(str, &utf8_len);

	if (!line_canonical(utf8, utf8_len, line))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for \"%s\"", what),
				 errdetail("\"%.*s%s\" is not 4 to 14 digits, with or without the prefix 0, 98, +98 or 0098.", SHOWN(str, len)),
				 errhint("Write the line with its country code, for example 983000330000.")));

	return line;
}

void
input_require_recipient(bool isnull)
{
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("message has no recipient"),
				 errdetail("\"mobile\" is null."),
				 errhint("Give a mobile number as \"mobile\", for example 09123456789.")));
}

void
input_require_message(bool isnull, size_t size)
{
	if (isnull || size == 0)
		ereport(ERROR,
				(errcode(isnull ? ERRCODE_NOT_NULL_VIOLATION : ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("message has no text"),
				 isnull ? errdetail("\"message\" is null.") : errdetail("\"message\" is an empty string."),
				 errhint("Give the text to send as \"message\".")));
}

void
input_require_visible(const char *message, size_t size)
{
	int			len = (int) size;
	const char *utf8 = input_to_utf8(message, &len);

	if (text_is_blank(utf8, len))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("message has no text"),
				 errdetail("\"message\" consists of blanks and invisible characters only."),
				 errhint("Give the text to send as \"message\".")));
}

void
input_require_utf8(const char *message, size_t size)
{
	pg_server_to_any(message, (int) size, PG_UTF8);
}

void
input_check_type(int type)
{
	if (type < 0 || type > 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for \"type\": %d", type),
				 errdetail("Valid values are between 0 and 2."),
				 errhint("Use 0 for an ordinary message, 1 for Chelcheleh as backup, or 2 for the service line.")));
}

void
input_check_priority(int priority)
{
	if (priority < 0 || priority > 9)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for \"priority\": %d", priority),
				 errdetail("Valid values are between 0 and 9."),
				 errhint("Messages with a higher priority are sent first.")));
}

void
input_check_template(int template)
{
	if (template < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for \"template\": %d", template),
				 errdetail("Valid values are between 0 and %d.", PG_INT32_MAX)));
}
