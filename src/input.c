/*
 * input.c
 *		Checks of what callers give that need nothing but the value.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "input.h"

void
input_require_recipient(bool isnull)
{
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("a message needs a recipient"),
				 errdetail("\"mobile\" is null."),
				 errhint("Give a mobile number such as 09123456789 as \"mobile\".")));
}

void
input_require_message(bool isnull, size_t size)
{
	if (isnull || size == 0)
		ereport(ERROR,
				(errcode(isnull ? ERRCODE_NOT_NULL_VIOLATION : ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a message needs a text"),
				 isnull ? errdetail("\"message\" is null.") : errdetail("\"message\" is an empty string."),
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
				 errdetail("It is a whole number from 0 to 2."),
				 errhint("0 is an ordinary message, 1 one with Chelcheleh as backup, 2 one by the service line.")));
}

void
input_check_priority(int priority)
{
	if (priority < 0 || priority > 9)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for \"priority\": %d", priority),
				 errdetail("It is a whole number from 0 to 9."),
				 errhint("Higher ones are sent first.")));
}

void
input_check_template(int template)
{
	if (template < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for \"template\": %d", template),
				 errdetail("It is a whole number from 0 to %d.", PG_INT32_MAX)));
}
