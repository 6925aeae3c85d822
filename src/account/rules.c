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

/* Return a verdict. */
static RulesVerdict
verdict(RulesOutcome outcome, const char *reason)
{
	RulesVerdict verdict = {.outcome = outcome};

	strlcpy(verdict.reason, reason, RULES_REASON_SIZE);
	return verdict;
}

RulesVerdict
rules_judge(const RulesMessage *message, const Account *account, const RulesFacts *facts)
{
	const char *too_long;

	if (!facts->armed)
		return verdict(RULES_WAIT, NOT_ARMED);
	if (account->paused)
		return verdict(RULES_WAIT, "the option \"paused\" of the account is true");
	too_long = parts_problem(message->parts, account);
	if (too_long)
		return verdict(RULES_FAIL, too_long);
	if (account->deliver_only && !lists_mobile(account->deliver_only, message->mobile))
		return verdict(RULES_SUPPRESS, "the recipient is not in the account's option \"deliver_only\"");
	return verdict(RULES_SEND, "");
}
