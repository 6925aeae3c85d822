/*
 * reopen.h
 *		Open accounts that were altered, or that a person wants to be tried again.
 *
 * The messages that wait for another try are then made due.  That has transactions of its
 * own: the wish outlives a round that fails, and what keeps it from being written holds up
 * no round.
 */
#ifndef SMS3300_WORKER_REOPEN_H
#define SMS3300_WORKER_REOPEN_H

#include "account/account.h"
#include "worker/queue.h"

/* Begin with a new queue. */
extern void reopen_init(AccountQueue *queue);

/* Open an account that may have stopped, and have its messages hurried: see reopen_hurry(). */
extern void reopen_queue(AccountQueue *queue, bool paused, bool tried);

/* Open the account if it was altered, or later if its mappings were altered lately. */
extern void reopen_follow(AccountQueue *queue, const Account *account);

/*
 * Have the messages of an account that wait for another try made due; "tried": also those whose
 * attempts count.  A change of a mapping, which a role makes to its own, does not use up the
 * attempts of others' messages.
 */
extern void reopen_hurry(AccountQueue *queue, bool tried);

/*
 * The clock was set back from a time, 0: it was not.  Have what was put off by that clock
 * made due: retries, and messages that were to be sent at once.
 */
extern void reopen_disbelieve(TimestampTz former);

/* Return when messages are to be hurried; DT_NOEND: none are. */
extern TimestampTz reopen_next(void);

/* Hurry the messages whose time it is, outside a transaction. */
extern void reopen_run(TimestampTz now);

/* Wait no longer after a failure, because the clock was set back. */
extern void reopen_set_back(TimestampTz now);

/* Leave to the next worker what was not hurried; the registry knows what another clock has put off. */
extern void reopen_hand_over(void);

/* Forget the messages of an account that is no longer. */
extern void reopen_forget(AccountQueue *queue);

#endif							/* SMS3300_WORKER_REOPEN_H */
