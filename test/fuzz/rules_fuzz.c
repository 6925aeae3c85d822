/*
 * rules_fuzz.c
 *		Ask the rules of an arbitrary account about an arbitrary message.
 *
 * The input is the account, the message, what is known of both, the hours, the changes of
 * the clocks, and a time.
 */
#undef NDEBUG
#include "postgres.h"

#include <assert.h>

#include "utils/timestamp.h"

#include "account/input.h"
#include "account/rules.h"
#include "memory.h"
#include "zone.h"

#define MAX_LISTED 3
#define NUMBER "989123456780"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the rules call of other files, which need a server. */
bool
route_has_fallback(const Route *route)
{
	return route->line2 != NULL;
}

char *
parts_problem(Parts parts, const Account *account)
{
	return parts.n > account->max_parts ||
		(account->max_parts_per_day != 0 && parts.n > account->max_parts_per_day) ? psprintf("%d parts", parts.n) : NULL;
}

int
input_compare_mobiles(const void *a, const void *b)
{
	return strcmp(a, b);
}

const char *
pg_get_timezone_name(pg_tz *tz)
{
	return "here";
}

/* Return a number of which the last digit is the input's. */
static char *
read_mobile(Bytes *bytes, char *mobile)
{
	strcpy(mobile, NUMBER);
	mobile[strlen(NUMBER) - 1] += (char) (bytes_take(bytes, 1) % 4);
	return mobile;
}

/* Read a list of numbers, or none. */
static MobileList *
read_list(Bytes *bytes)
{
	int			n = (int) bytes_take(bytes, 1) % (MAX_LISTED + 2);
	MobileList *list;

	if (n > MAX_LISTED)
		return NULL;
	list = malloc(offsetof(MobileList, mobiles) + MAX_LISTED * MOBILE_SIZE);
	assert(list != NULL);
	list->n = n;
	for (int i = 0; i < n; i++)
		read_mobile(bytes, list->mobiles[i]);
	qsort(list->mobiles, n, MOBILE_SIZE, input_compare_mobiles);
	return list;
}

/* Read spans of hours. */
static void
read_hours(Bytes *bytes, Hours *hours)
{
	hours->nspans = (int) bytes_take(bytes, 1) % 4;
	for (int i = 0; i < hours->nspans; i++)
	{
		int			from = (int) bytes_take(bytes, 2) % (SECS_PER_DAY / SECS_PER_MINUTE);

		hours->spans[i].from = from * SECS_PER_MINUTE;
		hours->spans[i].until = (from + 1 + (int) bytes_take(bytes, 2) % 1438) % 1440 * SECS_PER_MINUTE;
		if (hours->spans[i].until == 0)
			hours->spans[i].until = SECS_PER_DAY;
	}
}

/* Tell whether a list has a number. */
static bool
has_mobile(const MobileList *list, const char *mobile)
{
	for (int i = 0; i < list->n; i++)
		if (strcmp(list->mobiles[i], mobile) == 0)
			return true;
	return false;
}

/* Tell whether a rule forbids a message, whatever the others say. */
static bool
forbids(Rule rule, const RulesMessage *message, const Account *account, const RulesFacts *facts,
		TimestampTz now)
{
	switch (rule)
	{
		case RULE_NONE:
			return false;
		case RULE_ARMED:
			return !facts->armed;
		case RULE_PAUSED:
			return account->paused;
		case RULE_MAX_PARTS:
			return message->parts.n > account->max_parts ||
				(account->max_parts_per_day != 0 && message->parts.n > account->max_parts_per_day);
		case RULE_BUDGET:
			return account->max_parts_per_day != 0 &&
				(facts->budget_reached ||
				 account->max_parts_per_day - facts->parts_today < message->parts.n);
		case RULE_HOURS:
			return message->priority < account->urgent_priority &&
				hours_opening(&account->hours, now) != now;
		case RULE_DELIVER_ONLY:
			return account->deliver_only && !has_mobile(account->deliver_only, message->mobile);
		case RULE_OPT_OUT:
			return facts->opted_out != RULES_NOT_OPTED_OUT;
		case RULE_PER_MOBILE:
			return account->max_per_mobile.n != 0 && facts->recent >= account->max_per_mobile.n;
	}
	return false;
}

/* Check a verdict: it is that of the first rule which forbids the message. */
static void
check_verdict(const RulesVerdict *verdict, const RulesMessage *message, const Account *account,
			  const RulesFacts *facts, TimestampTz now)
{
	static const RulesOutcome outcomes[] = {
		[RULE_NONE] = RULES_SEND, [RULE_ARMED] = RULES_WAIT, [RULE_PAUSED] = RULES_WAIT,
		[RULE_MAX_PARTS] = RULES_FAIL, [RULE_BUDGET] = RULES_WAIT, [RULE_HOURS] = RULES_WAIT,
		[RULE_DELIVER_ONLY] = RULES_SUPPRESS, [RULE_OPT_OUT] = RULES_SUPPRESS,
		[RULE_PER_MOBILE] = RULES_SUPPRESS
	};
	Rule		first = RULE_ARMED;

	while (first <= RULE_PER_MOBILE && !forbids(first, message, account, facts, now))
		first++;
	assert(verdict->rule == (first <= RULE_PER_MOBILE ? first : RULE_NONE));
	assert(verdict->outcome == outcomes[verdict->rule]);
	assert((verdict->reason[0] == '\0') == (verdict->outcome == RULES_SEND));
	if (verdict->rule == RULE_HOURS)
	{
		assert(verdict->until > now && !forbids(RULE_HOURS, message, account, facts, verdict->until));
		assert(forbids(RULE_HOURS, message, account, facts, verdict->until - 1));
	}
	else if (verdict->rule == RULE_BUDGET)
		assert(verdict->until > now && verdict->until == hours_day_end(&account->hours, now));
	else
		assert(verdict->outcome == RULES_SEND || verdict->until == DT_NOEND);
}

/* Read an account and a message, and ask. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Bytes		bytes = {data, size};
	char		mobile[MOBILE_SIZE];
	Account		account = {.line = "983000330000", .hours_text = "some", .max_per_mobile.text = "some"};
	RulesMessage message = {.mobile = read_mobile(&bytes, mobile)};
	RulesFacts	facts = {0};
	RulesVerdict verdict;
	TimestampTz now;
	int			flags = (int) bytes_take(&bytes, 1);

	memory_begin();
	facts.armed = flags & 1;
	account.paused = flags & 2;
	facts.budget_reached = flags & 4;
	facts.opted_out = (RulesOptOut) ((flags >> 3 & 3) % 3);
	message.route.line = flags & 32 ? account.line : NULL;
	message.route.line2 = flags & 64 ? "983000330001" : NULL;
	message.priority = (int) bytes_take(&bytes, 1) % 10;
	account.urgent_priority = (int) bytes_take(&bytes, 1) % 11;
	message.parts.n = (int) bytes_take(&bytes, 2) % 1000;
	account.max_parts = 1 + (int) bytes_take(&bytes, 1) % MAX_PARTS_MAX;
	account.max_parts_per_day = (int) (bytes_take(&bytes, 4) & PG_INT32_MAX);
	facts.parts_today = (int64) (bytes_take(&bytes, 8) & PG_INT64_MAX) / 2;
	account.max_per_mobile.n = (int) bytes_take(&bytes, 2) % 1001;
	facts.recent = (int) bytes_take(&bytes, 2);
	account.deliver_only = read_list(&bytes);
	read_hours(&bytes, &account.hours);
	account.hours.zone = zone_read(&bytes);
	now = (TimestampTz) (bytes_take(&bytes, 4) % (2 * SECS_PER_YEAR)) * USECS_PER_SEC;

	verdict = rules_judge(&message, &account, &facts, now);
	check_verdict(&verdict, &message, &account, &facts, now);
	memory_end();
	return 0;
}
