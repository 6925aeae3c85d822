/*
 * command.c
 *		Cancel, resend and resolve messages, and adopt those of another database.
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "account/route.h"
#include "compat.h"
#include "outbox/commands.h"
#include "outbox/tell.h"
#include "shared/wake.h"

/* The longest note, in characters */
#define MAX_NOTE 1000

PG_FUNCTION_INFO_V1(sms3300_cancel);
PG_FUNCTION_INFO_V1(sms3300_resend);
PG_FUNCTION_INFO_V1(sms3300_cancel_many);
PG_FUNCTION_INFO_V1(sms3300_resend_many);
PG_FUNCTION_INFO_V1(sms3300_resolve);
PG_FUNCTION_INFO_V1(sms3300_adopt);

/* Return the schema of the calling function, which is also that of the table. */
static Oid
own_namespace(FunctionCallInfo fcinfo)
{
	return get_func_namespace(fcinfo->flinfo->fn_oid);
}

/*
 * Find a message that the caller commands.  Returns false if the caller does not
 * see it, and raises 42501 for one that the caller only sees.
 */
static bool
find_own(FunctionCallInfo fcinfo, int64 id, Target *target)
{
	if (!target_find(own_namespace(fcinfo), id, target))
		return false;
	target_require(own_namespace(fcinfo), id, target);
	return true;
}

/* sms3300_cancel(id): cancel a queued message. */
Datum
sms3300_cancel(PG_FUNCTION_ARGS)
{
	int64		id = PG_GETARG_INT64(0);
	Target		target;

	if (!find_own(fcinfo, id, &target) || !outbox_cancel(own_namespace(fcinfo), id))
		PG_RETURN_BOOL(false);

	tell_send();
	PG_RETURN_BOOL(true);
}

/* sms3300_cancel_many(ids): cancel those of many messages that are queued and the caller's. */
Datum
sms3300_cancel_many(PG_FUNCTION_ARGS)
{
	List	   *found = targets_find(own_namespace(fcinfo), PG_GETARG_DATUM(0));
	int64		cancelled = outbox_cancel_many(own_namespace(fcinfo), found);

	tell_send();
	PG_RETURN_INT64(cancelled);
}

/* Raise an error unless the sender of a message may still send with its account. */
static void
require_sender(int64 id, const Target *target)
{
	Oid			sender = get_role_oid(target->sender, true);

	if (!OidIsValid(sender))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to resend message " INT64_FORMAT, id),
				 errdetail("Role \"%s\", which queued it, does not exist.", target->sender),
				 errhint("Queue a new message.")));
	route_account_of(target->account, sender);
}

/* sms3300_resend(id): queue a finished message again, unless it was sent. */
Datum
sms3300_resend(PG_FUNCTION_ARGS)
{
	int64		id = PG_GETARG_INT64(0);
	Target		target;

	if (!find_own(fcinfo, id, &target))
		PG_RETURN_BOOL(false);
	if (target.redacted)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("message " INT64_FORMAT " no longer has a text", id),
				 errdetail("The text was removed, for example by the option \"redact_after\" of the account."),
				 errhint("Queue a new message.")));
	require_sender(id, &target);
	PG_RETURN_BOOL(outbox_requeue(own_namespace(fcinfo), id));
}

/*
 * sms3300_resend_many(ids): queue those of many messages again that are finished and the
 * caller's, unless they were sent, have no text, or their sender may not send any more.
 */
Datum
sms3300_resend_many(PG_FUNCTION_ARGS)
{
	List	   *found = targets_find(own_namespace(fcinfo), PG_GETARG_DATUM(0));
	List	   *allowed = NIL;
	ListCell   *cell;

	foreach(cell, found)
	{
		Targets    *targets = lfirst(cell);
		Oid			sender = get_role_oid(targets->sender, true);

		if (OidIsValid(sender) && route_may_send(targets->account, sender))
			allowed = lappend(allowed, targets);
	}
	PG_RETURN_INT64(outbox_requeue_many(own_namespace(fcinfo), allowed));
}

/* Return a note, which becomes a part of "events" and so must not be long. */
static const char *
note_argument(FunctionCallInfo fcinfo, int n)
{
	const char *note = PG_ARGISNULL(n) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(n));
	int			length = pg_mbstrlen(note);

	if (length > MAX_NOTE)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				 errmsg("\"note\" is too long"),
				 errdetail("It has %d characters, and at most %d are allowed.", length, MAX_NOTE),
				 errhint("Say in a few words what was found out.")));
	return note;
}

/* sms3300_resolve(id, was_sent, note): settle an unknown message by what a person has found out. */
Datum
sms3300_resolve(PG_FUNCTION_ARGS)
{
	const char *note = note_argument(fcinfo, 2);
	int64		id;
	Target		target;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	id = PG_GETARG_INT64(0);
	if (!find_own(fcinfo, id, &target) ||
		!outbox_resolve(own_namespace(fcinfo), id, PG_GETARG_BOOL(1), note))
		PG_RETURN_BOOL(false);
	tell_status(target.account, id, PG_GETARG_BOOL(1) ? STATUS_SENT : STATUS_FAILED);
	tell_send();
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
