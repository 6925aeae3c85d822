/*
 * rules.c
 *		The rules of an account: whether a message may be sent now.
 */
#include "postgres.h"

#include "account/input.h"
#include "account/rules.h"
#include "shared/armed.h"

/* Tell whether a list, which is sorted, has a mobile number. */
static bool
lists_mobile(const MobileList *list, const char *mobile)
{
	return mobile &&
		bsearch(mobile, list->mobiles, list->n, MOBILE_SIZE,
				input_compare_mobiles) != NULL;
}

const char *
rules_line(const RulesMessage *message)
{
	return route_has_fallback(&message->route) ? NULL : message->route.line;
}

TimestampTz
rules_opening(const Account *account, int priority, TimestampTz from)
{
	return priority >= account->urgent_priority ? from : hours_opening(&account->hours, from);
}

const char *
rules_hours(const Account *account)
{
	return psprintf("it is outside the hours of the account, %s in %s", account->hours_text,
					pg_get_timezone_name(account->hours.zone));
}

const char *
rules_budget(const Account *account, int64 parts_today)
{
	return psprintf("the account may send %d parts a day, and " INT64_FORMAT " may have been sent today",
					account->max_parts_per_day, parts_today);
}

/* Return the verdict that a rule forbids a message. */
static RulesVerdict
forbid(Rule rule, RulesOutcome outcome, TimestampTz until, const char *reason)
{
	RulesVerdict verdict = {.rule = rule, .outcome = outcome, .until = until};

	strlcpy(verdict.reason, reason, RULES_REASON_SIZE);
	return verdict;
}

/* Return the rule that keeps the message waiting, if there is one. */
static RulesVerdict
judge_time(const RulesMessage *message, const Account *account, const RulesFacts *facts,
		   TimestampTz now)
{
	const char *too_long;
	TimestampTz opening;

	if (!facts->armed)
		return forbid(RULE_ARMED, RULES_WAIT, DT_NOEND, NOT_ARMED);
	if (account->paused)
		return forbid(RULE_PAUSED, RULES_WAIT, DT_NOEND, account_why_paused(account));
	too_long = parts_problem(message->parts, account);
	if (too_long)
		return forbid(RULE_MAX_PARTS, RULES_FAIL, DT_NOEND, too_long);
	if (account->max_parts_per_day > 0 &&
		(facts->budget_reached || facts->parts_today + message->parts.n > account->max_parts_per_day))
		return forbid(RULE_BUDGET, RULES_WAIT, hours_day_end(&account->hours, now),
					  rules_budget(account, facts->parts_today));
	opening = rules_opening(account, message->priority, now);
	if (opening > now)
		return forbid(RULE_HOURS, RULES_WAIT, opening, rules_hours(account));
	return (RulesVerdict) {.outcome = RULES_SEND};
}

/* Return the rule by which the message must not be sent, if there is one. */
static RulesVerdict
judge_recipient(const RulesMessage *message, const Account *account, const RulesFacts *facts)
{
	if (account->deliver_only && !lists_mobile(account->deliver_only, message->mobile))
		return forbid(RULE_DELIVER_ONLY, RULES_SUPPRESS, DT_NOEND,
					  "the recipient is not in the account's option \"deliver_only\"");
	if (facts->opted_out == RULES_OPTED_OUT)
		return forbid(RULE_OPT_OUT, RULES_SUPPRESS, DT_NOEND, "the recipient has opted out");
	if (facts->opted_out == RULES_OPTED_OUT_OF_LINE)
		return forbid(RULE_OPT_OUT, RULES_SUPPRESS, DT_NOEND,
					  psprintf("the recipient has opted out of line %s", rules_line(message)));
	if (account->max_per_mobile.n > 0 && facts->recent >= account->max_per_mobile.n)
		return forbid(RULE_PER_MOBILE, RULES_SUPPRESS, DT_NOEND,
					  psprintf("the recipient may have received %d messages already (max_per_mobile %s)",
							   facts->recent, account->max_per_mobile.text));
	return (RulesVerdict) {.outcome = RULES_SEND};
}

RulesVerdict
rules_judge(const RulesMessage *message, const Account *account, const RulesFacts *facts,
			TimestampTz now)
{
	RulesVerdict verdict = judge_time(message, account, facts, now);

	return verdict.outcome == RULES_SEND ? judge_recipient(message, account, facts) : verdict;
}
