/*
 * tell.h
 *		Tell listeners what became of messages, by NOTIFY.
 *
 * For accounts that have the option "notify".  What is noted is told by tell_send(),
 * which belongs to the same transaction: listeners hear of it after the commit, and of
 * nothing that is rolled back.
 */
#ifndef SMS3300_OUTBOX_TELL_H
#define SMS3300_OUTBOX_TELL_H

#include "outbox/status.h"

/* Note that a message of an account has reached a final status. */
extern void tell_status(const char *account, int64 id, MessageStatus status);

/* Note the delivery state of a message. */
extern void tell_delivery(const char *account, int64 id, const char *state);

/* Tell what was noted in this transaction. */
extern void tell_send(void);

#endif							/* SMS3300_OUTBOX_TELL_H */
