/*
 * transaction.h
 *		Run a transaction of the worker on sms_outbox.
 */
#ifndef SMS3300_WORKER_TRANSACTION_H
#define SMS3300_WORKER_TRANSACTION_H

#include <signal.h>

#include "outbox/access.h"

/* Options of a transaction. */
#define TRANSACTION_TRIGGERS_OFF 0x01	/* user triggers do not run */
#define TRANSACTION_QUIET 0x02	/* errors are not logged; the caller may do so */

typedef enum TransactionOutcome
{
	TRANSACTION_DONE,			/* committed */
	TRANSACTION_LOCKED,			/* body not run: another session has locked the table */
	TRANSACTION_MISSING,		/* body not run: the extension does not exist in this database */
	TRANSACTION_FAILED			/* rolled back */
} TransactionOutcome;

/* Why a transaction failed, in the caller's memory context. */
typedef struct TransactionError
{
	int			sqlstate;
	const char *message;
	bool		too_slow;		/* user triggers took longer than they may: */
	int64		took;			/* so many microseconds; 0: they did not */
} TransactionError;

/*
 * The body of a transaction, which runs with the table open in the caller's memory
 * context.  "access" is OUTBOX_OPEN, OUTBOX_NEWER or OUTBOX_MOVED.  If the transaction fails, the
 * caller must undo the changes in memory.
 */
typedef void (*TransactionBody) (OutboxAccess access, void *arg);

/* Whether a commit is in progress, which must not be cancelled. */
extern volatile sig_atomic_t transaction_committing;

/* Whether the process is being terminated because a trigger ignored its cancellation. */
extern volatile sig_atomic_t transaction_overrun;

/*
 * Run a body in a transaction.  Does not raise errors: an error is logged, without
 * its detail, which may show a row, and returned in *error.  Must be called outside
 * of a transaction.
 */
extern TransactionOutcome transaction_run(int options, TransactionBody body, void *arg,
										  TransactionError *error);

/*
 * Run a part of a body in a subtransaction, with rows of its own.  Does not raise errors:
 * one is logged as above, and returned in *error; what the part did is undone, and the
 * transaction goes on.  Returns whether the part succeeded.
 */
extern bool transaction_attempt(int options, void (*part) (void *arg), void *arg,
								TransactionError *error);

/*
 * Begin and end the part of a body in which user triggers may run.  They are
 * cancelled if they take too long.
 */
extern void transaction_limit_triggers(void);
extern void transaction_unlimit_triggers(void);

/*
 * Return whether an error may have been raised by a user's trigger, which is the only
 * reason to do the work with triggers disabled.
 */
extern bool transaction_may_disable_triggers(const TransactionError *error);

/* Log why a transaction failed, unless that was logged within the last minute, and record it for sms3300_stat_worker. */
extern void transaction_report(const TransactionError *error, const char *what);

#endif							/* SMS3300_WORKER_TRANSACTION_H */
