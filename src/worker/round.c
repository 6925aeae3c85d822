/*
 * round.c
 *		The worker's rounds on the table.
 *
 * A round records the available results and claims as many messages as there is
 * room for, in one short transaction.
 *
 * If a round fails, each result and each claim gets its own transaction, so that a
 * bad row, or a user's trigger that fails for it, does not delay the others.  A row
 * that still fails is written with triggers disabled.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "utils/backend_status.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "outbox/candidates.h"
#include "shared/armed.h"
#include "shared/registry.h"
#include "worker/dispatch.h"
#include "worker/round.h"

/* A locked table is tried again after this. */
#define LOCKED_TABLE_DELAY (100 * INT64CONST(1000))

/* Give up writing row by row once this many more have failed than succeeded. */
#define MAX_FAILURES 10

/* Maximum number of single claims without serving the network. */
#define MAX_CLAIMS_ALONE 32

/* The work of a round's transaction. */
typedef struct Round
{
	Worker	   *worker;
	Recording	recording;
	Dispatch   *dispatch;
	TimestampTz now;
} Round;

/* Let the next round read everything from the table. */
static void
look_at_everything(Worker *worker)
{
	worker->look = true;
	worker->look_from = DT_NOBEGIN;
}

void
round_init(Worker *worker, bool orphans)
{
	memset(worker, 0, sizeof(Worker));
	wire_open(&worker->wire);
	recorder_init(&worker->recorder);
	expiry_init(&worker->expiry);
	worker->orphans = orphans;
	look_at_everything(worker);
	worker->prepared = true;
	worker->poll_at = worker->retry_at = DT_NOBEGIN;
}

/* -------------------------------------------------------------------------
 * A round's transaction
 * ------------------------------------------------------------------------- */

/*
 * Record whether the extension is newer than this library, which then only records
 * the results of active requests.
 */
static void
note_extension_version(Worker *worker, OutboxAccess access)
{
	bool		was_outdated = worker->outdated;
	const char *mismatch;

	worker->outdated = access == OUTBOX_NEWER;
	if (was_outdated || !worker->outdated)
		return;
	mismatch = extension_mismatch(EXTENSION_NEWER);
	if (mismatch && registry_worker_error(mismatch))
		ereport(LOG,
				(errmsg("sms3300: no messages are sent in database \"%s\" because %s",
						get_database_name(MyDatabaseId), mismatch),
				 errhint("Restart the server to load the installed library.")));
}

/* Log it once where messages wait and this server may not send them. */
static void
note_unarmed(Worker *worker)
{
	if (!is_armed() && expiry_next(&worker->expiry) != DT_NOEND &&
		registry_worker_error("nothing is sent, because " NOT_ARMED))
		ereport(LOG,
				(errmsg("sms3300: no messages are sent in database \"%s\" because the file \"%s\" does not exist",
						get_database_name(MyDatabaseId), armed_file),
				 errdetail("sms3300.armed_file names it."),
				 errhint("If this server is meant to send, create the file.")));
}

/* Check for prepared transactions and messages of another database, which do not notify. */
static void
look_around(Worker *worker, TimestampTz now)
{
	if (worker->prepared)
	{
		/* The next statements see the rows of transactions that are not in the list. */
		worker->prepared = outbox_has_prepared();
		worker->poll_at = now + (int64) queue_poll_interval * 1000;
	}

	/* Log it once until there are none. */
	if (registry_worker_foreign(outbox_has_foreign()))
		ereport(LOG,
				(errmsg("sms3300: sms_outbox contains messages that another database queued, which are not sent"),
				 errhint("Run SELECT sms3300_adopt() to send them from this database.")));
}

/* Transaction body: record results and claim messages. */
static void
round_body(OutboxAccess access, void *arg)
{
	Round	   *round = arg;
	Worker	   *worker = round->worker;
	TimestampTz now = GetCurrentTimestamp();

	note_extension_version(worker, access);
	if (worker->outdated)
	{
		recording_write(&round->recording);
		return;
	}
	if (worker->look)
		look_around(worker, now);
	queues_begin(worker->look, worker->look_from);
	recording_write(&round->recording);
	if (!worker->stopping)
	{
		dispatch_claim(round->dispatch, &round->recording, &worker->wire, now);
		queues_end(now);
	}
	if (worker->look && worker->look_from == DT_NOBEGIN)
		expiry_look(&worker->expiry);
	note_unarmed(worker);
}

/* Run the transaction; if the row of a result is locked, repeat it without locked rows. */
static TransactionOutcome
run_round(Round *round)
{
	for (;;)
	{
		TransactionError error;
		TransactionOutcome outcome = transaction_run(0, round_body, round, &error);

		if (outcome != TRANSACTION_FAILED)
			return outcome;
		dispatch_undo(round->dispatch);
		if (error.sqlstate != ERRCODE_LOCK_NOT_AVAILABLE || round->recording.skip_locked)
			return outcome;
		round->recording.skip_locked = true;
	}
}

/* -------------------------------------------------------------------------
 * Row by row
 * ------------------------------------------------------------------------- */

/* Delay the next round after a failure. */
static void
back_off(Worker *worker)
{
	worker->failures++;
	worker->retry_at = GetCurrentTimestamp() +
		pace_backoff(USECS_PER_SEC, worker->failures) / (worker->stopping ? 10 : 1);
}

/*
 * Repeat the work of a failed round row by row.  Rows that fail by themselves are
 * left for later.  If no row succeeds, the rows are not the cause, and everything is
 * delayed.
 */
static void
one_by_one(Worker *worker, const Recording *recording)
{
	DispatchAlone last = DISPATCHED_ONE;
	int			worked = 0;
	int			failed = 0;

	for (int i = 0; i < recording->njobs && failed - worked < MAX_FAILURES; i++)
	{
		if (recorder_record_alone(recording->jobs[i], &worker->wire))
			worked++;
		else
			failed++;
	}
	for (int i = 0; !worker->stopping && i < MAX_CLAIMS_ALONE && failed - worked < MAX_FAILURES &&
		 (last == DISPATCHED_ONE || last == DISPATCH_FAILED_ONE) && !ShutdownRequestPending; i++)
	{
		last = dispatch_alone(&worker->wire, &worker->recorder);
		if (last == DISPATCHED_ONE)
			worked++;
		else if (last != DISPATCHED_NONE)
			failed++;
	}
	if (failed > 0 && worked == 0)
		back_off(worker);
}

/* -------------------------------------------------------------------------
 * A round
 * ------------------------------------------------------------------------- */

/* Read the notifications about messages queued since the last look. */
static void
take_news(Worker *worker, TimestampTz now)
{
	if (registry_worker_wanted(now))
	{
		WorkerNews	news;

		registry_worker_begin_look(&news);
		worker->prepared |= news.prepared;
		worker->look_from = Min(worker->look_from, news.due);
		expiry_expect(&worker->expiry, news.expires);
		worker->look = true;
	}
	if (worker->prepared && worker->poll_at <= now)
		look_at_everything(worker);
}

/* Run the expiry and the retention if they are due. */
static void
keep_house(Worker *worker, TimestampTz now)
{
	if (expiry_next(&worker->expiry) <= now)
		expiry_run(&worker->expiry);
	if (queues_tidy_at() <= now)
	{
		AccountQueue *queue = queues_to_tidy();

		queue_hold(queue);
		retention_run(&queue->retention, queue->name);
		queue_release(queue);
	}
}

/* Send the claimed messages after the commit, and handle results that were not recorded. */
static void
settle_round(Worker *worker, Round *round)
{
	worker->look = false;
	worker->look_from = DT_NOEND;
	worker->failures = 0;
	worker->retry_at = DT_NOBEGIN;
	recording_settle(&round->recording, &worker->wire);
	dispatch_send(round->dispatch, &worker->wire, &worker->recorder);
	for (int i = 0; i < round->recording.njobs; i++)
		recorder_record_alone(round->recording.jobs[i], &worker->wire);
}

/* Take over the rows of a previous worker, once.  Returns the outcome of the transaction. */
static TransactionOutcome
find_orphans(Worker *worker)
{
	TransactionOutcome outcome = TRANSACTION_DONE;

	if (worker->orphans)
		outcome = recorder_find_orphans(&worker->recorder);
	if (outcome == TRANSACTION_DONE)
		worker->orphans = false;
	return outcome;
}

/* Run a round in a memory context that is reset after it. */
static bool
round_in_context(Worker *worker)
{
	TimestampTz now = GetCurrentTimestamp();
	Round		round = {.worker = worker};
	TransactionOutcome outcome = find_orphans(worker);

	if (outcome == TRANSACTION_DONE)
	{
		if (!worker->stopping && !worker->outdated)
			keep_house(worker, now);
		take_news(worker, now);
		round.recording = recorder_due(&worker->recorder, now, worker->stopping);
		round.dispatch = dispatch_create(DISPATCH_MAX);
		outcome = run_round(&round);
	}
	switch (outcome)
	{
		case TRANSACTION_DONE:
			settle_round(worker, &round);
			break;
		case TRANSACTION_LOCKED:
			worker->retry_at = now + LOCKED_TABLE_DELAY;
			break;
		case TRANSACTION_MISSING:
			return false;
		case TRANSACTION_FAILED:
			if (worker->orphans)
				back_off(worker);
			else
				one_by_one(worker, &round.recording);
			break;
	}
	registry_worker_end_look(outcome == TRANSACTION_LOCKED);
	return true;
}

bool
round_run(Worker *worker)
{
	static MemoryContext context = NULL;
	MemoryContext caller;
	bool		present;

	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "sms3300 round",
										ALLOCSET_DEFAULT_SIZES);
	pgstat_report_activity(STATE_RUNNING, "sms3300: recording and claiming messages");
	caller = MemoryContextSwitchTo(context);
	present = round_in_context(worker);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(context);
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	return present;
}

/* -------------------------------------------------------------------------
 * The time of the next round
 * ------------------------------------------------------------------------- */

bool
round_is_wanted(Worker *worker, TimestampTz now)
{
	if (worker->retry_at > now)
		return false;
	if (recorder_next(&worker->recorder) <= now)
		return true;
	if (worker->stopping)
		return false;
	if (worker->look || registry_worker_wanted(now))
		return true;
	if (worker->outdated)
		return false;
	if (expiry_next(&worker->expiry) <= now || queues_tidy_at() <= now || queues_reopen_at() <= now ||
		(worker->prepared && worker->poll_at <= now))
		return true;
	return queues_wanted(&worker->wire, now) > 0;
}

void
round_set_back(Worker *worker, TimestampTz now)
{
	worker->retry_at = Min(worker->retry_at, now);
	expiry_set_back(&worker->expiry, now);
	look_at_everything(worker);
	recorder_set_back(&worker->recorder, now);
	queues_set_back(now);
}

TimestampTz
round_next_event(Worker *worker, TimestampTz now)
{
	TimestampTz next = Min(recorder_next(&worker->recorder), registry_worker_due());

	if (worker->look || registry_worker_wanted(now))
		next = DT_NOBEGIN;
	if (worker->stopping)
		return Max(recorder_next(&worker->recorder), worker->retry_at);
	if (worker->outdated)
		return Max(next, worker->retry_at);
	next = Min(next, Min(expiry_next(&worker->expiry), queues_tidy_at()));
	if (worker->prepared)
		next = Min(next, worker->poll_at);

	/* Nobody tells of a file that is created. */
	if (!is_armed() && expiry_next(&worker->expiry) != DT_NOEND)
		next = Min(next, now + Max((int64) queue_poll_interval * 1000, USECS_PER_SEC));

	next = Min(next, Min(queues_next_event(&worker->wire, now), queues_reopen_at()));
	return Max(next, worker->retry_at);
}

TimestampTz
round_stay_until(Worker *worker, TimestampTz now)
{
	if (worker->wire.in_flight > 0 || worker->retry_at > now ||
		!recorder_is_empty(&worker->recorder) || worker->look ||
		(worker->prepared && !worker->outdated))
		return DT_NOEND;
	return worker->outdated ? DT_NOBEGIN : queues_stay_until(now);
}
