/*
 * explain.c
 *		sms3300_explain(): say why a message has its status and what it waits for.
 *
 * The obstacles are checked in the order in which they have to be removed.  The
 * first one found is the answer.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/procarray.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "account/credentials.h"
#include "compat.h"
#include "gateway/gateway.h"
#include "outbox/access.h"
#include "outbox/callers.h"
#include "outbox/judge.h"
#include "outbox/locks.h"
#include "outbox/opt_out.h"
#include "shared/counters.h"
#include "shared/armed.h"
#include "shared/mappings.h"
#include "shared/registry.h"
#include "shared/stuck.h"

PG_FUNCTION_INFO_V1(sms3300_explain);

/* Messages ahead of a message are counted up to this number. */
#define MAX_BEFORE 10000

/* A queued message and what is known about it. */
typedef struct Question
{
	Oid			namespace;
	int64		id;
	const OutboxRow *row;
	const Account *account;		/* NULL: does not exist */
	TimestampTz now;
	WorkerStat	worker;
	AccountCounters counted;
} Question;

/* Format a time in the session's time zone, truncated to the second. */
static const char *
show(TimestampTz time)
{
	if (!TIMESTAMP_NOT_FINITE(time))
		time -= ((time % USECS_PER_SEC) + USECS_PER_SEC) % USECS_PER_SEC;
	return DatumGetCString(DirectFunctionCall1(timestamptz_out, TimestampTzGetDatum(time)));
}

/* Return the number of requests made as a phrase. */
static const char *
attempts(const OutboxRow *row)
{
	return row->attempts == 1 ? "1 attempt" : psprintf("%d attempts", row->attempts);
}

/* Return the number of messages ahead of this one as a phrase. */
static const char *
others_before(const Question *question)
{
	int64		n = outbox_count_before(question->namespace, question->id, question->row,
										MAX_BEFORE + 1);

	if (n == 0)
		return "it is next in the queue";
	if (n > MAX_BEFORE)
		return psprintf("more than %d messages are ahead of it", MAX_BEFORE);
	return n == 1 ? "1 message is ahead of it" : psprintf(INT64_FORMAT " messages are ahead of it", n);
}

/* Return what keeps all messages of this database from being sent, or NULL. */
static const char *
database_obstacle(const Question *question)
{
	const char *mismatch = extension_mismatch(EXTENSION_NEWER);

	if (RecoveryInProgress())
		return "this server is a standby, which sends nothing";
	if (!registry_attached())
		return "nothing is sent, because sms3300 is not preloaded: "
			"add it to shared_preload_libraries and restart the server";
	if (mismatch)
		return psprintf("nothing is sent, because %s: restart the server", mismatch);
	if (!registry_enabled)
		return "sending is disabled in the whole cluster: sms3300.enabled is off";
	if (!is_armed())
		return "nothing is sent from this server, because " NOT_ARMED;
	return NULL;
}

/* Return what has to be changed about the account first, or NULL. */
static const char *
account_obstacle(const Question *question)
{
	const OutboxRow *row = question->row;
	const char *name = quote_identifier(row->account);
	Credentials credentials;
	const char *problem;

	if (question->account == NULL)
		return psprintf("its account %s does not exist: create the server, or cancel the message",
						name);
	if (question->account->unreadable)
		return psprintf("its account %s is paused: %s", name, question->account->unreadable);
	if (question->account->paused)
		return psprintf("its account %s is paused: ALTER SERVER %s OPTIONS (SET paused 'false')",
						name, name);
	problem = credentials_read(question->account, get_role_oid(row->sender, true), &credentials);
	credentials_forget(&credentials);
	if (problem)
		return psprintf("its account %s cannot be used for sender %s: %s",
						name, quote_identifier(row->sender), problem);
	return NULL;
}

/* Return whether a message waits for a retry rather than for its first attempt. */
static bool
is_retry(const OutboxRow *row)
{
	return row->due_at != row->send_after && row->last_failure != NULL;
}

/* Return which of the message's own times keeps it from being sent, or NULL. */
static const char *
time_obstacle(const Question *question)
{
	const OutboxRow *row = question->row;

	if (row->send_before <= question->now)
		return psprintf("its deadline (%s) has passed; it will be marked expired", show(row->send_before));
	if (row->due_at > question->now && !is_retry(row))
		return psprintf("it is scheduled for %s", show(row->due_at));
	return NULL;
}

/* Return what becomes of a message that a rule forbids until a time. */
static const char *
until_allowed(const OutboxRow *row, TimestampTz until)
{
	if (row->send_before <= until)
		return psprintf("it will expire at %s, before it may be sent (%s)",
						show(row->send_before), show(until));
	return psprintf("it may be sent from %s on", show(until));
}

/* Return which rule of the account forbids the message, or NULL. */
static const char *
rule_obstacle(const Question *question)
{
	const OutboxRow *row = question->row;
	RulesMessage message = {
		.mobile = row->mobile, .route = {row->line, row->line2, row->type, ROUTE_NONE},
		.priority = row->priority, .parts = row->parts
	};
	TimestampTz when = Max(question->now, row->due_at);
	RulesVerdict verdict;

	if (row->send_before <= question->now)
		return NULL;
	if (opt_out_is_locked(question->namespace))
	{
		LockHolder	holder = locks_find_table_holder(question->namespace);

		return psprintf("%s is locked by %s: nothing is sent until that transaction ends",
						holder.table, locks_name_holder(&holder));
	}
	verdict = judge_message(question->namespace, question->account, &message, when, true);
	if (verdict.outcome == RULES_FAIL)
		return psprintf("it will fail: %s", verdict.reason);
	if (verdict.outcome == RULES_SUPPRESS)
		return psprintf("it will be suppressed: %s", verdict.reason);
	if (verdict.outcome == RULES_WAIT && verdict.until != DT_NOEND)
		return psprintf("%s%s; %s", when > question->now ? psprintf("it is due at %s, when ", show(when)) : "",
						verdict.reason, until_allowed(row, verdict.until));
	return NULL;
}

/* Return why the worker has stopped the user mapping that the message is sent with, or NULL. */
static const char *
mapping_stop(const Question *question)
{
	Oid			server = question->account->serverid;
	Oid			user = get_role_oid(question->row->sender, true);
	MappingState mapping;

	credentials_role(server, &user);
	if (!registry_attached() || !mappings_read(server, user, &mapping) ||
		!account_has_stopped(mapping.live.state))
		return NULL;
	return psprintf("its account %s has stopped for the user mapping %s: %s; %s; %s",
					quote_identifier(question->account->name),
					OidIsValid(user) ? psprintf("of role %s", quote_identifier(question->row->sender)) :
					"for PUBLIC", mapping.reason,
					mapping.live.probe_at ? psprintf("next probe at %s", show(mapping.live.probe_at)) :
					"a probe is in progress", others_before(question));
}

/* Return why the worker has stopped the account, or NULL. */
static const char *
stop_obstacle(const Question *question)
{
	const LiveState *live = &question->counted.live;

	if (!account_has_stopped(live->state) || live->of_mapping)
	{
		const char *of_mapping = mapping_stop(question);

		if (of_mapping || !account_has_stopped(live->state) || question->account->nmappings > 1)
			return of_mapping;
	}
	return psprintf("its account %s has stopped: %s; %s; %s",
					quote_identifier(question->account->name), question->counted.reason,
					live->probe_at ? psprintf("next probe at %s", show(live->probe_at)) :
					"a probe is in progress", others_before(question));
}

/* Return what a message that has been tried waits for, or NULL if it is due. */
static const char *
retry_obstacle(const Question *question)
{
	const OutboxRow *row = question->row;

	if (row->due_at <= question->now)
		return NULL;
	return psprintf("it will be retried at %s, after %s; the last error was: %s",
					show(row->due_at), attempts(row), row->last_failure);
}

/* Return the lock of another session that keeps a message from being sent or recorded, or NULL. */
static const char *
locked_by(Oid namespace, int64 id, const OutboxRow *row, const WorkerStat *worker)
{
	const Obstruction *obstruction = &worker->obstruction;
	bool		of_table = obstruction->message == 0;
	LockHolder	holder;

	if (obstruction->since == 0 ||
		!(of_table || obstruction->message == id || obstruction->xid == row->xmax) ||
		!(of_table || TransactionIdIsInProgress(obstruction->xid)))
		return NULL;
	holder = of_table ? locks_find_table_holder(namespace) : locks_find_row_holder(obstruction->xid);
	return psprintf("%s has been locked by %s since %s", of_table ? holder.table : "its row",
					locks_name_holder(&holder), show(obstruction->since));
}

/* Return which lock the worker waits for, or NULL. */
static const char *
lock_obstacle(const Question *question)
{
	const char *lock = locked_by(question->namespace, question->id, question->row, &question->worker);

	return lock ? psprintf("%s: it is sent when that transaction ends", lock) : NULL;
}

/* Return why no worker is sending for this database, or NULL. */
static const char *
worker_obstacle(const Question *question)
{
	const WorkerStat *worker = &question->worker;

	switch (worker->state)
	{
		case WORKER_RUNNING:
		case WORKER_BLOCKED:
			return NULL;
		case WORKER_STARTING:
			return "the worker of this database is starting";
		case WORKER_RESTARTING:
			return psprintf("the worker of this database has ended and will restart at %s",
							show(worker->not_before));
		case WORKER_WAITING:
			if (worker->refused)
				return "no background worker slot is free: raise max_worker_processes "
					"and restart the server";
			return psprintf("all %d workers are in use by other databases: "
							"raise sms3300.max_workers and restart the server",
							registry_max_workers);
		case WORKER_NONE:
			break;
	}
	return "no worker was notified of it, as its row was written with triggers disabled: "
		"queuing another message wakes one";
}

/*
 * Return the worker's last error if it came while the message was due, or NULL.  It may hold
 * what a trigger says of another message, so not everyone sees its text.
 */
static const char *
error_while_due(const Question *question)
{
	const WorkerStat *worker = &question->worker;

	if (worker->last_error_at <= question->row->due_at)
		return NULL;
	return psprintf("the worker tries again after an error at %s%s", show(worker->last_error_at),
					has_privs_of_role(GetUserId(), ROLE_PG_MONITOR) ?
					psprintf(": %s", worker->last_error) : ", which members of pg_monitor see in sms3300_stat_worker");
}

/* Return what the message waits for if there is no obstacle. */
static const char *
turn(const Question *question)
{
	const Account *account = question->account;
	const LiveState *live = &question->counted.live;
	const char *name = quote_identifier(account->name);
	const char *before = others_before(question);
	const char *error = error_while_due(question);

	if (live->in_flight >= account->max_in_flight)
		return psprintf("%s, and all %d requests of account %s are on the wire",
						before, account->max_in_flight, name);
	if (account->rate > 0)
		return psprintf("it waits for the rate limit of account %s, %g messages per second; %s%s%s",
						name, account->rate, before, error ? "; " : "", error ? error : "");
	if (error)
		return psprintf("%s; %s", before, error);
	return psprintf("%s, and will be sent shortly unless a transaction has locked it", before);
}

/* Explain a message that is queued. */
static const char *
explain_queued(Question *question)
{
	static const char *(*const obstacles[]) (const Question *) = {
		database_obstacle, account_obstacle, rule_obstacle, time_obstacle, stop_obstacle, retry_obstacle,
		worker_obstacle, lock_obstacle, turn
	};
	const char *obstacle = NULL;

	if (question->row->origin != outbox_origin())
		return "it was restored or queued in another database and is not sent: "
			"sms3300_adopt() takes over all such messages";

	question->account = account_find(question->row->account);
	if (registry_attached())
		registry_worker_stat(MyDatabaseId, &question->worker);
	if (registry_attached() && question->account)
		counters_read(question->account->serverid, &question->counted);

	for (size_t i = 0; obstacle == NULL && i < lengthof(obstacles); i++)
		obstacle = obstacles[i] (question);
	return obstacle;
}

/* Explain a message whose request is on the wire. */
static const char *
explain_sending(const Question *question)
{
	const OutboxRow *row = question->row;
	WorkerStat	worker = {0};
	StuckResult stuck;
	const char *lock;
	const char *since = psprintf("being sent since %s, attempt %d",
								 show(row->started_at), row->attempts);

	if (stuck_find(question->id, row->started_at, &stuck))
		return psprintf("its reply came, %s, but cannot be recorded since %s: %s; the worker retries until it succeeds",
						stuck.verdict == VERDICT_SENT ? "the gateway accepted it" : stuck.reason,
						show(stuck.since), stuck.obstacle);
	if (row->origin != outbox_origin())
		return psprintf("%s, in the database that this one was copied from: "
						"sms3300_adopt() marks it unknown here", since);
	if (registry_attached())
		registry_worker_stat(MyDatabaseId, &worker);
	if (worker.pid == 0)
		return psprintf("%s, but no worker is running: "
						"the next one treats it as possibly sent", since);
	lock = locked_by(question->namespace, question->id, row, &worker);
	return lock ? psprintf("%s; %s: a reply is recorded when that transaction ends", since, lock) : since;
}

/* Explain a message that was sent. */
static const char *
explain_sent(const OutboxRow *row)
{
	const Account *account = account_find(row->account);
	const char *theirs = row->type != 2 && account ? account->line : NULL;
	const char *when = psprintf("sent at %s", show(row->finished_at));

	if (row->has_message_id)
		when = psprintf("%s as gateway message " INT64_FORMAT, when, row->message_id);
	if (row->sent_line == NULL)
		return when;
	if (row->line && strcmp(row->line, row->sent_line) != 0)
		return psprintf("%s, by fallback: line %s carried it instead of %s",
						when, row->sent_line, row->line);
	if (row->line == NULL && theirs && strcmp(theirs, row->sent_line) != 0)
		return psprintf("%s, via line %s instead of the account's line %s: a fallback, "
						"unless the account was altered since", when, row->sent_line, theirs);
	return psprintf("%s, via line %s", when, row->sent_line);
}

/* Return what to do about a rejected message. */
static const char *
rejected_remedy(const OutboxRow *row, const char *again)
{
	const GatewayCode *known = gateway_code_find(row->api_status);

	if (known && (known->verdict == VERDICT_REJECTED || known->verdict == VERDICT_LINE))
		return known->remedy;
	return psprintf("once that is corrected, %s", again);
}

/* Explain a finished message that was not sent. */
static const char *
explain_finished(const Question *question)
{
	const OutboxRow *row = question->row;
	const char *when = show(row->finished_at);
	const char *why = row->error ? row->error : "no reason was recorded";
	const char *again = row->redacted ?
		"queue a new message, because the text of this one was removed" :
		psprintf("sms3300_resend(" INT64_FORMAT ") queues it again", question->id);

	switch (row->status)
	{
		case STATUS_REJECTED:
			return psprintf("rejected at %s: %s; %s", when, why, rejected_remedy(row, again));
		case STATUS_FAILED:
			return psprintf("failed at %s after %s: %s; %s", when, attempts(row), why, again);
		case STATUS_UNKNOWN:
			return psprintf("unknown since %s: %s; its request began at %s; ask the gateway: "
							"if it has the message, sms3300_resolve(" INT64_FORMAT ", true) records that; otherwise %s",
							when, why, show(row->started_at), question->id, again);
		case STATUS_EXPIRED:
			return psprintf("expired at %s: %s; %s%s", when, why,
							row->last_failure ?
							psprintf("the last error was: %s; ", row->last_failure) : "", again);
		case STATUS_SUPPRESSED:
			return psprintf("suppressed at %s: %s; %s", when, why, again);
		default:
			return psprintf("%s at %s; %s", status_label(row->status), when, again);
	}
}

/* Say that nothing can be said, as the table cannot be read without waiting. */
static const char *
explain_locked_table(Oid namespace)
{
	LockHolder	holder = locks_find_table_holder(namespace);

	return psprintf("sms_outbox is locked by %s: nothing is sent, and no message can be looked at, "
					"until that transaction ends", locks_name_holder(&holder));
}

/* sms3300_explain(id): explain the status of a message in one line. */
Datum
sms3300_explain(PG_FUNCTION_ARGS)
{
	OutboxRow	row;
	Question	question = {
		.namespace = get_func_namespace(fcinfo->flinfo->fn_oid),
		.id = PG_GETARG_INT64(0), .row = &row, .now = GetCurrentTimestamp()
	};
	const char *answer;

	if (!locks_take_for_reading(question.namespace))
		answer = explain_locked_table(question.namespace);
	else if (!outbox_read(question.namespace, question.id, &row))
		answer = "no such message is visible to the current role";
	else if (row.status == STATUS_QUEUED)
		answer = psprintf("queued: %s", explain_queued(&question));
	else if (row.status == STATUS_SENDING)
		answer = explain_sending(&question);
	else if (row.status == STATUS_SENT)
		answer = explain_sent(&row);
	else
		answer = explain_finished(&question);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}
