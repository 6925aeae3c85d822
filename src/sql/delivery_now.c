/*
 * delivery_now.c
 *		Ask the gateway for the delivery state of one message, in the caller's session.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "account/request.h"
#include "account/response.h"
#include "account/route.h"
#include "outbox/callers.h"
#include "outbox/commands.h"
#include "sql/ask.h"

PG_FUNCTION_INFO_V1(sms3300_delivery_now);

/* Raise 55000 unless a message has an id at the gateway. */
static void
require_sent(int64 id, const OutboxRow *row)
{
	if (row->status != STATUS_SENT || !row->has_message_id)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("message " INT64_FORMAT " has no delivery state", id),
				 row->status == STATUS_SENT ?
				 errdetail("The gateway accepted it without giving it a number.") :
				 errdetail("Its status is \"%s\".", status_label(row->status)),
				 errhint("Only a message with status \"sent\" and a message_id can be asked for.")));
}

/*
 * Return the account of a message, which its sender must still be allowed to use; raise
 * an error if delivery states cannot be asked for.
 */
static const Account *
require_account(const char *name, Oid sender)
{
	const Account *account = route_account_of(name, OidIsValid(sender) ? sender : GetUserId());

	if (account->delivery_url == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("account \"%s\" has no URL for delivery states", name),
				 errdetail("Its \"url\" does not end with wsSend.ashx."),
				 errhint("Use ALTER SERVER ... OPTIONS (ADD delivery_url '...').")));
	return account;
}

/* Return a reply as jsonb, or raise an error. */
static Jsonb *
result_of(const HttpReply *reply)
{
	Jsonb	   *result = response_as_jsonb(reply);

	if (reply->error || reply->status == 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("the gateway did not answer: %s", reply->error)));
	if (reply->status < 200 || reply->status >= 300)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("the gateway answered with HTTP status %d", reply->status),
				 errdetail("Its reply was %s.",
						   result ? JsonbToCString(NULL, &result->root, VARSIZE(result)) : "empty")));
	if (result == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("the gateway sent an empty reply")));
	return result;
}

/*
 * sms3300_delivery_now(id)
 *
 * Ask the gateway for the delivery state of a message with the mapping that sent it, and
 * return the reply as it is.  Returns NULL for a message that the caller does not see.
 */
Datum
sms3300_delivery_now(PG_FUNCTION_ARGS)
{
	Oid			namespace = get_func_namespace(fcinfo->flinfo->fn_oid);
	int64		id = PG_GETARG_INT64(0);
	Target		target;
	OutboxRow	row;
	Oid			sender;
	const Account *account;
	HttpRequest request;
	const char *problem;
	Http	   *http;
	Jsonb	   *volatile result = NULL;

	if (!target_find(namespace, id, &target))
		PG_RETURN_NULL();
	target_require(namespace, id, &target);
	if (!outbox_read(namespace, id, &row))
		PG_RETURN_NULL();
	require_sent(id, &row);
	sender = get_role_oid(row.sender, true);
	account = require_account(row.account, sender);

	http = http_open();
	PG_TRY();
	{
		ask_reserve(http);
		problem = request_compose_states(account, sender,
										 psprintf(INT64_FORMAT, row.message_id), &request);
		if (problem)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("account \"%s\" cannot ask: %s", account->name, problem)));
		result = result_of(ask_gateway(http, &request, "Sms3300DeliveryNow"));
	}
	PG_FINALLY();
	{
		http_close(http);
	}
	PG_END_TRY();
	PG_RETURN_JSONB_P(result);
}
