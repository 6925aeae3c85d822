/*
 * transaction.c
 *		Run a transaction of the worker on sms_outbox.
 *
 * The worker accesses the table only in transactions that begin and end here.  Each
 * kind of transaction has a body: a round, a single result, a single claim, expiry,
 * retention, orphans.  Nothing in a transaction waits for long: the table's lock is
 * taken without waiting, and row locks are subject to lock_timeout.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timeout.h"

#include "outbox/row.h"
#include "outbox/tell.h"
#include "shared/clock.h"
#include "shared/registry.h"
#include "worker/repeats.h"
#include "worker/transaction.h"

/* Time limit for user triggers, and grace period if a trigger catches the cancellation. */
#define TRIGGER_TIMEOUT_MS 10000
#define TRIGGER_GRACE_MS 2000

/* What the log says where an error is no other's. */
#define FAILED "a transaction on sms_outbox failed"

volatile sig_atomic_t transaction_committing = false;
volatile sig_atomic_t transaction_overrun = false;

/* The timeout for triggers that ignore their cancellation, once it is registered */
static TimeoutId overrun = MAX_TIMEOUTS;

/* When the time limit began, by clock_us(); 0: there is none */
static int64 limited_at = 0;

/*
 * Terminate the process because a trigger has caught its cancellation and keeps
 * running.  It would catch others too, and a shutdown would wait for it.
 *
 * If the cancellation is still pending, it has not been caught.  The process was
 * delayed then, by its disk or a suspended machine, and gets more time.
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

/* Return the timeout that calls on_overrun(), registering it if necessary. */
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
	limited_at = clock_us();
	enable_timeouts(timeouts, lengthof(timeouts));
}

/* Remove the time limits. */
static void
drop_limits(void)
{
	DisableTimeoutParams timeouts[] = {
		{.id = STATEMENT_TIMEOUT}, {.id = overrun_timeout()}
	};

	disable_timeouts(timeouts, lengthof(timeouts));
	limited_at = 0;
}

/*
 * Remove the time limits, as only our own statements follow.  A cancellation at the
 * last moment is processed here: after the commit, it would leave claims without
 * requests.
 */
void
transaction_unlimit_triggers(void)
{
	drop_limits();
	CHECK_FOR_INTERRUPTS();
}

/* Change a setting until the end of the transaction, or by GUC_ACTION_SAVE until that of a level of settings. */
static void
change_setting(const char *name, const char *value, GucContext context, GucAction action)
{
	set_config_option(name, value, context, PGC_S_SESSION, action, true, 0, false);
}

/* Commit.  Only a stop cancels a commit that waits for a standby. */
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

/* Take the error that was raised, in the current memory context. */
static void
take_error(TransactionError *error)
{
	ErrorData  *data = CopyErrorData();

	FlushErrorState();
	error->took = limited_at != 0 ? clock_us() - limited_at : 0;
	error->too_slow = data->sqlerrcode == ERRCODE_QUERY_CANCELED &&
		error->took >= (int64) TRIGGER_TIMEOUT_MS * 1000;
	if (!error->too_slow)
		error->took = 0;
	drop_limits();
	error->sqlstate = data->sqlerrcode;
	error->message = data->message;
}

/* Roll back after an error, and return the error in the current memory context. */
static void
roll_back(TransactionError *error)
{
	take_error(error);
	AbortCurrentTransaction();
	QueryCancelPending = false;
	transaction_committing = false;
}

/* A cancel by an administrator, a deadlock, or lack of memory or disk space is not a trigger's. */
bool
transaction_may_disable_triggers(const TransactionError *error)
{
	if (error->too_slow)
		return true;
	switch (ERRCODE_TO_CATEGORY(error->sqlstate))
	{
		case MAKE_SQLSTATE('4', '0', '0', '0', '0'):	/* transaction rollback: deadlock */
		case MAKE_SQLSTATE('5', '3', '0', '0', '0'):	/* insufficient resources */
		case MAKE_SQLSTATE('5', '7', '0', '0', '0'):	/* operator intervention: cancel */
		case MAKE_SQLSTATE('5', '8', '0', '0', '0'):	/* system error */
			return false;
	}
	return error->sqlstate != ERRCODE_LOCK_NOT_AVAILABLE &&
		error->sqlstate != ERRCODE_DATA_CORRUPTED && error->sqlstate != ERRCODE_INDEX_CORRUPTED;
}

void
transaction_report(const TransactionError *error, const char *what)
{
	if (repeats_log(psprintf("%s: %s", what, error->message), 1))
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

	Assert(!IsTransactionState());
	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();

		/* While stopping, nothing is claimed, and results need not wait for a standby. */
		if (stopping)
			change_setting("synchronous_commit", "local", PGC_USERSET, GUC_ACTION_LOCAL);
		if (options & TRANSACTION_TRIGGERS_OFF)
			change_setting("session_replication_role", "replica", PGC_SUSET, GUC_ACTION_LOCAL);
		access = outbox_open();
		if (access != OUTBOX_LOCKED && access != OUTBOX_MISSING)
		{
			rows_check();
			MemoryContextSwitchTo(caller);
			body(access, arg);
			rows_end();
			tell_send();
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
			transaction_report(error, FAILED);
		return TRANSACTION_FAILED;
	}
	return access == OUTBOX_LOCKED ? TRANSACTION_LOCKED :
		access == OUTBOX_MISSING ? TRANSACTION_MISSING : TRANSACTION_DONE;
}

bool
transaction_attempt(int options, void (*part) (void *arg), void *arg, TransactionError *error)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;

	/* What is open belongs to the transaction, and would outlive the end of the part. */
	rows_end();
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		int			nest_level = NewGUCNestLevel();

		if (options & TRANSACTION_TRIGGERS_OFF)
			change_setting("session_replication_role", "replica", PGC_SUSET, GUC_ACTION_SAVE);
		part(arg);
		rows_end();
		AtEOXact_GUC(false, nest_level);
		ReleaseCurrentSubTransaction();
		done = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		take_error(error);
		RollbackAndReleaseCurrentSubTransaction();

		/* What cancels for a stop ends the transaction as well; anything else has been dealt with. */
		QueryCancelPending = ShutdownRequestPending && error->sqlstate == ERRCODE_QUERY_CANCELED && !error->too_slow;
		InterruptPending |= QueryCancelPending;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	if (!done)
		transaction_report(error, FAILED);
	return done;
}
