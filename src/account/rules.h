/*
 * rules.h
 *		The rules of an account: whether a message may be sent now.
 *
 * They are one function of the message, the account and the time, which the claim,
 * sms3300_send_now() and sms3300_explain() ask.  What the rules need from the table or
 * from shared memory is looked up by the caller.
 */
#ifndef SMS3300_ACCOUNT_RULES_H
#define SMS3300_ACCOUNT_RULES_H

#include "datatype/timestamp.h"

#include "account/parts.h"
#include "account/route.h"

#define RULES_REASON_SIZE 256

/* What the rules look at. */
typedef struct RulesMessage
{
	const char *mobile;			/* canonical; NULL: unknown */
	Route		route;			/* complete */
	int			priority;
	Parts		parts;
} RulesMessage;

/* Whether a recipient is in sms_opt_out, the strongest last. */
typedef enum RulesOptOut
{
	RULES_NOT_OPTED_OUT,
	RULES_OPTED_OUT_OF_LINE,
	RULES_OPTED_OUT				/* of every line */
} RulesOptOut;

/* What the rules need to know beside the message and its account. */
typedef struct RulesFacts
{
	bool		armed;			/* see shared/armed.h */
	int64		parts_today;	/* that may have been sent; if the account has a limit */
	bool		budget_reached;	/* that limit stopped the account today */
	int			recent;			/* messages that the number may have got; if the account has a limit */
	RulesOptOut opted_out;		/* of the line that rules_line() returns, or of every line */
} RulesFacts;

typedef enum RulesOutcome
{
	RULES_SEND,
	RULES_WAIT,					/* this message, and others of the account, may not be sent now */
	RULES_SUPPRESS,				/* this message must not be sent */
	RULES_FAIL					/* this message cannot be sent */
} RulesOutcome;

/* The rules, in the order in which they are asked. */
typedef enum Rule
{
	RULE_NONE,
	RULE_ARMED,
	RULE_PAUSED,
	RULE_MAX_PARTS,
	RULE_BUDGET,
	RULE_HOURS,
	RULE_DELIVER_ONLY,
	RULE_OPT_OUT,
	RULE_PER_MOBILE
} Rule;

typedef struct RulesVerdict
{
	Rule		rule;			/* that forbids the message */
	RulesOutcome outcome;
	TimestampTz until;			/* wait: the rule will allow it then; DT_NOEND: not by time alone */
	char		reason[RULES_REASON_SIZE];	/* unless it may be sent: a sentence without its end */
} RulesVerdict;

/*
 * Return the line that a message goes over, for which its recipient may have opted out;
 * NULL: none, or the gateway falls back from it to another way.
 */
extern const char *rules_line(const RulesMessage *message);

/*
 * Return the first time, from a time on, at which the hours of an account allow messages
 * of a priority.
 */
extern TimestampTz rules_opening(const Account *account, int priority, TimestampTz from);

/* Return the sentence that says that it is outside the hours of an account. */
extern const char *rules_hours(const Account *account);

/* Return the sentence that says that the limit of an account is reached. */
extern const char *rules_budget(const Account *account, int64 parts_today);

/* Judge a message at a time.  The first rule that forbids it decides. */
extern RulesVerdict rules_judge(const RulesMessage *message, const Account *account,
								const RulesFacts *facts, TimestampTz now);

#endif							/* SMS3300_ACCOUNT_RULES_H */
