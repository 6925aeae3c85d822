/*
 * round.c
 *		The worker's work on the table: results and claims in one transaction.
 *
 * A round records the results at hand and claims what there is room for, in
 * one short transaction; requests leave after its commit.  Nothing in it waits
 * for long: not for the table's lock, and for a row's only lock_timeout.
 *
 * Where a round fails, each result and each claim gets a transaction of its
 * own, so that one bad row, or a user's trigger that fails for it, does not
 * hold up the others; and a row that still fails is written with triggers off.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "utils/acl.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "compose.h"
#include "counters.h"
#include "extension.h"
#include "queue.h"
#include "round.h"
#include "settings.h"
#include "shmem.h"

/* A user's trigger may take this long. */
#define TRIGGER_TIMEOUT_MS 10000

/* The table is tried again after this while somebody holds a lock on it ... */
#define LOCKED_TABLE_DELAY (100 * INT64CONST(1000))

/* ... and a row after this. */
#define LOCKED_ROW_DELAY USECS_PER_SEC

/* A message that cannot be claimed even with triggers off is left alone for this. */
#define SHUN_TIME USECS_PER_MINUTE

/* Rows fail one by one until so many more have failed than worked. */
#define MAX_FAILURES 10

/* Claims one by one, without looking at the network. */
#define MAX_CLAIMS_ALONE 32

/* The most that one transaction claims. */
#define MAX_CLAIMS 1000

/* What one transaction is to do, and what it did. */
typedef struct Batch
{
	bool		look;
	bool		expire;
	Lane	   *tidy;			/* whose history to tidy; NULL: none's */
	bool		triggers_off;
	bool		skip_locked;	/* leave results alone whose row is locked */
	Job		  **jobs;			/* to record */
	int			njobs;
	MessageResult *results;		/* of those jobs */
	int			limit;			/* how many to claim at the most */
	int64		ids[MAX_CLAIMS];	/* to claim; taken from the lanes if none are given */
	int			nids;
	dlist_head	claimed;		/* jobs */
	List	   *expired;		/* the account of each message that expired */
	int			sqlstate;		/* of the error, if it failed */
	const char *error;			/* likewise */
} Batch;

typedef enum BatchOutcome
{
	BATCH_DONE,
	BATCH_LOCKED,
	BATCH_MISSING,				/* the extension is not in this database */
	BATCH_FAILED
} BatchOutcome;

volatile sig_atomic_t work_committing = false;

/* Put a job among those whose result is to be recorded. */
void
work_add_finished(Work *work, Job *job)
{
	dlist_push_tail(&work->finished, &job->node);
}

/* -------------------------------------------------------------------------
 * One transaction
 * ------------------------------------------------------------------------- */

/* Make jobs of the rows that a former worker left behind. */
static void
find_orphans(Work *work)
{
	ListCell   *cell;
	List	   *orphans = queue_orphans();

	foreach(cell, orphans)
	{
		QueueOrphan *orphan = lfirst(cell);
		Lane	   *lane = lane_find_or_add(orphan->account);
		Job		   *job = job_create(orphan->id, orphan->started_at, lane,
										  orphan->attempts);

		lane->njobs++;
		job_fail(job, VERDICT_UNKNOWN, "the worker ended before a reply came");
		work_add_finished(work, job);
	}
	if (orphans != NIL)
		ereport(LOG,
				(errmsg_plural("sms3300: %d message was being sent when the last worker ended",
							   "sms3300: %d messages were being sent when the last worker ended",
							   list_length(orphans), list_length(orphans)),
				 errdetail("It is not known whether the gateway got what was on the wire.")));
	work->orphans = false;
}

/* Say that messages of another database wait here: once, until there are none. */
static void
look_for_foreign(void)
{
	if (shmem_worker_foreign(queue_has_foreign()))
		ereport(LOG,
				(errmsg("sms3300: sms_outbox has messages that another database queued, which are not sent"),
				 errhint("To have them sent from here, call sms3300_adopt().")));
}

/* Make a job of a claimed message, with its request. */
static void
begin_job(Batch *batch, const QueueClaim *claim, TimestampTz now)
{
	Lane	   *lane = lane_find_or_add(claim->account);
	Job		   *job = job_create(claim->id, claim->started_at, lane, claim->attempts);
	Route		route = {claim->line, claim->line2, claim->type, claim->template};
	const Account *account;
	const char *problem;
	bool		of_sender = false;

	/* From here on an error finds the job, and undoes this. */
	dlist_push_tail(&batch->claimed, &job->node);
	lane->njobs++;
	lane_claimed(lane, now);
	job->claimed_at = now;
	job->age = now - claim->send_after;
	job->due_at = claim->due_at;

	account = account_find(lane->name);
	problem = account == NULL ? "the account does not exist any more" :
		compose_request(account, get_role_oid(claim->sender, true),
						claim->mobile, claim->message, &route, &job->request, &of_sender);
	if (problem)
	{
		job_fail(job, VERDICT_ACCOUNT, problem);
		if (of_sender)
			lane_mute(lane, claim->sender, now);
	}
}

/* From here on triggers may fire, which end where they take too long. */
static void
limit_triggers(void)
{
	enable_timeout_after(STATEMENT_TIMEOUT, TRIGGER_TIMEOUT_MS);
}

/* From here on only statements of our own run, which may take their time. */
static void
unlimit_triggers(void)
{
	disable_timeout(STATEMENT_TIMEOUT, false);
}

/* Expire the messages given, or else all that is due and is not left alone. */
static void
expire_batch(Work *work, Batch *batch, TimestampTz now)
{
	int64		shunned[LANES_MAX_SHUNNED];

	if (batch->nids == 0)
	{
		batch->nids = queue_expiring(now, shunned, lanes_shunned(now, shunned),
									  MAX_CLAIMS, batch->ids);

		/* What is left then is locked, or left alone. */
		if (batch->nids < MAX_CLAIMS)
			work->expire_not_before = now + LOCKED_ROW_DELAY;
	}
	limit_triggers();
	batch->expired = queue_expire(now, batch->ids, batch->nids);
	unlimit_triggers();
}

/* Record the results of a batch's jobs. */
static void
record(Batch *batch)
{
	if (batch->njobs == 0)
		return;
	batch->results = palloc(sizeof(MessageResult) * batch->njobs);
	for (int i = 0; i < batch->njobs; i++)
		job_result(batch->jobs[i], &batch->results[i]);
	limit_triggers();
	results_record(batch->results, batch->njobs, batch->skip_locked);
	unlimit_triggers();
}

/*
 * Note whether the extension is newer than this library, which then only
 * records what became of requests that have left.
 */
static void
note_version(Work *work, QueueAccess access)
{
	bool		was_outdated = work->outdated;
	const char *mismatch;

	work->outdated = access == QUEUE_NEWER;
	if (was_outdated || !work->outdated)
		return;
	mismatch = extension_mismatch(EXTENSION_NEWER);
	if (mismatch && shmem_worker_error(mismatch))
		ereport(LOG,
				(errmsg("sms3300: nothing is sent in database \"%s\", because %s",
						get_database_name(MyDatabaseId), mismatch),
				 errhint("Restart the server, so that it loads the library that was installed for it.")));
}

/* Tell whether a batch has recorded the result of a job. */
static bool
is_recorded(const Batch *batch, const Job *job)
{
	for (int i = 0; i < batch->njobs; i++)
		if (batch->jobs[i] == job)
			return batch->results[i].recorded;
	return false;
}

/*
 * Leave out messages whose requests are under way: somebody, or a trigger, has
 * queued them again by hand.  Their results will come.
 */
static int
leave_out_jobs(const Batch *batch, int64 *ids, int nids)
{
	int			left = 0;

	for (int i = 0; i < nids; i++)
	{
		const Job  *job = job_find(ids[i]);

		if (job == NULL || is_recorded(batch, job) || !result_is_awaited(job->id, job->started_at))
			ids[left++] = ids[i];
	}
	return left;
}

/* Do a batch's work inside its transaction. */
static void
work_in_transaction(Work *work, Batch *batch)
{
	TimestampTz now = GetCurrentTimestamp();
	QueueClaim *claims;
	int			nclaims;

	if (work->orphans)
		find_orphans(work);
	if (work->outdated)
	{
		record(batch);
		return;
	}
	if (batch->look && work->prepared)
	{
		/* Whoever is not in this list has rows that the statements below see. */
		work->prepared = queue_has_prepared();
		work->poll_at = now + (int64) settings_poll_interval * 1000;
	}
	if (batch->look)
		look_for_foreign();
	limit_triggers();
	lanes_begin(batch->look, work->look_from);
	unlimit_triggers();

	if (batch->expire)
		expire_batch(work, batch, now);
	if (batch->tidy)
	{
		limit_triggers();
		history_tidy(&batch->tidy->history, batch->tidy->name, now);
		unlimit_triggers();
	}
	record(batch);

	if (batch->nids == 0 && batch->limit > 0)
	{
		int			wanted = Min(lanes_wanted(now), batch->limit);

		batch->nids = lanes_take(Min(wanted, http_reserve(work->http, wanted)), now, batch->ids);
		batch->nids = leave_out_jobs(batch, batch->ids, batch->nids);
	}
	if (batch->nids > 0 && !batch->expire)
	{
		limit_triggers();
		claims = queue_claim(batch->ids, batch->nids, now, &nclaims);
		unlimit_triggers();
		for (int i = 0; i < nclaims; i++)
			begin_job(batch, &claims[i], now);
	}
	if (batch->limit > 0)
		lanes_end(now);
	if (batch->expire || work->next_expiry == DT_NOBEGIN)
		work->next_expiry = queue_next_expiry();
}

/* Undo in memory what a failed transaction claimed. */
static void
forget_claims(Work *work, Batch *batch)
{
	while (!dlist_is_empty(&batch->claimed))
	{
		Job		   *job = dlist_container(Job, node, dlist_pop_head_node(&batch->claimed));

		throttle_cancel(&job->lane->throttle);
		job->lane->njobs--;
		compose_discard(&job->request);
		job_destroy(job, work->http);
	}
	lanes_reset();
}

/* Tell of a batch's error, for which there is a reason. */
static void
tell_error(const Batch *batch, const char *what)
{
	ereport(LOG,
			(errcode(batch->sqlstate),
			 errmsg("sms3300: %s: %s", what, batch->error)));
	shmem_worker_error(batch->error);
}

/*
 * Run a batch in a transaction.  An error is logged without its detail, which
 * may show a row, and undone.
 */
static BatchOutcome
run_transaction(Work *work, Batch *batch)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile QueueAccess access = QUEUE_OPEN;
	volatile bool failed = false;
	bool		stopping = ShutdownRequestPending;

	dlist_init(&batch->claimed);
	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();

		/* A stop claims nothing, and what it records needs no standby. */
		if (stopping)
			set_config_option("synchronous_commit", "local", PGC_USERSET,
							  PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
		if (batch->triggers_off)
			set_config_option("session_replication_role", "replica", PGC_SUSET,
							  PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
		access = queue_open();
		if (access == QUEUE_OPEN || access == QUEUE_NEWER)
		{
			MemoryContextSwitchTo(caller);
			note_version(work, access);
			work_in_transaction(work, batch);
			queue_close();
		}

		/* A commit that waits for a standby is cut short by a stop, and only by that. */
		work_committing = true;
		QueryCancelPending = false;
		if (ShutdownRequestPending && !stopping)
			QueryCancelPending = InterruptPending = true;
		CommitTransactionCommand();
		QueryCancelPending = false;
		work_committing = false;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		disable_timeout(STATEMENT_TIMEOUT, false);
		AbortCurrentTransaction();
		QueryCancelPending = false;
		work_committing = false;
		batch->sqlstate = error->sqlerrcode;
		batch->error = error->message;
		failed = true;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);

	if (failed)
	{
		/* A history's failures are told once, by tidy(). */
		if (batch->tidy == NULL)
			tell_error(batch, "a transaction on sms_outbox failed");
		forget_claims(work, batch);
		return BATCH_FAILED;
	}
	return access == QUEUE_LOCKED ? BATCH_LOCKED :
		access == QUEUE_MISSING ? BATCH_MISSING : BATCH_DONE;
}

/* Count a result that was recorded, between counters_begin() and counters_end(). */
static void
count_result(const Job *job, const MessageResult *result)
{
	Oid			server = job->lane->serverid;
	bool		requested = job->submitted_at != 0;

	if (requested)
	{
		counters_add(server, COUNTER_REQUESTS, 1);
		counters_add_time(server, TIME_REQUEST, job->finished_at - job->submitted_at);
	}
	if (strcmp(result->status, "queued") == 0)
	{
		if (requested)
			counters_add(server, COUNTER_RETRIED, 1);
		return;
	}
	counters_add(server,
				 strcmp(result->status, "sent") == 0 ? COUNTER_SENT :
				 strcmp(result->status, "rejected") == 0 ? COUNTER_REJECTED :
				 strcmp(result->status, "failed") == 0 ? COUNTER_FAILED : COUNTER_UNKNOWN, 1);
	if (job->due_at != 0)
		counters_add_time(server, TIME_WAIT, job->claimed_at - job->due_at);
}

/* Count what a batch did, after its commit. */
static void
count(const Batch *batch)
{
	ListCell   *cell;

	if (batch->njobs == 0 && batch->expired == NIL)
		return;
	counters_begin();
	for (int i = 0; i < batch->njobs; i++)
		if (batch->results[i].recorded)
			count_result(batch->jobs[i], &batch->results[i]);
	foreach(cell, batch->expired)
		counters_add(lane_find_or_add(lfirst(cell))->serverid, COUNTER_EXPIRED, 1);
	counters_end();
}

/* After a commit: let go of what is recorded, and have what was claimed sent. */
static void
settle(Work *work, Batch *batch)
{
	TimestampTz now = GetCurrentTimestamp();

	count(batch);

	for (int i = 0; i < batch->njobs; i++)
	{
		Job		   *job = batch->jobs[i];
		const MessageResult *result = &batch->results[i];

		if (!result->recorded)
			continue;
		if (strcmp(result->status, "queued") == 0)
			lane_due(job->lane, result->due_at);
		else
			history_recorded(&job->lane->history, result->at);
		job->lane->njobs--;
		dlist_delete(&job->node);
		job_destroy(job, work->http);
	}

	while (!dlist_is_empty(&batch->claimed))
	{
		Job		   *job = dlist_container(Job, node, dlist_pop_head_node(&batch->claimed));

		if (job->request.body && !ShutdownRequestPending)
		{
			lane_submitting(job->lane, now - job->claimed_at);
			job->submitted_at = now;
			job->request.owner = job;
			http_submit(work->http, &job->request);
			work->in_flight++;
			continue;
		}
		compose_discard(&job->request);
		if (job->problem[0] == '\0')
			job_fail(job, VERDICT_NOT_SENT, "the server was stopping");
		lane_cancelled(job->lane, now);
		work_add_finished(work, job);
	}
}

/* -------------------------------------------------------------------------
 * One row at a time
 * ------------------------------------------------------------------------- */

/*
 * Record one result by itself, in the end with triggers off.  False if that
 * does not work now; it is tried again later.
 */
static bool
record_alone(Work *work, Job *job)
{
	Batch	   *batch = palloc0(sizeof(Batch));

	batch->jobs = &job;
	batch->njobs = 1;
	for (int i = 0; i < 2; i++)
	{
		BatchOutcome outcome = run_transaction(work, batch);

		if (outcome == BATCH_DONE && batch->results[0].recorded)
		{
			if (batch->triggers_off)
				ereport(LOG,
						(errmsg("sms3300: the result of message " INT64_FORMAT
								" was recorded with triggers off", job->id),
						 errdetail("A trigger on sms_outbox failed, or suppressed the update.")));
			settle(work, batch);
			return true;
		}
		if (outcome == BATCH_LOCKED || outcome == BATCH_MISSING ||
			(outcome == BATCH_FAILED && batch->sqlstate == ERRCODE_LOCK_NOT_AVAILABLE))
			break;
		batch->triggers_off = true;
	}
	job->retry_at = GetCurrentTimestamp() + throttle_backoff(LOCKED_ROW_DELAY, ++job->failures);
	return false;
}

/* Claim one message by itself, in the end with triggers off; false if there is none to claim. */
static bool
claim_alone(Work *work, bool *failed)
{
	Batch	   *batch = palloc0(sizeof(Batch));
	BatchOutcome outcome;

	batch->limit = 1;
	outcome = run_transaction(work, batch);
	if (outcome == BATCH_FAILED && batch->nids == 1)
	{
		batch->triggers_off = true;
		outcome = run_transaction(work, batch);
		if (outcome == BATCH_DONE)
			ereport(LOG,
					(errmsg("sms3300: message " INT64_FORMAT " was claimed with triggers off",
							batch->ids[0]),
					 errdetail("A trigger on sms_outbox failed.")));
		else
			lanes_shun(batch->ids[0], GetCurrentTimestamp() + SHUN_TIME);
	}
	*failed = outcome != BATCH_DONE;
	if (!*failed)
		settle(work, batch);
	return batch->nids > 0;
}

/* -------------------------------------------------------------------------
 * A round
 * ------------------------------------------------------------------------- */

/* The jobs whose result may be recorded now. */
static Job **
recordable(Work *work, TimestampTz now, int *njobs)
{
	dlist_iter	iter;
	Job		  **jobs;
	int			n = 0;

	dlist_foreach(iter, &work->finished)
		n++;
	jobs = palloc(sizeof(Job *) * Max(n, 1));
	*njobs = 0;
	dlist_foreach(iter, &work->finished)
	{
		Job		   *job = dlist_container(Job, node, iter.cur);

		if (job->retry_at <= now || work->stopping)
			jobs[(*njobs)++] = job;
	}
	return jobs;
}

/* After a failure: leave the table alone for a while. */
static void
back_off(Work *work)
{
	work->failures++;
	work->retry_at = GetCurrentTimestamp() +
		throttle_backoff(USECS_PER_SEC, work->failures) / (work->stopping ? 10 : 1);
}

/*
 * Do again, row by row, what failed together.  Rows that fail by themselves are
 * left for later; where nothing works, the trouble is not the rows', and all is.
 */
static void
one_by_one(Work *work, Batch *batch)
{
	int			worked = 0;
	int			failed = 0;

	for (int i = 0; i < batch->njobs && failed - worked < MAX_FAILURES; i++)
	{
		if (record_alone(work, batch->jobs[i]))
			worked++;
		else
			failed++;
	}
	for (int i = 0; i < Min(batch->limit, MAX_CLAIMS_ALONE) && failed - worked < MAX_FAILURES &&
		 !ShutdownRequestPending; i++)
	{
		bool		this_failed;
		bool		any = claim_alone(work, &this_failed);

		if (this_failed)
			failed++;
		else if (any)
			worked++;
		if (!any)
			break;
	}
	if (failed > 0 && worked == 0)
		back_off(work);
}

/* Expire one message by itself, in the end with triggers off; else leave it alone. */
static void
expire_alone(Work *work, int64 id)
{
	Batch	   *batch = palloc0(sizeof(Batch));

	batch->expire = true;
	batch->ids[0] = id;
	batch->nids = 1;
	if (run_transaction(work, batch) == BATCH_FAILED)
	{
		batch->expired = NIL;
		batch->triggers_off = true;
		if (run_transaction(work, batch) == BATCH_FAILED)
		{
			lanes_shun(id, GetCurrentTimestamp() + SHUN_TIME);
			return;
		}
	}
	count(batch);
}

/* Expire what is due; where that fails together, one by one, some at a time. */
static void
expire(Work *work)
{
	Batch	   *batch = palloc0(sizeof(Batch));

	batch->expire = true;
	if (run_transaction(work, batch) != BATCH_FAILED)
	{
		count(batch);
		return;
	}
	for (int i = 0; i < Min(batch->nids, MAX_FAILURES) && !ShutdownRequestPending; i++)
		expire_alone(work, batch->ids[i]);
	work->expire_not_before = GetCurrentTimestamp() + LOCKED_ROW_DELAY;
}

/*
 * Delete and redact some of what is old enough, of one account.  Never with
 * triggers off: the foreign keys of others are triggers too.
 */
static void
tidy(Work *work)
{
	Batch	   *batch = palloc0(sizeof(Batch));
	History    *history;
	BatchOutcome outcome;
	int64		id;

	batch->tidy = lanes_to_tidy();
	history = &batch->tidy->history;
	batch->tidy->njobs++;		/* keeps the lane */
	outcome = run_transaction(work, batch);
	batch->tidy->njobs--;
	if (outcome == BATCH_DONE)
		history_tidied(history, GetCurrentTimestamp());
	else if (outcome == BATCH_FAILED && !ShutdownRequestPending &&
			 history_failed(history, GetCurrentTimestamp(), &id))
		tell_error(batch, psprintf("message " INT64_FORMAT " of account \"%s\" is old, but cannot be "
								   "deleted or redacted, and is passed over, as are others like it",
								   id, batch->tidy->name));
}

/* Have the next round take nothing for known about the table. */
static void
look_at_everything(Work *work)
{
	work->look = true;
	work->look_from = DT_NOBEGIN;
	work->next_expiry = DT_NOBEGIN;
}

/* When something expires; DT_NOEND: never. */
static TimestampTz
next_expiry(const Work *work)
{
	return Max(work->next_expiry, work->expire_not_before);
}

/* Do a round in memory that is freed after it. */
static bool
round_in_context(Work *work)
{
	TimestampTz now = GetCurrentTimestamp();
	Batch	   *batch = palloc0(sizeof(Batch));
	BatchOutcome outcome;

	if (!work->stopping && !work->outdated && next_expiry(work) <= now)
		expire(work);
	if (!work->stopping && !work->outdated && lanes_tidy_at() <= now)
		tidy(work);

	if (shmem_worker_wanted(now))
	{
		WorkerNews	news;

		shmem_worker_begin_look(&news);
		work->prepared |= news.prepared;
		work->look_from = Min(work->look_from, news.due);
		work->next_expiry = Min(work->next_expiry, news.expires);
		work->look = true;
	}
	if (work->prepared && work->poll_at <= now)
		look_at_everything(work);

	batch->look = work->look;
	batch->jobs = recordable(work, now, &batch->njobs);
	batch->limit = work->stopping ? 0 : MAX_CLAIMS;
	for (int i = 0; i < batch->njobs; i++)
		batch->skip_locked |= batch->jobs[i]->retry_at != 0;

	outcome = run_transaction(work, batch);
	if (outcome == BATCH_FAILED && batch->sqlstate == ERRCODE_LOCK_NOT_AVAILABLE &&
		!batch->skip_locked)
	{
		batch->skip_locked = true;
		batch->nids = 0;
		outcome = run_transaction(work, batch);
	}
	switch (outcome)
	{
		case BATCH_DONE:
			work->look = false;
			work->look_from = DT_NOEND;
			work->failures = 0;
			work->retry_at = DT_NOBEGIN;
			settle(work, batch);
			for (int i = 0; i < batch->njobs; i++)
			{
				if (batch->results[i].locked)
					batch->jobs[i]->retry_at = GetCurrentTimestamp() + LOCKED_ROW_DELAY;
				else if (!batch->results[i].recorded)
					record_alone(work, batch->jobs[i]);
			}
			break;
		case BATCH_LOCKED:
			work->retry_at = now + LOCKED_TABLE_DELAY;
			break;
		case BATCH_MISSING:
			return false;
		case BATCH_FAILED:
			one_by_one(work, batch);
			break;
	}
	shmem_worker_end_look();
	return true;
}

/*
 * Record and claim what can be.  False if the extension is no longer in this
 * database.
 */
bool
work_round(Work *work)
{
	static MemoryContext context = NULL;
	MemoryContext caller;
	bool		present;

	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "sms3300 round",
										ALLOCSET_DEFAULT_SIZES);
	pgstat_report_activity(STATE_RUNNING, "sms3300: recording and claiming messages");
	caller = MemoryContextSwitchTo(context);
	present = round_in_context(work);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(context);
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	return present;
}

/* When the next result can be recorded; DT_NOEND: there is none. */
static TimestampTz
next_recordable(Work *work)
{
	dlist_iter	iter;
	TimestampTz next = DT_NOEND;

	dlist_foreach(iter, &work->finished)
		next = Min(next, dlist_container(Job, node, iter.cur)->retry_at);
	return next;
}

/* Tell whether there is anything for a round to do. */
bool
work_is_wanted(Work *work, TimestampTz now)
{
	int			wanted;

	if (work->retry_at > now)
		return false;
	if (next_recordable(work) <= now)
		return true;
	if (work->stopping)
		return false;
	if (work->look || shmem_worker_wanted(now))
		return true;
	if (work->outdated)
		return false;
	if (next_expiry(work) <= now || lanes_tidy_at() <= now || (work->prepared && work->poll_at <= now))
		return true;
	wanted = lanes_wanted(now);
	return wanted > 0 && http_reserve(work->http, wanted) > 0;
}

/* Forget what was to be waited for: the clock was set back. */
void
work_set_back(Work *work, TimestampTz now)
{
	dlist_iter	iter;

	work->retry_at = Min(work->retry_at, now);
	work->expire_not_before = Min(work->expire_not_before, now);
	look_at_everything(work);
	dlist_foreach(iter, &work->finished)
	{
		Job		   *job = dlist_container(Job, node, iter.cur);

		job->retry_at = Min(job->retry_at, now);
	}
	lanes_set_back(now);
}

/* When there may be something to do without being told; DT_NOEND: never. */
TimestampTz
work_next_event(Work *work, TimestampTz now)
{
	TimestampTz next = Min(next_recordable(work), shmem_worker_due());

	if (work->look || shmem_worker_wanted(now))
		next = DT_NOBEGIN;
	if (work->outdated)
		return Max(next, work->retry_at);
	next = Min(next, Min(next_expiry(work), lanes_tidy_at()));
	if (work->prepared)
		next = Min(next, work->poll_at);

	/* Without room for a request, a reply makes some. */
	if (http_reserve(work->http, 1) > 0)
		next = Min(next, lanes_next_event(now));
	return Max(next, work->retry_at);
}
