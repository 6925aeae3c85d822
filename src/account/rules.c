/*
 * rules.c
 *		The rules of an account: whether a message may be sent now.
 */
#include "postgres.h"

#include "account/rules.h"

/* Tell whether a list, which is sorted, has a mobile number. */
static bool
lists_mobile(const MobileList *list, const char *mobile)
{
	return mobile &&
		bsearch(mobile, list->mobiles, list->n, MOBILE_SIZE,
				(int (*) (const void *, const void *)) strcmp) != NULL;
}

/* deliver_only: no other number gets a message. */
static bool
violates_deliver_only(const RulesMessage *message, const Account *account, RulesVerdict *verdict)
{
	if (account->deliver_only == NULL || lists_mobile(account->deliver_only, message->mobile))
		return false;
	verdict->outcome = RULES_SUPPRESS;
	strlcpy(verdict->reason, "the recipient is not in the account's option \"deliver_only\"",
			RULES_REASON_SIZE);
	return true;
}

RulesVerdict
rules_judge(const RulesMessage *message, const Account *account)
{
	static bool (*const rules[]) (const RulesMessage *, const Account *, RulesVerdict *) = {
		violates_deliver_only
	};
	RulesVerdict verdict = {.outcome = RULES_SEND};

	for (size_t i = 0; i < lengthof(rules); i++)
		if (rules[i] (message, account, &verdict))
			break;
	return verdict;
}
