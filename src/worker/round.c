/*
 * round.c
 *		The worker's rounds on the table.
 *
 * A round records the available results and claims as many messages as there is
 * room for, in one short transaction.
 *
 * If results fail, the next ones are written carefully: see recorder.c.  If claims fail,
 * the next rounds are careful: claims have a transaction of their own, which writes row by
 * row, so that the row that fails is known.  That row alone is written with triggers
 * disabled, or left for later, and the others go on.  If user triggers are too slow, the
 * next round has as few rows as they leave time for.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "utils/backend_status.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "outbox/budget.h"
#include "outbox/candidates.h"
#include "outbox/recent.h"
#include "shared/armed.h"
#include "shared/registry.h"
#include "worker/blocked.h"
#include "worker/dispatch.h"
#include "worker/history.h"
#include "worker/reopen.h"
#include "worker/round.h"
#include "worker/tracker.h"
#include "worker/upkeep.h"

/* A locked table is tried again after this. */
#define LOCKED_TABLE_DELAY (100 * INT64CONST(1000))

/* Rounds that are careful after a claim failed. */
#define CAREFUL_ROUNDS 30

/* What a round's transaction does, and where it is. */
typedef enum RoundPart
{
	ROUND_LOOK,					/* at the accounts and what is new */
	ROUND_RECORD,
	ROUND_CLAIM,
	ROUND_END
} RoundPart;

/* The work of a round's transaction. */
typedef struct Round
{
	Worker	   *worker;
	bool		records;		/* it records results */
	bool		claims;			/* it claims messages */
	RoundPart	part;			/* where it is */
	Recording	recording;
	Dispatch   *dispatch;
} Round;

/* Let the next round read everything from the table. */
static void
look_at_everything(Worker *worker)
{
	worker->look = true;
	worker->look_at.from = DT_NOBEGIN;
}

void
round_init(Worker *worker, bool orphans)
{
	memset(worker, 0, sizeof(Worker));
	wire_open(&worker->wire);
	recorder_init(&worker->recorder);
	expiry_init(&worker->expiry);
	worker->orphans = orphans;
	recent_keep();
	if (orphans)
		budget_forget();
	look_at_everything(worker);
	worker->prepared = true;
	worker->moved_at = DT_NOEND;
	worker->poll_at = worker->retry_at = worker->claim_at = DT_NOBEGIN;
	batch_init(&worker->claims, DISPATCH_MAX, DISPATCH_MAX);
}

/* -------------------------------------------------------------------------
 * A round's transaction
 * ------------------------------------------------------------------------- */

/* Log it once that nothing is sent, and why. */
static void
tell_outdated(const char *why, const char *hint)
{
	if (why && registry_worker_error(why))
		ereport(LOG,
				(errmsg("sms3300: no messages are sent in database \"%s\" because %s",
						get_database_name(MyDatabaseId), why),
				 errhint("%s", hint)));
}

/*
 * Record whether the extension is newer than this library, or the table has another
 * name.  Only the results of active requests are recorded then.
 */
static void
note_access(Worker *worker, OutboxAccess access, TimestampTz now)
{
	bool		was_outdated = worker->outdated;

	worker->outdated = access != OUTBOX_OPEN;
	worker->moved_at = access == OUTBOX_MOVED ?
		now + Max((int64) queue_poll_interval * 1000, USECS_PER_SEC) : DT_NOEND;
	if (was_outdated && !worker->outdated)
		look_at_everything(worker);
	if (was_outdated || !worker->outdated)
		return;
	if (access == OUTBOX_MOVED)
		tell_outdated("the table sms_outbox has been renamed or moved to another schema",
					  "Use ALTER TABLE to give it its name and schema back.");
	else
		tell_outdated(extension_mismatch(EXTENSION_NEWER),
					  "Restart the server to load the installed library.");
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

/*
 * Check for prepared transactions, which do not notify, and for messages of another
 * database, unless just messages of some accounts were queued.
 */
static void
look_around(Worker *worker, TimestampTz now)
{
	if (worker->prepared)
	{
		/* The next statements see the rows of transactions that are not in the list. */
		worker->prepared = outbox_has_prepared();
		worker->poll_at = now + (int64) queue_poll_interval * 1000;
	}

	if (worker->look_at.from != DT_NOBEGIN && !worker->look_at.accounts.any)
		return;

	/* Log it once until there are none. */
	if (registry_worker_foreign(outbox_has_foreign()))
		ereport(LOG,
				(errmsg("sms3300: sms_outbox contains messages that another database queued, which are not sent"),
				 errhint("Run SELECT sms3300_adopt() to send them from this database.")));
}

/* Take in what is new, and claim messages. */
static void
claim_part(Round *round, TimestampTz now)
{
	Worker	   *worker = round->worker;

	if (!worker->stopping && worker->claim_at <= now)
	{
		round->part = ROUND_CLAIM;
		dispatch_claim(round->dispatch, &round->recording, &worker->wire, now);
		queues_end(now);
	}
	round->part = ROUND_LOOK;
	note_unarmed(worker);
}

/* Transaction body: record results and claim messages. */
static void
round_body(OutboxAccess access, void *arg)
{
	Round	   *round = arg;
	Worker	   *worker = round->worker;
	TimestampTz now = GetCurrentTimestamp();

	round->part = ROUND_LOOK;
	note_access(worker, access, now);
	if (!worker->outdated && round->claims)
	{
		if (worker->look)
			look_around(worker, now);
		queues_begin(worker->look ? &worker->look_at : NULL, now);
		if (worker->look && worker->look_at.from == DT_NOBEGIN)
			expiry_look(&worker->expiry);
	}
	round->part = ROUND_RECORD;
	if (round->records)
		recording_write(&worker->recorder, &round->recording);
	if (!worker->outdated && round->claims)
		claim_part(round, now);
	round->part = ROUND_END;
}

/* Run the transaction; if the row of a result is locked, repeat it without locked rows. */
static TransactionOutcome
run_transaction(Round *round, TransactionError *error)
{
	for (;;)
	{
		TransactionOutcome outcome;

		/* It may fail before its body. */
		round->part = ROUND_LOOK;
		round->dispatch->at = -1;
		outcome = transaction_run(0, round_body, round, error);
		if (outcome != TRANSACTION_FAILED)
			return outcome;
		dispatch_undo(round->dispatch);
		if (error->sqlstate != ERRCODE_LOCK_NOT_AVAILABLE || round->recording.skip_locked ||
			round->part != ROUND_RECORD)
			return outcome;
		round->recording.skip_locked = true;
	}
}

/* Note that the queues have taken in what was new. */
static void
end_look(Worker *worker)
{
	worker->look = false;
	worker->look_at = (QueueLook) {.from = DT_NOEND};
}

/* -------------------------------------------------------------------------
 * After a failure
 * ------------------------------------------------------------------------- */

/* Return how long to wait after a failure. */
static int64
back_off(Worker *worker)
{
	worker->failures++;
	return pace_backoff(USECS_PER_SEC, worker->failures) / (worker->stopping ? 10 : 1);
}

/* Handle results that failed together, or claims: be careful, or do less at a time. */
static void
look_closer(Worker *worker, const Round *round, const TransactionError *error)
{
	int			nresults = round->recording.njobs;
	int			nclaims = round->dispatch->nids;

	if (error->too_slow && round->part == ROUND_RECORD && nresults > 1)
		batch_failed(&worker->recorder.batch, nresults, error->took, BATCH_TIME);
	else if (error->too_slow && round->part == ROUND_CLAIM && nclaims > 1)
		batch_failed(&worker->claims, nclaims, error->took, BATCH_TIME);
	else if (round->part == ROUND_RECORD)
		recorder_be_careful(&worker->recorder);
	else
		worker->careful = CAREFUL_ROUNDS;
}

/*
 * Handle a failed transaction.  What is known to fail for a row concerns that row; what
 * fails otherwise delays the claims if it happened there, and else the next round.
 */
static void
handle_failure(Worker *worker, Round *round, const TransactionError *error)
{
	TimestampTz now = GetCurrentTimestamp();

	if (round->part == ROUND_CLAIM && round->dispatch->at >= 0)
	{
		worker->careful = CAREFUL_ROUNDS;
		worker->claims.once = round->dispatch->at;

		/* Another look would forget that this message was passed by. */
		end_look(worker);
		dispatch_anyway(round->dispatch, error, &worker->wire, &worker->recorder);
	}
	else if ((round->part == ROUND_RECORD && !round->recording.careful) ||
			 (round->part == ROUND_CLAIM && !round->dispatch->careful))
		look_closer(worker, round, error);
	else if (round->part == ROUND_CLAIM)
		worker->claim_at = now + back_off(worker);
	else
		worker->retry_at = now + back_off(worker);
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
		worker->look_at.from = Min(worker->look_at.from, news.due);
		news_add_all(&worker->look_at.accounts, &news.accounts);
		expiry_expect(&worker->expiry, news.expires);
		worker->look = true;
		worker->claim_at = DT_NOBEGIN;
	}
	if (worker->prepared && worker->poll_at <= now)
		look_at_everything(worker);
}

/* Delete or redact old messages, if that is due. */
static void
tidy(Worker *worker, TimestampTz now)
{
	AccountQueue *queue = queues_tidy_at(now) <= now ? queues_to_tidy() : NULL;

	if (queue == NULL)
		return;
	queue_hold(queue);
	retention_run(&queue->retention, queue->name,
				  worker->wire.in_flight > 0 || queues_wanted(&worker->wire, now) > 0);
	queue_release(queue);
}

/*
 * Return when delivery states are to be asked for, or recorded; DT_NOEND: not as long as
 * messages wait to be sent.
 */
static TimestampTz
track_at(Worker *worker, TimestampTz now)
{
	TimestampTz next = tracker_next(&worker->wire);

	if (next <= now && worker->wire.answer == NULL &&
		(worker->look || worker->claim_at > now || queues_wanted(&worker->wire, now) > 0))
		return DT_NOEND;
	return next;
}

/* Send the claimed messages after the commit, and handle results that were not recorded. */
static void
settle_round(Worker *worker, Round *round)
{
	worker->retry_at = DT_NOBEGIN;
	if (round->records)
		recording_settle(&round->recording, &worker->wire);
	if (round->claims)
	{
		end_look(worker);
		if (worker->claim_at <= GetCurrentTimestamp())
			worker->failures = 0;
		batch_took(&worker->claims, round->dispatch->nids, round->dispatch->took, BATCH_TIME);
		dispatch_send(round->dispatch, &worker->wire, &worker->recorder);
	}
	for (int i = 0; round->records && i < round->recording.njobs; i++)
		recorder_insist(&worker->recorder, round->recording.jobs[i], &worker->wire);
	expiry_expect(&worker->expiry, recorder_take_expiry());
}

/* Run a round's transaction, and do what is to be done after it. */
static TransactionOutcome
run_part(Worker *worker, Round *round, bool records, bool claims)
{
	TransactionError error;
	TransactionOutcome outcome;

	round->records = records;
	round->claims = claims;
	outcome = run_transaction(round, &error);
	if (outcome == TRANSACTION_DONE)
		settle_round(worker, round);
	else if (outcome == TRANSACTION_FAILED)
		handle_failure(worker, round, &error);
	return outcome;
}

/* Run a round: a transaction, or if it is careful one for results and one for claims. */
static TransactionOutcome
run_round(Worker *worker, TimestampTz now)
{
	bool		careful = worker->careful > 0;
	Round		round = {
		.worker = worker,
		.recording = recorder_due(&worker->recorder, now, worker->stopping),
		.dispatch = dispatch_create(batch_next(&worker->claims), careful)
	};
	TransactionOutcome outcome = TRANSACTION_DONE;

	if (!careful)
		return run_part(worker, &round, true, true);
	worker->careful--;
	if (round.recording.njobs > 0)
		outcome = run_part(worker, &round, true, false);
	round.recording = (Recording) {.njobs = 0};
	if (outcome == TRANSACTION_DONE)
		outcome = run_part(worker, &round, false, true);
	return outcome;
}

/* Return whether the queue has to be searched, and can be, which a renamed table cannot. */
static bool
searches(const Worker *worker)
{
	return worker->orphans && worker->moved_at == DT_NOEND;
}

/* Take over rows of a previous worker.  Returns the outcome of the transaction. */
static TransactionOutcome
find_orphans(Worker *worker)
{
	TransactionOutcome outcome = TRANSACTION_DONE;

	if (searches(worker))
		outcome = recorder_find_orphans(&worker->recorder);
	if (outcome == TRANSACTION_DONE && worker->recorder.searched.ended)
		worker->orphans = false;
	return outcome;
}

/* Run a round in a memory context that is reset after it. */
static bool
round_in_context(Worker *worker)
{
	TimestampTz now = GetCurrentTimestamp();
	TransactionOutcome outcome = find_orphans(worker);

	if (outcome == TRANSACTION_FAILED)
		worker->retry_at = now + back_off(worker);
	else if (outcome == TRANSACTION_DONE)
	{
		if (!worker->stopping && !worker->outdated)
			history_run(now);
		if (!worker->stopping && !worker->outdated && expiry_next(&worker->expiry) <= now)
			expiry_run(&worker->expiry);
		take_news(worker, now);
		recorder_retry(&worker->recorder, now, worker->stopping, &worker->wire);
		outcome = run_round(worker, now);
		if (!worker->stopping && !worker->outdated && reopen_next() <= now)
			reopen_run(now);
		if (outcome == TRANSACTION_DONE && !worker->stopping && !worker->outdated)
		{
			tidy(worker, now);
			if (track_at(worker, now) <= now && !registry_worker_wanted(now))
				tracker_run(&worker->wire);
		}
	}
	if (outcome == TRANSACTION_MISSING)
		return false;
	if (outcome == TRANSACTION_LOCKED)
		worker->retry_at = now + LOCKED_TABLE_DELAY;
	registry_worker_end_look();
	blocked_watch(outcome == TRANSACTION_LOCKED);
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
	if (worker->look || searches(worker) || registry_worker_wanted(now) || worker->moved_at <= now)
		return true;
	if (worker->outdated)
		return false;
	if (expiry_next(&worker->expiry) <= now || queues_tidy_at(now) <= now || queues_reopen_at() <= now ||
		reopen_next() <= now ||
		track_at(worker, now) <= now || (worker->prepared && worker->poll_at <= now))
		return true;
	return worker->claim_at <= now && queues_wanted(&worker->wire, now) > 0;
}

void
round_set_back(Worker *worker, TimestampTz now, TimestampTz former)
{
	worker->retry_at = Min(worker->retry_at, now);
	worker->claim_at = Min(worker->claim_at, now);
	recent_forget();
	expiry_set_back(&worker->expiry, now);
	look_at_everything(worker);
	recorder_set_back(&worker->recorder, now);
	queues_set_back(now);
	reopen_set_back(now);
	reopen_disbelieve(former);
}

TimestampTz
round_next_event(Worker *worker, TimestampTz now)
{
	TimestampTz next = Min(recorder_next(&worker->recorder), registry_worker_due());

	if (worker->look || searches(worker) || registry_worker_wanted(now))
		next = DT_NOBEGIN;
	if (worker->stopping)
		return Max(recorder_next(&worker->recorder), worker->retry_at);
	if (worker->outdated)
		return Max(Min(next, worker->moved_at), worker->retry_at);
	next = Min(next, Min(expiry_next(&worker->expiry), queues_tidy_at(now)));
	next = Min(next, track_at(worker, now));
	if (worker->prepared)
		next = Min(next, worker->poll_at);

	/* Nobody tells of a file that is created. */
	if (!is_armed() && expiry_next(&worker->expiry) != DT_NOEND)
		next = Min(next, now + Max((int64) queue_poll_interval * 1000, USECS_PER_SEC));

	next = Min(next, Max(queues_next_event(&worker->wire, now), worker->claim_at));
	next = Min(next, Min(queues_reopen_at(), reopen_next()));
	return Max(next, worker->retry_at);
}

TimestampTz
round_stay_until(Worker *worker, TimestampTz now)
{
	if (worker->wire.in_flight > 0 || worker->wire.asking || worker->retry_at > now ||
		worker->claim_at > now || (reopen_next() != DT_NOEND && !worker->outdated) ||
		!recorder_is_empty(&worker->recorder) || worker->look || worker->orphans ||
		(worker->prepared && !worker->outdated) || worker->moved_at != DT_NOEND)
		return DT_NOEND;
	return worker->outdated ? DT_NOBEGIN : queues_stay_until(now);
}
