/*
 * send.c
 *		Queue a message.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/lsyscache.h"

#include "account/input.h"
#include "compat.h"
#include "outbox/callers.h"

PG_FUNCTION_INFO_V1(sms3300_send);
PG_FUNCTION_INFO_V1(sms3300_send_number);

extern Datum sms3300_mobile_number(PG_FUNCTION_ARGS);	/* text.c */

/* Return the schema of the calling function, which is also that of the table. */
static Oid
own_namespace(FunctionCallInfo fcinfo)
{
	return get_func_namespace(fcinfo->flinfo->fn_oid);
}

/* Check an integer argument and convert it to the smallint of its column. */
static void
narrow_argument(Datum *value, bool isnull, void (*check) (int))
{
	if (isnull)
		return;
	check(DatumGetInt32(*value));
	*value = Int16GetDatum((int16) DatumGetInt32(*value));
}

/*
 * Queue a message in the caller's transaction and return its id.  The arguments are
 * those of sms3300_send() but for the first, which may be a number.
 */
static Datum
queue_message(FunctionCallInfo fcinfo, bool is_number)
{
	Datum		values[OUTBOX_CALLER_COLUMNS];
	bool		nulls[OUTBOX_CALLER_COLUMNS];
	bool		inserted;

	for (int i = 0; i < OUTBOX_CALLER_COLUMNS; i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i);
	}
	if (is_number && !nulls[0])
		values[0] = DirectFunctionCall1(sms3300_mobile_number, values[0]);
	narrow_argument(&values[OUTBOX_TYPE - OUTBOX_MOBILE],
					nulls[OUTBOX_TYPE - OUTBOX_MOBILE], input_check_type);
	narrow_argument(&values[OUTBOX_PRIORITY - OUTBOX_MOBILE],
					nulls[OUTBOX_PRIORITY - OUTBOX_MOBILE], input_check_priority);

	PG_RETURN_INT64(outbox_insert(own_namespace(fcinfo), values, nulls, &inserted));
}

/*
 * sms3300_send(mobile text, message, line, line2, type, template, account,
 *              priority, send_after, send_before, dedup_key, metadata)
 */
Datum
sms3300_send(PG_FUNCTION_ARGS)
{
	return queue_message(fcinfo, false);
}

/* The same with a mobile number that is a bigint */
Datum
sms3300_send_number(PG_FUNCTION_ARGS)
{
	return queue_message(fcinfo, true);
}
