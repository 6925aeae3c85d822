/*
 * send_now.c
 *		Send a message at once, in the caller's session.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "account/input.h"
#include "account/request.h"
#include "account/response.h"
#include "account/route.h"
#include "account/rules.h"
#include "compat.h"
#include "net/http.h"
#include "shared/armed.h"
#include "shared/registry.h"

PG_FUNCTION_INFO_V1(sms3300_send_now);

/* Return a text argument as a string, NULL if it is null. */
static char *
text_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

/* Return a line argument in its canonical form, NULL if it is null. */
static char *
line_argument(FunctionCallInfo fcinfo, int n, const char *name)
{
	char	   *line = text_argument(fcinfo, n);

	return line ? input_line(line, (int) strlen(line), name) : NULL;
}

/* Check an integer argument and return it, ROUTE_NONE if it is null. */
static int
number_argument(FunctionCallInfo fcinfo, int n, void (*check) (int))
{
	if (PG_ARGISNULL(n))
		return ROUTE_NONE;
	check(PG_GETARG_INT32(n));
	return PG_GETARG_INT32(n);
}

/* Wait for the reply, subject to cancellation and statement_timeout. */
static const HttpReply *
await_reply(Http *http)
{
	uint32		wait_event = wait_event_named("Sms3300SendNow");
	const HttpReply *reply;

	while ((reply = http_next(http)) == NULL)
	{
		http_wait(http, -1, wait_event);
		CHECK_FOR_INTERRUPTS();
	}
	return reply;
}

/* Return a reply as jsonb, or raise an error that says whether the message may have been sent. */
static Jsonb *
result_of(const HttpReply *reply)
{
	Jsonb	   *result = response_as_jsonb(reply);

	if (reply->error || reply->status == 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("the gateway did not answer: %s", reply->error),
				 reply->request_left ?
				 errdetail("The request was sent. The message may have been sent.") :
				 errdetail("The request was not sent. The message was not sent.")));
	if (reply->status < 200 || reply->status >= 300)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("the gateway answered with HTTP status %d", reply->status),
				 errdetail("Its reply was %s.%s",
						   result ? JsonbToCString(NULL, &result->root, VARSIZE(result)) : "empty",
						   reply->status >= 500 && reply->status != 503 ?
						   " The message may have been sent." : "")));
	if (result == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("the gateway sent an empty reply"),
				 errdetail("The message may have been sent.")));
	return result;
}

/* Raise 55000 if a rule of the account forbids the message. */
static void
require_allowed(const Account *account, const char *mobile)
{
	RulesMessage message = {.mobile = mobile};
	RulesFacts	facts = {.armed = is_armed()};
	RulesVerdict verdict = rules_judge(&message, account, &facts);

	if (verdict.outcome != RULES_SEND)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a rule of account \"%s\" forbids the message: %s", account->name, verdict.reason)));
}

/*
 * sms3300_send_now(mobile, message, line, line2, type, template, account)
 *
 * Send a message at once and return the gateway's reply.  Nothing is queued or
 * retried, and a rollback does not unsend the message.
 */
Datum
sms3300_send_now(PG_FUNCTION_ARGS)
{
	char	   *mobile = text_argument(fcinfo, 0);
	char	   *message = text_argument(fcinfo, 1);
	Name		name = PG_ARGISNULL(6) ?
		DatumGetName(DirectFunctionCall1(namein, CStringGetDatum(account_default_name))) :
		PG_GETARG_NAME(6);
	const Account *account;
	Route		route;
	HttpRequest request;
	const char *problem;
	bool		of_sender;
	Http	   *http;
	Jsonb	   *volatile result = NULL;

	input_require_recipient(mobile == NULL);
	input_require_message(message == NULL, message ? strlen(message) : 0);
	input_require_utf8(message, strlen(message));
	mobile = input_mobile(mobile, (int) strlen(mobile));
	route.line = line_argument(fcinfo, 2, "line");
	route.line2 = line_argument(fcinfo, 3, "line2");
	route.type = number_argument(fcinfo, 4, input_check_type);
	route.template = number_argument(fcinfo, 5, input_check_template);
	account = route_account(NameStr(*name));
	route_check(&route, account);

	if (!registry_enabled)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sending is disabled in this cluster"),
				 errhint("Set sms3300.enabled to on.")));

	require_allowed(account, mobile);

	http = http_open();
	PG_TRY();
	{
		if (http_reserve(http, 0, 0, 1) < 1)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
					 errmsg("too many open files in this session")));
		problem = request_compose(account, GetUserId(), mobile, message, &route, &request, &of_sender);
		if (problem)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("account \"%s\" cannot send: %s", account->name, problem)));
		http_submit(http, &request);
		result = result_of(await_reply(http));
	}
	PG_FINALLY();
	{
		http_close(http);
	}
	PG_END_TRY();
	PG_RETURN_JSONB_P(result);
}
