/*
 * transaction.c
 *		A transaction of the worker on sms_outbox.
 *
 * Everything that the worker reads or writes in the table, it does in a
 * transaction that is begun and ended here; what is done in it is its body, one
 * for each kind: a round, one result, one claim, expiry, retention, orphans.
 * Nothing in it waits for long: not for the table's lock, and for a row's only
 * lock_timeout.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timeout.h"

#include "outbox/direct.h"
#include "shared/registry.h"
#include "worker/transaction.h"

/* A user's trigger may take this long, and so much longer if it catches that. */
#define TRIGGER_TIMEOUT_MS 10000
#define TRIGGER_GRACE_MS 2000

volatile sig_atomic_t transaction_committing = false;
volatile sig_atomic_t transaction_overrun = false;

/* The timeout of a trigger that goes on after it was cancelled, once it is registered */
static TimeoutId overrun = MAX_TIMEOUTS;

/*
 * End the process: a trigger has caught its cancellation and gone on.  It would
 * catch any other, too, and a stop of the server would wait for it.
 *
 * A cancellation that is still to be taken was caught by nobody: then the process
 * has been held up, by its disk or by a machine that slept, and is given its time.
 */
static void
on_overrun(void)
{
	if (QueryCancelPending)
	{
		enable_timeout_after(overrun, TRIGGER_GRACE_MS);
		return;
	}
	transaction_overrun = true;
	InterruptPending = ProcDiePending = true;
	SetLatch(MyLatch);
}

/* The timeout that calls it. */
static TimeoutId
overrun_timeout(void)
{
	if (overrun == MAX_TIMEOUTS)
		overrun = RegisterTimeout(USER_TIMEOUT, on_overrun);
	return overrun;
}

void
transaction_limit_triggers(void)
{
	EnableTimeoutParams timeouts[] = {
		{.id = STATEMENT_TIMEOUT, .type = TMPARAM_AFTER, .delay_ms = TRIGGER_TIMEOUT_MS},
		{.id = overrun_timeout(), .type = TMPARAM_AFTER,
		.delay_ms = TRIGGER_TIMEOUT_MS + TRIGGER_GRACE_MS}
	};

	Assert(IsTransactionState());
	enable_timeouts(timeouts, lengthof(timeouts));
}

/* Whatever runs may take its time again. */
static void
drop_limits(void)
{
	DisableTimeoutParams timeouts[] = {
		{.id = STATEMENT_TIMEOUT}, {.id = overrun_timeout()}
	};

	disable_timeouts(timeouts, lengthof(timeouts));
}

/*
 * From here on only statements of our own run.  Where a limit was hit at the last
 * moment, it is taken here: after the commit, an end of the process would leave
 * claims whose requests were never made.
 */
void
transaction_unlimit_triggers(void)
{
	drop_limits();
	CHECK_FOR_INTERRUPTS();
}

/* Set a setting until the end of the transaction. */
static void
set_for_transaction(const char *name, const char *value, GucContext context)
{
	set_config_option(name, value, context, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/* Commit.  A commit that waits for a standby is cut short by a stop, and only by that. */
static void
commit(bool was_stopping)
{
	transaction_committing = true;
	QueryCancelPending = false;
	if (ShutdownRequestPending && !was_stopping)
		QueryCancelPending = InterruptPending = true;
	CommitTransactionCommand();
	QueryCancelPending = false;
	transaction_committing = false;
}

/* Roll back after an error, and tell of it in the current context. */
static void
roll_back(TransactionError *error)
{
	ErrorData  *data = CopyErrorData();

	FlushErrorState();
	drop_limits();
	direct_forget();
	AbortCurrentTransaction();
	QueryCancelPending = false;
	transaction_committing = false;
	error->sqlstate = data->sqlerrcode;
	error->message = data->message;
}

void
transaction_report(const TransactionError *error, const char *what)
{
	ereport(LOG,
			(errcode(error->sqlstate),
			 errmsg("sms3300: %s: %s", what, error->message)));
	registry_worker_error(error->message);
}

TransactionOutcome
transaction_run(int options, TransactionBody body, void *arg, TransactionError *error)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile OutboxAccess access = OUTBOX_OPEN;
	volatile bool failed = false;
	bool		stopping = ShutdownRequestPending;
	bool		triggers_off = (options & TRANSACTION_TRIGGERS_OFF) != 0;

	Assert(!IsTransactionState());
	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();

		/* A stop claims nothing, and what it records needs no standby. */
		if (stopping)
			set_for_transaction("synchronous_commit", "local", PGC_USERSET);
		if (triggers_off)
			set_for_transaction("session_replication_role", "replica", PGC_SUSET);
		access = outbox_open(triggers_off);
		if (access == OUTBOX_OPEN || access == OUTBOX_NEWER)
		{
			MemoryContextSwitchTo(caller);
			body(access, arg);
			outbox_close();
		}
		commit(stopping);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		roll_back(error);
		failed = true;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);

	if (failed)
	{
		if ((options & TRANSACTION_QUIET) == 0)
			transaction_report(error, "a transaction on sms_outbox failed");
		return TRANSACTION_FAILED;
	}
	return access == OUTBOX_LOCKED ? TRANSACTION_LOCKED :
		access == OUTBOX_MISSING ? TRANSACTION_MISSING : TRANSACTION_DONE;
}
