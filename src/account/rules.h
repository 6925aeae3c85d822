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

#define RULES_REASON_SIZE 256

/* What the rules look at. */
typedef struct RulesMessage
{
	const char *mobile;			/* canonical; NULL: unknown */
	Parts		parts;
} RulesMessage;

/* What the rules need to know beside the message and its account. */
typedef struct RulesFacts
{
	bool		armed;			/* see shared/armed.h */
} RulesFacts;

typedef enum RulesOutcome
{
	RULES_SEND,
	RULES_WAIT,					/* no message of the account may be sent now */
	RULES_SUPPRESS,				/* this message must not be sent */
	RULES_FAIL					/* this message cannot be sent */
} RulesOutcome;

typedef struct RulesVerdict
{
	RulesOutcome outcome;
	char		reason[RULES_REASON_SIZE];	/* unless it may be sent: a sentence without its end */
} RulesVerdict;

/* Judge a message.  The first rule that forbids it decides. */
extern RulesVerdict rules_judge(const RulesMessage *message, const Account *account,
								const RulesFacts *facts);

#endif							/* SMS3300_ACCOUNT_RULES_H */
