/*
 * problems.c
 *		sms3300_problems: what is wrong now, and what to type.
 *
 * The facts are gathered first.  Then each check adds the rows of its problem: a new
 * problem is a new check, or a branch of one, and a row of the manual's table.  An account
 * whose messages a check has explained is not said to be overdue.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "account/credentials.h"
#include "account/rules.h"
#include "outbox/access.h"
#include "outbox/budget.h"
#include "shared/armed.h"
#include "shared/clock.h"
#include "shared/mappings.h"
#include "shared/stuck.h"
#include "sql/problems.h"

/* For how long a condition may last before it is a problem. */
#define WORKER_PATIENCE USECS_PER_MINUTE
#define DUE_PATIENCE (5 * USECS_PER_MINUTE)

/* -------------------------------------------------------------------------
 * Checks
 * ------------------------------------------------------------------------- */

void
problems_add(Facts *facts, Problem problem)
{
	Problem    *added = palloc(sizeof(Problem));

	*added = problem;
	facts->problems = lappend(facts->problems, added);
}

void
problems_explain_all(Facts *facts)
{
	ListCell   *cell;

	foreach(cell, facts->accounts)
		((AccountFacts *) lfirst(cell))->explained = true;
}

const char *
problems_show(TimestampTz time)
{
	if (!TIMESTAMP_NOT_FINITE(time))
		time -= ((time % USECS_PER_SEC) + USECS_PER_SEC) % USECS_PER_SEC;
	return DatumGetCString(DirectFunctionCall1(timestamptz_out, TimestampTzGetDatum(time)));
}

/* not_preloaded, newer_extension: the library is not there, or too old. */
static void
check_library(Facts *facts)
{
	const char *mismatch = extension_mismatch(EXTENSION_NEWER);

	if (!registry_attached())
		problems_add(facts, (Problem) {
			true, "not_preloaded", NULL, PgStartTime, facts->readable ? facts->due : -1,
			"sms3300 is not in shared_preload_libraries, and nothing is sent",
			"Add sms3300 to shared_preload_libraries in postgresql.conf, and restart the server."
		});
	else if (mismatch)
		problems_add(facts, (Problem) {
			true, "newer_extension", NULL, 0, facts->readable ? facts->due : -1,
			psprintf("%s, and nothing is sent", mismatch),
			"Restart the server to load the installed library."
		});
	else
		return;
	problems_explain_all(facts);
}

/* not_armed, disabled: nothing may be sent from this server. */
static void
check_switches(Facts *facts)
{
	TimestampTz seen_at = registry_attached() ? registry_armed_at() : 0;

	if (!registry_attached())
		return;
	if (!is_armed())
		problems_add(facts, (Problem) {
			true, "not_armed", NULL, seen_at ? seen_at : registry_started_at(), facts->readable ? facts->due : -1,
			psprintf("the file \"%s\" does not exist, and nothing is sent; it was %s", armed_file,
					 seen_at ? psprintf("last seen at %s", problems_show(seen_at)) :
					 psprintf("not seen since the server started or crashed, at %s", problems_show(registry_started_at()))),
			"If this server is meant to send, cancel what the original has sent, then create the file. On a copy, leave it as it is."
		});
	else if (!registry_enabled && facts->due > 0)
		problems_add(facts, (Problem) {
			false, "disabled", NULL, facts->oldest_due, facts->due,
			"sms3300.enabled is off, and messages are due",
			"ALTER SYSTEM RESET sms3300.enabled; SELECT pg_reload_conf();"
		});
	else if (registry_enabled)
		return;
	problems_explain_all(facts);
}

/* Describe why there is no worker. */
static void
describe_no_worker(const WorkerStat *worker, const char **detail, const char **hint)
{
	*hint = psprintf("See the server's log. %s", "SELECT * FROM sms3300_stat_worker");
	switch (worker->state)
	{
		case WORKER_WAITING:
			*detail = worker->refused ? "no background worker slot is free" :
				psprintf("all %d workers are in use by other databases", registry_max_workers);
			*hint = worker->refused ? "Raise max_worker_processes, and restart the server." :
				"Raise sms3300.max_workers, and restart the server.";
			break;
		case WORKER_RESTARTING:
			*detail = psprintf("the worker has ended and will restart at %s%s%s", problems_show(worker->not_before),
							   worker->last_error_at ? "; its last error was: " : "",
							   worker->last_error_at ? worker->last_error : "");
			break;
		case WORKER_STARTING:
			*detail = "the worker is starting";
			break;
		default:
			*detail = "no worker was notified of messages whose rows were written with triggers disabled";
			*hint = "Queue any message: that wakes a worker.";
			break;
	}
}

/* Return whether any message that is due could be sent by a worker. */
static bool
has_served_account(const Facts *facts)
{
	ListCell   *cell;

	foreach(cell, facts->accounts)
	{
		const AccountFacts *account = lfirst(cell);

		if (account->due.n > 0 && account->account && !account->account->paused)
			return true;
	}
	return false;
}

/* no_worker: messages have been due for a minute. */
static void
check_worker(Facts *facts)
{
	WorkerState state = facts->worker.state;
	Problem		problem = {
		.critical = true, .name = "no_worker", .since = facts->oldest_due, .messages = facts->due
	};

	if (state == WORKER_RUNNING || state == WORKER_BLOCKED || !registry_attached() || !registry_enabled ||
		!is_armed() || !has_served_account(facts) || facts->due == 0 || facts->oldest_due > facts->now - WORKER_PATIENCE)
		return;
	describe_no_worker(&facts->worker, &problem.detail, &problem.hint);
	problems_add(facts, problem);
	problems_explain_all(facts);
}

/* Why an account has stopped, since when, and when it is tried next. */
typedef struct Stop
{
	const char *reason;
	const Oid  *role;			/* whose mapping is tried next; NULL: the account is */
	TimestampTz since;
	TimestampTz probe_at;		/* 0: it is being tried */
} Stop;

/* Find why an account has stopped; false if it has not.  Of several user mappings, all have to. */
static bool
find_stop(const AccountFacts *account, Stop *stop)
{
	const AccountCounters *counted = &account->counted;
	int			nmappings = account->account->nmappings;
	MappingState *first = palloc(sizeof(MappingState));

	if (!registry_attached())
		return false;
	if (account_has_stopped(counted->live.state) && (!counted->live.of_mapping || nmappings <= 1))
		*stop = (Stop) {counted->reason, NULL, counted->state_since, counted->live.probe_at};
	else if (nmappings > 1 && mappings_stopped(account->account->serverid, first) >= nmappings)
		*stop = (Stop) {first->reason, &first->user, first->stopped_at, first->live.probe_at};
	else
		return false;
	return true;
}

/* Describe why an account, or the mapping of a role, has stopped. */
static const char *
describe_stop(const Stop *stop)
{
	return psprintf("%s%s%s%s%s%s", stop->role ? "the user mapping for " : "",
					stop->role ? problems_mapping(*stop->role) : "", stop->role ? ": " : "", stop->reason,
					stop->probe_at == 0 ? "" : "; next probe at ",
					stop->probe_at == 0 ? "" : problems_show(stop->probe_at));
}

/* no_account, account_stopped, paused: an account does not send. */
static void
check_account(Facts *facts, AccountFacts *account)
{
	const char *name = quote_identifier(account->name);
	Stop		stop;
	Problem		problem = {
		.account = account->name, .since = account->due.since, .messages = facts->readable ? account->due.n : -1
	};

	if (account->account == NULL)
	{
		problem.name = "no_account";
		problem.detail = "messages are queued for an account that does not exist";
		problem.hint = psprintf("CREATE SERVER %s FOREIGN DATA WRAPPER sms3300 OPTIONS (...); or cancel the messages", name);
	}
	else if (account->account->paused)
	{
		problem.name = account->due.n > 0 ? "paused" : NULL;
		problem.detail = psprintf("%s, and messages are due", account_why_paused(account->account));
		problem.hint = psprintf(account->account->unreadable ?
								"ALTER SERVER %s OPTIONS (SET ...) with a valid value" :
								"ALTER SERVER %s OPTIONS (SET paused 'false')", name);
	}
	else if (registry_attached() && budget_is_reached(account->account, facts->now))
	{
		problem.critical = true;
		problem.name = "budget_reached";
		problem.detail = psprintf("%s; it opens at %s", rules_budget(account->account, account->account->max_parts_per_day),
								  problems_show(hours_day_end(&account->account->hours, facts->now)));
		problem.hint = psprintf("ALTER SERVER %s OPTIONS (SET max_parts_per_day '...') opens it now.", name);
	}
	else if (find_stop(account, &stop))
	{
		account->stopped = true;
		problem.critical = true;
		problem.name = "account_stopped";
		problem.since = stop.since;
		problem.detail = describe_stop(&stop);
		problem.hint = problems_stop_hint(facts, account, stop.reason, stop.role);
	}
	else if (rules_opening(account->account, 0, facts->now) <= facts->now)
		return;

	/* Outside its hours an account has no problem, and its messages are explained. */
	account->explained = true;
	if (problem.name)
		problems_add(facts, problem);
}

/* Check each account. */
static void
check_accounts(Facts *facts)
{
	ListCell   *cell;

	foreach(cell, facts->accounts)
		check_account(facts, lfirst(cell));
}

/* Add messages to a problem of the same account and detail; false if there is none yet. */
static bool
add_to_problem(Facts *facts, const Problem *problem)
{
	ListCell   *cell;

	foreach(cell, facts->problems)
	{
		Problem    *known = lfirst(cell);

		if (strcmp(known->name, problem->name) != 0 || strcmp(known->account, problem->account) != 0 ||
			strcmp(known->detail, problem->detail) != 0)
			continue;
		known->messages += problem->messages;
		known->since = Min(known->since, problem->since);
		return true;
	}
	return false;
}

/* mapping_stopped: the gateway refused the credentials that a sender's messages go with. */
static void
check_stopped_mapping(Facts *facts, AccountFacts *account, const Backlog *sent_by, Oid role)
{
	Oid			server = account->account->serverid;
	MappingState state;
	Problem		problem = {
		.name = "mapping_stopped", .account = account->name, .messages = sent_by->n
	};

	if (!registry_attached() || account->stopped ||
		!credentials_role(server, &role) || !mappings_read(server, role, &state) ||
		!account_has_stopped(state.live.state))
		return;
	account->explained = true;
	problem.since = state.stopped_at;
	problem.detail = describe_stop(&(Stop) {state.reason, &role, state.stopped_at, state.live.probe_at});
	problem.hint = problems_stop_hint(facts, account, state.reason, &role);
	if (!add_to_problem(facts, &problem))
		problems_add(facts, problem);
}

/* no_mapping: the sender of a message has no credentials. */
static void
check_mappings(Facts *facts)
{
	ListCell   *cell;

	foreach(cell, facts->senders)
	{
		const Backlog *sent_by = lfirst(cell);
		AccountFacts *account = facts_account(facts, sent_by->account);
		Oid			role = get_role_oid(sent_by->sender, true);
		Credentials credentials;
		const char *problem;

		if (account->account == NULL)
			continue;
		problem = credentials_read(account->account, role, &credentials);
		credentials_forget(&credentials);
		if (problem == NULL)
		{
			check_stopped_mapping(facts, account, sent_by, role);
			continue;
		}
		account->explained = true;
		problems_add(facts, (Problem) {
			false, "no_mapping", account->name, sent_by->since, sent_by->n,
			psprintf("messages of role %s cannot be sent: %s", quote_identifier(sent_by->sender), problem),
			credentials_exist(account->account, role) ?
			psprintf("Correct the user mapping or its password file, then SELECT sms3300_retry(%s).",
					 quote_literal_cstr(account->name)) :
			psprintf("CREATE USER MAPPING FOR %s SERVER %s OPTIONS (username '...', password '...')",
					 quote_identifier(sent_by->sender), quote_identifier(account->name))
		});
	}
}

/* delivery_not_understood: no delivery states are learnt. */
static void
check_delivery(Facts *facts)
{
	ListCell   *cell;

	foreach(cell, facts->accounts)
	{
		const AccountFacts *account = lfirst(cell);

		if (account->counted.delivery_problem[0])
			problems_add(facts, (Problem) {
				false, "delivery_not_understood", account->name, account->counted.delivery_problem_at, -1,
				psprintf("no delivery states are learnt: %s", account->counted.delivery_problem),
				"SELECT sms3300_delivery_now(id) shows a reply. Sending goes on."
			});
	}
}

/* overdue: nothing else says why. */
static void
check_overdue(Facts *facts)
{
	ListCell   *cell;

	foreach(cell, facts->accounts)
	{
		const AccountFacts *account = lfirst(cell);
		Problem		problem = {
			.name = "overdue", .account = account->name, .since = account->due.since, .messages = account->due.n
		};

		if (account->explained || account->due.n == 0 || account->due.since > facts->now - DUE_PATIENCE)
			continue;
		problems_describe_overdue(facts, account, &problem);
		problems_add(facts, problem);
	}
}

/* expiring: messages will expire, and their account is not sending. */
static void
check_expiring(Facts *facts)
{
	ListCell   *cell;

	foreach(cell, facts->expiring)
	{
		const Backlog *expiring = lfirst(cell);

		if (facts_account(facts, expiring->account)->explained)
			problems_add(facts, (Problem) {
				false, "expiring", expiring->account, expiring->since, expiring->n,
				psprintf("the first of them expires at %s, and the account is not sending", problems_show(expiring->since)),
				"Remove what keeps the account from sending, or give the messages a later send_before."
			});
	}
}

/* result_not_recorded: a reply has come, and the table refuses it. */
static void
check_results(Facts *facts)
{
	StuckResult stuck;
	int			n = registry_attached() ? stuck_first(&stuck) : 0;

	if (n > 0)
		problems_add(facts, (Problem) {
			true, "result_not_recorded", NULL, stuck.since, n,
			psprintf("the result of message " INT64_FORMAT " cannot be recorded: %s", stuck.id, stuck.obstacle),
			"Remove the index, constraint or trigger on sms_outbox that refuses it. It is tried again."
		});
}

/* unknown_messages: what a person has to look up in the gateway's panel. */
static void
add_unknown(Facts *facts, const Backlog *unknown)
{
	problems_add(facts, (Problem) {
		false, "unknown_messages", unknown->account, unknown->since, unknown->n,
		psprintf("they may have been sent, and only the gateway knows%s%s",
				 unknown->reason ? "; the last of them: " : "", unknown->reason ? unknown->reason : ""),
		psprintf("Look in the gateway's panel. There: SELECT sms3300_resolve(" INT64_FORMAT ", true);"
				 " not there: SELECT sms3300_resend(" INT64_FORMAT ")", unknown->id, unknown->id)
	});
}

/* Return what the clock has to do with messages that expired, or "". */
static const char *
blame_clock(const Facts *facts, const Backlog *expired)
{
	TimestampTz at;
	int64		step = registry_attached() ? registry_clock_step(&at) : 0;
	int			seconds = (int) ((step + USECS_PER_SEC / 2) / USECS_PER_SEC);

	if (expired->last > facts->now + CLOCK_TOLERANCE)
		return psprintf("; the clock was ahead: the last one expired at %s by it", problems_show(expired->last));
	if (step <= 0 || at < expired->since - USECS_PER_MINUTE || at > expired->last + USECS_PER_MINUTE)
		return "";
	return psprintf("; the clock was set ahead by %d:%02d:%02d at %s", seconds / SECS_PER_HOUR,
					seconds / SECS_PER_MINUTE % MINS_PER_HOUR, seconds % SECS_PER_MINUTE, problems_show(at));
}

/* expired_messages: what a person may resend. */
static void
add_expired(Facts *facts, const Backlog *expired)
{
	problems_add(facts, (Problem) {
		false, "expired_messages", expired->account, expired->since, expired->n,
		psprintf("they were not sent before send_before%s", blame_clock(facts, expired)),
		expired->n == 1 ? psprintf("If it is still wanted: SELECT sms3300_resend(" INT64_FORMAT ")", expired->id) :
		psprintf("If they are still wanted: SELECT sms3300_resend_many(array_agg(id)) FROM sms_outbox"
				 " WHERE status = 'expired' AND account = %s AND error IS NOT NULL AND finished_at >= %s",
				 quote_literal_cstr(expired->account), quote_literal_cstr(problems_show(expired->since)))
	});
}

/* unknown_messages, expired_messages: what a person has to look after. */
static void
check_finished(Facts *facts)
{
	ListCell   *cell;

	foreach(cell, facts->finished)
	{
		const Backlog *finished = lfirst(cell);

		if (strcmp(finished->status, "unknown") == 0)
			add_unknown(facts, finished);
		else
			add_expired(facts, finished);
	}
}

/* foreign_rows: what another database queued. */
static void
check_foreign(Facts *facts)
{
	ListCell   *cell;

	foreach(cell, facts->foreign)
	{
		const Backlog *foreign = lfirst(cell);

		problems_add(facts, (Problem) {
			false, "foreign_rows", foreign->account, foreign->since, foreign->n,
			"another database queued them: they were restored, copied or replicated, and are not sent",
			psprintf("If the original sends them, or has: SELECT sms3300_cancel_many(array_agg(id)) FROM sms_outbox"
					 " WHERE origin <> " INT64_FORMAT " AND account = %s AND due_at IS NOT NULL AND status = 'queued';"
					 " what was being sent is left. That, or all if it never will: SELECT sms3300_adopt(), of all accounts",
					 outbox_origin(), quote_literal_cstr(foreign->account))
		});
	}
}

/*
 * All checks, in the order of the rows.  One that explains why messages wait comes
 * before check_overdue().
 */
static void (*const checks[]) (Facts *) = {
	check_library,
	check_switches,
	problems_check_locks,
	check_worker,
	check_accounts,
	check_mappings,
	check_overdue,
	check_expiring,
	check_results,
	check_finished,
	check_foreign,
	check_delivery,
};

List *
problems_find(Oid namespace)
{
	Facts		all = {.namespace = namespace, .now = GetCurrentTimestamp()};
	Facts	   *facts = &all;
	List	   *sorted = NIL;
	ListCell   *cell;

	/* A standby sends nothing, and that is not a problem. */
	if (RecoveryInProgress())
		return NIL;
	facts_gather(facts);
	for (size_t i = 0; i < lengthof(checks); i++)
		checks[i] (facts);
	for (int critical = 1; critical >= 0; critical--)
		foreach(cell, facts->problems)
			if (((Problem *) lfirst(cell))->critical == critical)
				sorted = lappend(sorted, lfirst(cell));
	return sorted;
}
