/*
 * recent.h
 *		How many messages a number got, or may have got, lately: max_per_mobile.
 *
 * A worker reads them from the table once, notes its claims, and keeps as many in memory as
 * have room; it asks the table about the others.  Any other process forgets them after the
 * statement.
 */
#ifndef SMS3300_OUTBOX_RECENT_H
#define SMS3300_OUTBOX_RECENT_H

#include "account/account.h"

/* In a worker: keep what is read, because this process notes all claims. */
extern void recent_keep(void);

/* Read the messages of an account, if it has a limit and they are not known. */
extern void recent_prepare(Oid schema, const Account *account, TimestampTz now);

/* Return how many messages a number may have got within the account's time before now. */
extern int	recent_count(Oid schema, const Account *account, const char *mobile, TimestampTz now);

/*
 * Note a message that is about to be sent; and then that its row says whether it may have
 * been sent, or that it was not.
 */
extern void recent_add(const Account *account, const char *mobile, TimestampTz at);
extern void recent_settle(Oid serverid, const char *mobile, TimestampTz at, bool sent);

/* Forget all messages, so that they are read again. */
extern void recent_forget(void);

#endif							/* SMS3300_OUTBOX_RECENT_H */
