/*
 * judge.c
 *		Ask the rules of an account, with what they need to know from the tables.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "outbox/budget.h"
#include "outbox/judge.h"
#include "outbox/opt_out.h"
#include "outbox/recent.h"
#include "shared/armed.h"

/* Look up what is left of the budget of the day of a message, which has not begun if it is later. */
static void
look_up_budget(RulesFacts *facts, Oid schema, const Account *account, TimestampTz when)
{
	TimestampTz now = GetCurrentTimestamp();

	if (account->max_parts_per_day == 0 || when >= hours_day_end(&account->hours, now))
		return;
	facts->parts_today = budget_spent(schema, account, now);
	facts->budget_reached = budget_is_reached(account, now);
}

RulesVerdict
judge_message(Oid schema, const Account *account, const RulesMessage *message, TimestampTz when,
			  bool opt_outs)
{
	RulesMessage completed = *message;
	RulesFacts	facts = {.armed = is_armed()};

	completed.route = route_complete(&message->route, account);
	look_up_budget(&facts, schema, account, when);
	if (opt_outs)
		facts.opted_out = opt_out_find(schema, message->mobile, rules_line(&completed));
	facts.recent = recent_count(schema, account, message->mobile, when);
	return rules_judge(&completed, account, &facts, when);
}
