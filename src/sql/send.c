/*
 * send.c
 *		Queue, cancel and requeue a message, and adopt the messages of another database.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "utils/lsyscache.h"

#include "account/input.h"
#include "account/route.h"
#include "compat.h"
#include "outbox/callers.h"
#include "shared/wake.h"

PG_FUNCTION_INFO_V1(sms3300_send);
PG_FUNCTION_INFO_V1(sms3300_cancel);
PG_FUNCTION_INFO_V1(sms3300_resend);
PG_FUNCTION_INFO_V1(sms3300_adopt);

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
 * sms3300_send(mobile, message, line, line2, type, template, account,
 *              priority, send_after, send_before, dedup_key, metadata)
 *
 * Queue a message in the caller's transaction and return its id.
 */
Datum
sms3300_send(PG_FUNCTION_ARGS)
{
	Datum		values[OUTBOX_CALLER_COLUMNS];
	bool		nulls[OUTBOX_CALLER_COLUMNS];
	bool		inserted;

	for (int i = 0; i < OUTBOX_CALLER_COLUMNS; i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i);
	}
	narrow_argument(&values[OUTBOX_TYPE - OUTBOX_MOBILE],
					nulls[OUTBOX_TYPE - OUTBOX_MOBILE], input_check_type);
	narrow_argument(&values[OUTBOX_PRIORITY - OUTBOX_MOBILE],
					nulls[OUTBOX_PRIORITY - OUTBOX_MOBILE], input_check_priority);

	PG_RETURN_INT64(outbox_insert(own_namespace(fcinfo), values, nulls, &inserted));
}

/* sms3300_cancel(id): cancel a queued message. */
Datum
sms3300_cancel(PG_FUNCTION_ARGS)
{
	int64		id = PG_GETARG_INT64(0);
	char	   *account;
	bool		redacted;

	if (!outbox_visible(own_namespace(fcinfo), id, &account, &redacted) ||
		!outbox_cancel(own_namespace(fcinfo), id))
		PG_RETURN_BOOL(false);

	/* The worker schedules the deletion and the redaction of finished messages. */
	wake_at_commit(GetCurrentTransactionStartTimestamp(), DT_NOEND);
	PG_RETURN_BOOL(true);
}

/* sms3300_resend(id): queue a finished message again, unless it was sent. */
Datum
sms3300_resend(PG_FUNCTION_ARGS)
{
	int64		id = PG_GETARG_INT64(0);
	char	   *account;
	bool		redacted;

	if (!outbox_visible(own_namespace(fcinfo), id, &account, &redacted))
		PG_RETURN_BOOL(false);
	if (redacted)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("message " INT64_FORMAT " no longer has a text", id),
				 errdetail("The text was removed, for example by the option \"redact_after\" of the account."),
				 errhint("Queue a new message.")));
	route_account(account);
	if (!outbox_requeue(own_namespace(fcinfo), id))
		PG_RETURN_BOOL(false);
	wake_for_anything();
	PG_RETURN_BOOL(true);
}

/* sms3300_adopt(): take over the queued messages of other databases. */
Datum
sms3300_adopt(PG_FUNCTION_ARGS)
{
	int64		adopted = outbox_adopt(own_namespace(fcinfo));

	wake_for_anything();
	PG_RETURN_INT64(adopted);
}
