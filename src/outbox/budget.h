/*
 * budget.h
 *		The parts that an account may have sent today: max_parts_per_day.
 *
 * They are counted from the table once, and from then on in shared memory, where a
 * message's parts are added when it is claimed and taken away if it was not sent.
 * Without preloading they are counted from the table each time.
 */
#ifndef SMS3300_OUTBOX_BUDGET_H
#define SMS3300_OUTBOX_BUDGET_H

#include "account/account.h"

/* Have the parts of today been counted.  Does nothing for an account without a limit. */
extern void budget_prepare(Oid schema, const Account *account, TimestampTz now);

/* Return the parts that may have been sent today. */
extern int64 budget_spent(Oid schema, const Account *account, TimestampTz now);

/* Return whether the limit was reached today, and the account not altered since. */
extern bool budget_is_reached(const Account *account, TimestampTz now);

/* Note that the limit is reached.  Returns false if that was noted before. */
extern bool budget_reach(const Account *account);

/*
 * Add the parts of a message that is about to be sent: from the queue, or at once.
 * Returns whether they are within the limit.
 */
extern bool budget_spend(const Account *account, TimestampTz now, int parts, bool at_once);

/* Take away the parts of a message from the queue that was not sent, by when it was claimed. */
extern void budget_return(Oid serverid, TimestampTz claimed_at, int parts);

/* Have the queue's parts of all accounts counted again, as a former worker has not said all. */
extern void budget_forget(void);

#endif							/* SMS3300_OUTBOX_BUDGET_H */
