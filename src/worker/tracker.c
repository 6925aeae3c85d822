/*
 * tracker.c
 *		Ask the gateway for delivery states, and record what it says.
 *
 * A worker makes one such request at a time, never before a message that waits to be
 * sent.  A request that is lost, or whose reply is, does no harm: the message is asked for
 * again at its next look.  A look that learns nothing writes nothing.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "account/delivery.h"
#include "account/request.h"
#include "outbox/delivery.h"
#include "text/clip.h"
#include "worker/queue.h"
#include "worker/tracker.h"
#include "worker/upkeep.h"
#include "worker/transaction.h"

/* The request under way. */
static struct
{
	AccountQueue *queue;		/* held */
	uint64		version;		/* of the account; the looks are gone if it has changed */
	int			nlooks;			/* the first ones of its tracking */
}			asked;

/* -------------------------------------------------------------------------
 * Asking
 * ------------------------------------------------------------------------- */

/* A transaction that finds what to ask for. */
typedef struct Asking
{
	AccountQueue *queue;
	Look		passed[TRACKING_WINDOW];	/* those that have passed their last look */
	int			npassed;
	DeliveryResult *results;	/* of them */
	int			nlooks;			/* in the request; 0: there is none */
	HttpRequest request;
} Asking;

/* Count what was written, after the commit. */
static void
count_results(Oid server, const DeliveryResult *results, int nresults)
{
	static const CounterId counters[NUM_DELIVERY_STATES] = {
		[DELIVERY_DELIVERED] = COUNTER_DELIVERED,
		[DELIVERY_UNDELIVERED] = COUNTER_UNDELIVERED,
		[DELIVERY_UNCONFIRMED] = COUNTER_UNCONFIRMED
	};

	if (nresults == 0)
		return;
	counters_begin();
	for (int i = 0; i < nresults; i++)
		if (results[i].written)
			counters_add(server, counters[results[i].state], 1);
	counters_end();
}

/* Record that messages have passed their last look. */
static void
record_passed(Asking *asking)
{
	if (asking->npassed == 0)
		return;
	asking->results = palloc0(sizeof(DeliveryResult) * asking->npassed);
	for (int i = 0; i < asking->npassed; i++)
		asking->results[i] = (DeliveryResult) {
			.id = asking->passed[i].id, .message_id = asking->passed[i].message_id,
			.state = DELIVERY_UNCONFIRMED
		};
	transaction_limit_triggers();
	delivery_record(asking->queue->name, asking->results, asking->npassed);
	transaction_unlimit_triggers();
}

/* Transaction body: find what is due, and compose a request for it. */
static void
ask_body(OutboxAccess access, void *arg)
{
	Asking	   *asking = arg;
	AccountQueue *queue = asking->queue;
	const Account *account = account_find(queue->name);
	Tracking   *tracking = queue->tracking;
	TimestampTz now = GetCurrentTimestamp();
	StringInfoData ids;
	int			n;

	asking->nlooks = asking->npassed = 0;
	if (access == OUTBOX_NEWER || account == NULL || account->version != tracking->version)
		return;
	asking->npassed = tracking_find(tracking, account, now, asking->passed);
	record_passed(asking);
	if (tracking->nlooks == 0 || tracking->not_before > now)
		return;

	n = tracking_group(tracking);
	initStringInfo(&ids);
	for (int i = 0; i < n; i++)
		appendStringInfo(&ids, "%s" INT64_FORMAT, i > 0 ? "," : "", tracking->looks[i].message_id);
	if (request_compose_states(account, tracking->looks[0].role, ids.data, &asking->request) == NULL)
		asking->nlooks = n;
	else
	{
		request_discard(&asking->request);
		tracking_refused(tracking, now);
	}
}

/* Make the next request of an account, if there is anything to ask for. */
static void
ask(AccountQueue *queue, Wire *wire)
{
	static bool triggers_off = false;	/* the last transaction failed, maybe for a trigger */
	Asking	   *asking = palloc0(sizeof(Asking));
	TransactionError error;
	TransactionOutcome outcome;

	asking->queue = queue;
	outcome = transaction_run(triggers_off ? TRANSACTION_TRIGGERS_OFF : 0, ask_body, asking, &error);
	triggers_off = outcome == TRANSACTION_FAILED && !triggers_off;
	if (outcome != TRANSACTION_DONE)
	{
		request_discard(&asking->request);
		tracking_undo(queue->tracking, queue->serverid, GetCurrentTimestamp());
		return;
	}
	count_results(queue->serverid, asking->results, asking->npassed);
	if (asking->nlooks == 0)
	{
		tracking_done(queue->tracking, 0, queue->serverid);
		return;
	}
	asked.queue = queue;
	asked.version = queue->tracking->version;
	asked.nlooks = asking->nlooks;
	queue_hold(queue);
	wire_ask(wire, &asking->request);
}

/* -------------------------------------------------------------------------
 * The reply
 * ------------------------------------------------------------------------- */

/* What a reply is good for. */
typedef enum AnswerUse
{
	USE_READ,					/* it says states */
	USE_LATER,					/* the gateway is busy */
	USE_REFUSED,				/* the account may not ask */
	USE_NONE
} AnswerUse;

/* A transaction that records a reply. */
typedef struct Answering
{
	AccountQueue *queue;
	const HttpReply *reply;
	AnswerUse	use;
	const char *problem;
	GatewayState states[GATEWAY_MAX_STATES];
	DeliveryResult results[GATEWAY_MAX_STATES];
	int			nresults;
} Answering;

/* Read the reply. */
static void
read_answer(Answering *answering, const Account *account)
{
	const HttpReply *reply = answering->reply;
	int32		code = 0;
	GatewayAnswer answer;

	answering->use = USE_NONE;
	if (reply->error || reply->status < 200 || reply->status >= 300)
	{
		answering->problem = reply->error ? pstrdup(reply->error) :
			psprintf("HTTP status %d", reply->status);
		return;
	}
	answer = delivery_read(&account->delivery, reply, answering->states, asked.nlooks, &code);
	if (answer == ANSWER_READ)
		answering->use = USE_READ;
	else if (answer == ANSWER_UNREADABLE)
		answering->problem = "the reply is not understood";
	else
	{
		GatewayVerdict verdict = gateway_codes_verdict(&account->codes, code);

		answering->use = verdict == VERDICT_TRANSIENT ? USE_LATER :
			verdict == VERDICT_ACCOUNT ? USE_REFUSED : USE_NONE;
		answering->problem = psprintf("the gateway answered with status %d", code);
	}
}

/* Add what a reply means for a message, if that is anything. */
static void
add_result(Answering *answering, const Account *account, const Look *look, const GatewayState *state)
{
	bool		answered = answering->use == USE_READ && state->answered;
	GatewayVerdict verdict = answered ?
		gateway_codes_verdict(&account->delivery.codes, state->state) : VERDICT_UNKNOWN;
	DeliveryResult *result = &answering->results[answering->nresults];

	if (verdict != VERDICT_SENT && verdict != VERDICT_REJECTED && !look->last)
		return;
	*result = (DeliveryResult) {
		.id = look->id, .message_id = look->message_id, .has_code = answered, .code = state->state,
		.state = verdict == VERDICT_SENT ? DELIVERY_DELIVERED :
			verdict == VERDICT_REJECTED ? DELIVERY_UNDELIVERED : DELIVERY_UNCONFIRMED
	};
	answering->nresults++;
}

/* Transaction body: read the reply, and record what it says. */
static void
answer_body(OutboxAccess access, void *arg)
{
	Answering  *answering = arg;
	const Account *account = account_find(answering->queue->name);
	const Tracking *tracking = answering->queue->tracking;

	answering->nresults = 0;
	answering->use = USE_NONE;
	answering->problem = NULL;
	if (access == OUTBOX_NEWER || account == NULL || tracking == NULL ||
		tracking->version != asked.version || account->version != asked.version)
		return;
	for (int i = 0; i < asked.nlooks; i++)
		answering->states[i] = (GatewayState) {.id = tracking->looks[i].message_id};

	/* The account's own expressions take time, too. */
	transaction_limit_triggers();
	read_answer(answering, account);
	if (answering->use != USE_LATER && answering->use != USE_REFUSED)
		for (int i = 0; i < asked.nlooks; i++)
			add_result(answering, account, &tracking->looks[i], &answering->states[i]);
	if (answering->nresults > 0)
		delivery_record(answering->queue->name, answering->results, answering->nresults);
	transaction_unlimit_triggers();
}

/* Note the problem of an account, and log it once. */
static void
note_problem(AccountQueue *queue, const char *problem)
{
	Tracking   *tracking = queue->tracking;

	clip_text(tracking->problem, problem, sizeof(tracking->problem));
	if (!tracking->told)
		ereport(LOG,
				(errmsg("sms3300: account \"%s\" learns no delivery states: %s", queue->name, problem),
				 errdetail("Sending goes on. The worker asks again at increasing intervals."),
				 errhint("See what the gateway answers with sms3300_delivery_now().")));
	tracking->told = true;
}

/* Schedule what comes after a reply. */
static void
settle_answer(Answering *answering)
{
	AccountQueue *queue = answering->queue;
	Tracking   *tracking = queue->tracking;
	TimestampTz now = GetCurrentTimestamp();
	int			made = 0;

	if (tracking == NULL || tracking->version != asked.version)
		return;
	switch (answering->use)
	{
		case USE_READ:
			made = asked.nlooks;
			tracking_succeeded(tracking, now);
			break;
		case USE_LATER:
			tracking_wait(tracking, now);
			break;
		case USE_REFUSED:
			tracking_refused(tracking, now);
			break;
		case USE_NONE:
			made = tracking_given_up(tracking, asked.nlooks);
			tracking_failed(tracking, now);
			break;
	}
	if (answering->problem && answering->use != USE_LATER)
		note_problem(queue, answering->problem);
	tracking_done(tracking, made, queue->serverid);
	counters_begin();
	counters_set_delivery_problem(queue->serverid, tracking->problem);
	counters_end();
}

/* Record the reply that has come. */
static void
answer(Wire *wire)
{
	Answering  *answering = palloc0(sizeof(Answering));
	TransactionError error;
	TransactionOutcome outcome;

	answering->queue = asked.queue;
	answering->reply = wire->answer;
	outcome = transaction_run(0, answer_body, answering, &error);
	if (outcome == TRANSACTION_FAILED && transaction_may_disable_triggers(&error))
		outcome = transaction_run(TRANSACTION_TRIGGERS_OFF, answer_body, answering, &error);
	if (outcome == TRANSACTION_DONE)
		count_results(asked.queue->serverid, answering->results, answering->nresults);
	settle_answer(answering);
	wire_release_answer(wire);
	queue_release(asked.queue);
	asked.queue = NULL;
}

/* -------------------------------------------------------------------------
 * The time of the next look
 * ------------------------------------------------------------------------- */

TimestampTz
tracker_next(Wire *wire)
{
	AccountQueue *queue;

	if (wire->answer)
		return DT_NOBEGIN;
	queue = wire->asking ? NULL : queues_to_track();
	if (queue == NULL || wire_room(wire, 0, 0, 1) < 1)
		return DT_NOEND;
	return tracking_next(queue->tracking);
}

void
tracker_run(Wire *wire)
{
	if (wire->answer)
		answer(wire);
	else
		ask(queues_to_track(), wire);
}
