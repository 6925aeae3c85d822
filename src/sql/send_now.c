/*
 * send_now.c
 *		Send a message at once, in the caller's session.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "account/input.h"
#include "account/parts.h"
#include "account/request.h"
#include "account/response.h"
#include "account/route.h"
#include "gateway/gateway.h"
#include "outbox/budget.h"
#include "outbox/judge.h"
#include "shared/clock.h"
#include "shared/counters.h"
#include "shared/registry.h"
#include "sql/ask.h"

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

/* Return the verdict on a reply, and what it says. */
static GatewayVerdict
judge(const HttpReply *reply, const char *mobile, const GatewayCodes *codes, GatewayReply *said)
{
	memset(said, 0, sizeof(GatewayReply));
	if (reply->phase == HTTP_DONE)
		gateway_parse_reply(reply->body, reply->body_size, said);
	return gateway_verdict(reply->request_left, reply->status, mobile, said, codes);
}

/* Describe what is wrong with a reply. */
static const char *
problem_of(const HttpReply *reply, const GatewayReply *said, const char *mobile)
{
	if (reply->error || reply->status == 0)
		return psprintf("the gateway did not answer: %s", reply->error);
	if (reply->status < 200 || reply->status >= 300)
		return psprintf("the gateway answered with HTTP status %d", reply->status);
	if (reply->body_size == 0)
		return "the gateway sent an empty reply";
	if (!gateway_is_reply_to(said, mobile))
		return "the gateway's reply is for another recipient";
	if (!said->has_status)
		return "the gateway's reply is not readable";
	return psprintf("the gateway answered with status %d, which does not say whether the message was sent",
					said->status);
}

/*
 * Return a reply as jsonb, or raise an error unless it is one of the gateway.  No driver
 * or pool repeats a statement after an error of class 38; 08001 says that the message was
 * not sent, whatever kept it from being sent.
 */
static Jsonb *
result_of(const HttpReply *reply, GatewayVerdict verdict, const GatewayReply *said, const char *mobile)
{
	Jsonb	   *result = response_as_jsonb(reply);
	bool		is_http = reply->status >= 200 && reply->status < 300;

	if (verdict != VERDICT_UNKNOWN && verdict != VERDICT_NOT_SENT && is_http)
		return result;
	ereport(ERROR,
			(errcode(verdict == VERDICT_UNKNOWN ? ERRCODE_EXTERNAL_ROUTINE_EXCEPTION :
					 ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
			 errmsg("%s", problem_of(reply, said, mobile)),
			 errdetail("%s%s%s",
					   result ? psprintf("Its reply was %s. ", JsonbToCString(NULL, &result->root, VARSIZE(result))) : "",
					   reply->error && reply->request_left ? "The request was sent. " : "",
					   verdict == VERDICT_UNKNOWN ? "The message may have been sent." : "The message was not sent."),
			 verdict == VERDICT_UNKNOWN ?
			 errhint("Look for the message in the gateway's panel before you send it again.") : 0));
	return NULL;				/* keep compilers quiet */
}

/* Count a request and its outcome. */
static void
count(Oid server, GatewayVerdict verdict, int64 took)
{
	static const CounterId outcomes[] = {
		[VERDICT_SENT] = COUNTER_SENT, [VERDICT_REJECTED] = COUNTER_REJECTED,
		[VERDICT_TRANSIENT] = COUNTER_REJECTED, [VERDICT_ACCOUNT] = COUNTER_REJECTED,
		[VERDICT_LINE] = COUNTER_REJECTED, [VERDICT_HOURS] = COUNTER_REJECTED,
		[VERDICT_NOT_SENT] = COUNTER_FAILED, [VERDICT_UNKNOWN] = COUNTER_UNKNOWN
	};

	if (!registry_attached())
		return;
	counters_begin();
	counters_add(server, COUNTER_REQUESTS, 1);
	counters_add_time(server, TIME_REQUEST, took);
	counters_add(server, outcomes[verdict], 1);
	counters_end();
}

/* Have the worker open the account, if it has stopped: a message got through. */
static void
open_account(Oid server)
{
	AccountCounters counted;

	if (!registry_attached() || !counters_read(server, &counted) ||
		!account_has_stopped(counted.live.state))
		return;
	counters_request_retry(server);
	registry_notify(MyDatabaseId, &(NewsAccounts) {.any = true}, DT_NOBEGIN, DT_NOEND);
}

/* Raise 53400 if the account's rate does not allow a message now. */
static void
require_slot(const Account *account)
{
	TimestampTz next;

	if (account->rate > 0 && registry_attached() &&
		!counters_take_slot(account->serverid, account->rate, &next))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("the rate of account \"%s\", %g messages per second, allows no message now",
						account->name, account->rate),
				 errdetail("It allows the next one at %s.", timestamptz_to_str(next))));
}

/* Raise 53400 if the limit of the account is reached, 55000 if another rule forbids the message. */
static void
require_allowed(Oid schema, const Account *account, const RulesMessage *message)
{
	RulesVerdict verdict = judge_message(schema, account, message, GetCurrentTimestamp(), true);

	if (verdict.outcome != RULES_SEND)
		ereport(ERROR,
				(errcode(verdict.rule == RULE_BUDGET ? ERRCODE_CONFIGURATION_LIMIT_EXCEEDED :
						 ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a rule of account \"%s\" forbids the message: %s", account->name, verdict.reason),
				 verdict.until == DT_NOEND ? 0 :
				 errdetail("It will be allowed at %s.", timestamptz_to_str(verdict.until))));
}

/* Say with an error that ends the wait that the request was under way. */
static void
note_request(void *arg)
{
	errcontext("request to the gateway: the message may have been sent");
}

/*
 * Post a request and return the gateway's reply.  A session that is cancelled meanwhile
 * does not know what became of the message.
 */
static Jsonb *
post(Http *http, const HttpRequest *request, const Account *account, const RulesMessage *message)
{
	ErrorContextCallback context = {.previous = error_context_stack, .callback = note_request};
	int64		began = clock_us();
	TimestampTz now = GetCurrentTimestamp();
	volatile GatewayVerdict verdict = VERDICT_UNKNOWN;
	GatewayReply said;
	const HttpReply *volatile reply = NULL;

	/* Another session may have spent the parts that were left. */
	if (!budget_spend(account, now, message->parts.n, true))
	{
		(void) budget_spend(account, now, -message->parts.n, true);
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("account \"%s\" has reached its max_parts_per_day", account->name)));
	}
	PG_TRY();
	{
		error_context_stack = &context;
		reply = ask_gateway(http, request, "Sms3300SendNow");
		error_context_stack = context.previous;
		verdict = judge(reply, message->mobile, &account->codes, &said);
	}
	PG_FINALLY();
	{
		/* What was cancelled counts, unless it is certain that it has not left. */
		if (reply == NULL)
		{
			http_abort_all(http, "it was cancelled");
			reply = http_next(http);
			if (reply)
				verdict = judge(reply, message->mobile, &account->codes, &said);
		}
		count(account->serverid, verdict, clock_us() - began);
		if (verdict != VERDICT_SENT && verdict != VERDICT_UNKNOWN)
			(void) budget_spend(account, now, -message->parts.n, true);
	}
	PG_END_TRY();
	if (verdict == VERDICT_SENT)
		open_account(account->serverid);
	return result_of(reply, verdict, &said, message->mobile);
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
	RulesMessage judged;
	Http	   *http;
	Jsonb	   *volatile result = NULL;

	PreventCommandIfReadOnly("sms3300_send_now()");
	input_require_recipient(mobile == NULL);
	input_require_message(message == NULL, message ? strlen(message) : 0);
	input_require_utf8(message, strlen(message));
	input_require_visible(message, strlen(message));
	mobile = input_mobile(mobile, (int) strlen(mobile));
	route.line = line_argument(fcinfo, 2, "line");
	route.line2 = line_argument(fcinfo, 3, "line2");
	route.type = number_argument(fcinfo, 4, input_check_type);
	route.template = number_argument(fcinfo, 5, input_check_template);
	account = route_account(NameStr(*name));
	judged = (RulesMessage) {
		.mobile = mobile, .route = route, .parts = parts_count(CStringGetTextDatum(message))
	};
	parts_require(judged.parts, account);
	route_check(&route, account);

	if (!registry_enabled)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sending is disabled in this cluster"),
				 errhint("Set sms3300.enabled to on.")));

	require_allowed(get_func_namespace(fcinfo->flinfo->fn_oid), account, &judged);
	require_slot(account);

	http = http_open();
	PG_TRY();
	{
		ask_reserve(http);
		problem = request_compose(account, GetUserId(), mobile, message, &route, &request, &of_sender);
		if (problem)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("account \"%s\" cannot send: %s", account->name, problem)));
		result = post(http, &request, account, &judged);
	}
	PG_FINALLY();
	{
		http_close(http);
	}
	PG_END_TRY();
	PG_RETURN_JSONB_P(result);
}
