/*
 * judge.h
 *		Ask the rules of an account, with what they need to know from the tables.
 */
#ifndef SMS3300_OUTBOX_JUDGE_H
#define SMS3300_OUTBOX_JUDGE_H

#include "account/rules.h"

/*
 * Judge a message by the rules of its account at a time, which is not before now.  The
 * message's route is its own (not completed).  The tables are in a schema, and are read
 * with the active snapshot.  "opt_outs" is false if sms_opt_out is known to be empty.
 */
extern RulesVerdict judge_message(Oid schema, const Account *account, const RulesMessage *message,
								  TimestampTz when, bool opt_outs);

#endif							/* SMS3300_OUTBOX_JUDGE_H */
