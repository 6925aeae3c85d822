/*
 * recent.h
 *		How many messages a number got, or may have got, lately: max_per_mobile.
 *
 * They are read from the table once and kept in memory: by a worker, which notes its
 * claims, for as long as it runs; by any other process for the statement.
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

/* Note a message that is about to be sent; or that one that was noted was not sent. */
extern void recent_add(const Account *account, const char *mobile, TimestampTz at);
extern void recent_remove(Oid serverid, const char *mobile, TimestampTz at);

/* Forget all messages, so that they are read again. */
extern void recent_forget(void);

#endif							/* SMS3300_OUTBOX_RECENT_H */
