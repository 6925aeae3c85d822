/*
 * transaction.h
 *		A transaction of the worker on sms_outbox.
 */
#ifndef SMS3300_WORKER_TRANSACTION_H
#define SMS3300_WORKER_TRANSACTION_H

#include <signal.h>

#include "outbox/access.h"

/* Options of a transaction. */
#define TRANSACTION_TRIGGERS_OFF 0x01	/* user triggers do not run */
#define TRANSACTION_QUIET 0x02	/* the caller reports an error, or does not */

typedef enum TransactionOutcome
{
	TRANSACTION_DONE,			/* committed */
	TRANSACTION_LOCKED,			/* not begun: another session has locked the table */
	TRANSACTION_MISSING,		/* not begun: the extension is not in this database */
	TRANSACTION_FAILED			/* rolled back */
} TransactionOutcome;

/* Why a transaction failed; in memory of the caller's context. */
typedef struct TransactionError
{
	int			sqlstate;
	const char *message;
} TransactionError;

/*
 * What is done in a transaction, with the table open.  What it changes in memory
 * has to be undone by the caller if the transaction fails.  It runs in the
 * caller's memory context; access is OUTBOX_OPEN or OUTBOX_NEWER.
 */
typedef void (*TransactionBody) (OutboxAccess access, void *arg);

/* Whether a transaction is being committed, which a cancel must not cut short. */
extern volatile sig_atomic_t transaction_committing;

/* Whether the process is to end, because a trigger went on after it was cancelled. */
extern volatile sig_atomic_t transaction_overrun;

/*
 * Run body in a transaction of its own.  No error gets out: one is logged without
 * its detail, which may show a row, and told in *error.  Call it outside any
 * transaction.
 */
extern TransactionOutcome transaction_run(int options, TransactionBody body, void *arg,
										  TransactionError *error);

/*
 * In a body: from here on user triggers may run, and are cancelled if they take
 * too long; and the end of that.
 */
extern void transaction_limit_triggers(void);
extern void transaction_unlimit_triggers(void);

/* Log why a transaction failed, and show it in sms3300_stat_worker. */
extern void transaction_report(const TransactionError *error, const char *what);

#endif							/* SMS3300_WORKER_TRANSACTION_H */
