/*
 * transaction.c
 *		One transaction of the worker: results, claims, and what else is due.
 *
 * Requests leave after its commit.  Nothing in it waits for long: not for the
 * table's lock, and for a row's only lock_timeout.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "account/request.h"
#include "compat.h"
#include "outbox/access.h"
#include "outbox/candidates.h"
#include "outbox/claim.h"
#include "outbox/direct.h"
#include "shared/counters.h"
#include "shared/registry.h"
#include "worker/transaction.h"

/* A user's trigger may take this long, and so much longer if it catches that. */
#define TRIGGER_TIMEOUT_MS 10000
#define TRIGGER_GRACE_MS 2000

volatile sig_atomic_t transaction_committing = false;
volatile sig_atomic_t transaction_overrun = false;

/* The timeout of a trigger that goes on after it was cancelled, once it is registered */
static TimeoutId overrun = MAX_TIMEOUTS;

/* Make jobs of the rows that a former worker left behind. */
static void
find_orphans(Work *work)
{
	ListCell   *cell;
	List	   *orphans = outbox_orphans();

	foreach(cell, orphans)
	{
		Orphan *orphan = lfirst(cell);
		AccountQueue *queue = queue_find_or_add(orphan->account);
		Job		   *job = job_create(orphan->id, orphan->started_at, queue,
										  orphan->attempts);

		queue->njobs++;
		job_fail(job, VERDICT_UNKNOWN, "the worker ended before a reply came");
		dlist_push_tail(&work->finished, &job->node);
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
	if (registry_worker_foreign(outbox_has_foreign()))
		ereport(LOG,
				(errmsg("sms3300: sms_outbox has messages that another database queued, which are not sent"),
				 errhint("To have them sent from here, call sms3300_adopt().")));
}

/* Make a job of a claimed message, with its request. */
static void
begin_job(Batch *batch, const Claim *claim, TimestampTz now)
{
	AccountQueue *queue = queue_find_or_add(claim->account);
	Job		   *job = job_create(claim->id, claim->started_at, queue, claim->attempts);
	Route		route = {claim->line, claim->line2, claim->type, claim->template};
	const Account *account;
	const char *problem;
	bool		of_sender = false;

	/* From here on an error finds the job, and undoes this. */
	dlist_push_tail(&batch->claimed, &job->node);
	queue->njobs++;
	queue_claimed(queue, now);
	job->claimed_at = now;
	job->age = now - claim->send_after;
	job->due_at = claim->due_at;
	job->place = claim->place;

	account = account_find(queue->name);
	problem = account == NULL ? "the account does not exist any more" :
		request_compose(account, get_role_oid(claim->sender, true),
						claim->mobile, claim->message, &route, &job->request, &of_sender);
	if (problem)
	{
		job_fail(job, VERDICT_ACCOUNT, problem);
		if (of_sender)
			queue_mute(queue, claim->sender, now);
	}
}

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

/* From here on triggers may fire, which end where they take too long. */
static void
limit_triggers(void)
{
	EnableTimeoutParams timeouts[] = {
		{.id = STATEMENT_TIMEOUT, .type = TMPARAM_AFTER, .delay_ms = TRIGGER_TIMEOUT_MS},
		{.id = overrun_timeout(), .type = TMPARAM_AFTER,
		.delay_ms = TRIGGER_TIMEOUT_MS + TRIGGER_GRACE_MS}
	};

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
static void
unlimit_triggers(void)
{
	drop_limits();
	CHECK_FOR_INTERRUPTS();
}

/* Expire the messages given, or else all that is due and is not left alone. */
static void
expire_batch(Work *work, Batch *batch, TimestampTz now)
{
	int64		shunned[QUEUES_MAX_SHUNNED];

	if (batch->nids == 0)
	{
		batch->nids = outbox_expiring(now, shunned, queues_shunned(now, shunned),
									  BATCH_MAX_CLAIMS, batch->ids);

		/* What is left then is locked, or left alone. */
		if (batch->nids < BATCH_MAX_CLAIMS)
			work->expire_not_before = now + LOCKED_ROW_DELAY;
	}
	limit_triggers();
	batch->expired = outbox_expire(now, batch->ids, batch->nids);
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
note_extension_version(Work *work, OutboxAccess access)
{
	bool		was_outdated = work->outdated;
	const char *mismatch;

	work->outdated = access == OUTBOX_NEWER;
	if (was_outdated || !work->outdated)
		return;
	mismatch = extension_mismatch(EXTENSION_NEWER);
	if (mismatch && registry_worker_error(mismatch))
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
static void
leave_out_jobs(Batch *batch)
{
	int			left = 0;

	for (int i = 0; i < batch->nids; i++)
	{
		const Job  *job = job_find(batch->ids[i]);

		if (job && !is_recorded(batch, job) && result_is_awaited(job->id, job->started_at))
			continue;
		batch->ids[left] = batch->ids[i];
		batch->places[left++] = batch->places[i];
	}
	batch->nids = left;
}

/* Do a batch's work inside its transaction. */
static void
work_in_transaction(Work *work, Batch *batch)
{
	TimestampTz now = GetCurrentTimestamp();
	Claim	   *claims;
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
		work->prepared = outbox_has_prepared();
		work->poll_at = now + (int64) queue_poll_interval * 1000;
	}
	if (batch->look)
		look_for_foreign();
	limit_triggers();
	queues_begin(batch->look, work->look_from);
	unlimit_triggers();

	if (batch->expire)
		expire_batch(work, batch, now);
	if (batch->tidy)
	{
		limit_triggers();
		retention_tidy(&batch->tidy->retention, batch->tidy->name, now);
		unlimit_triggers();
	}
	record(batch);

	if (batch->nids == 0 && batch->limit > 0)
	{
		int			wanted = Min(queues_wanted(now), batch->limit);

		batch->nids = queues_take(Min(wanted, http_reserve(work->http, wanted)), now,
								 batch->ids, batch->places);
		leave_out_jobs(batch);
	}
	if (batch->nids > 0 && !batch->expire)
	{
		limit_triggers();
		claims = claim_messages(batch->ids, batch->places, batch->nids, now, &nclaims);
		unlimit_triggers();
		for (int i = 0; i < nclaims; i++)
			begin_job(batch, &claims[i], now);
	}
	if (batch->limit > 0)
		queues_end(now);
	if (batch->expire || (batch->look && work->look_from == DT_NOBEGIN))
		work->next_expiry = outbox_next_expiry();
}

/* Undo in memory what a failed transaction claimed. */
static void
forget_claims(Work *work, Batch *batch)
{
	while (!dlist_is_empty(&batch->claimed))
	{
		Job		   *job = dlist_container(Job, node, dlist_pop_head_node(&batch->claimed));

		pace_cancel(&job->queue->pace);
		job->queue->njobs--;
		request_discard(&job->request);
		job_destroy(job, work->http);
	}
	queues_reset();
}

/* Tell of a batch's error, for which there is a reason. */
void
transaction_tell_error(const Batch *batch, const char *what)
{
	ereport(LOG,
			(errcode(batch->sqlstate),
			 errmsg("sms3300: %s: %s", what, batch->error)));
	registry_worker_error(batch->error);
}

/*
 * Run a batch in a transaction.  An error is logged without its detail, which
 * may show a row, and undone.
 */
BatchOutcome
transaction_run(Work *work, Batch *batch)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile OutboxAccess access = OUTBOX_OPEN;
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
		access = outbox_open(batch->triggers_off);
		if (access == OUTBOX_OPEN || access == OUTBOX_NEWER)
		{
			MemoryContextSwitchTo(caller);
			note_extension_version(work, access);
			work_in_transaction(work, batch);
			outbox_close();
		}

		/* A commit that waits for a standby is cut short by a stop, and only by that. */
		transaction_committing = true;
		QueryCancelPending = false;
		if (ShutdownRequestPending && !stopping)
			QueryCancelPending = InterruptPending = true;
		CommitTransactionCommand();
		QueryCancelPending = false;
		transaction_committing = false;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		drop_limits();
		direct_forget();
		AbortCurrentTransaction();
		QueryCancelPending = false;
		transaction_committing = false;
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
			transaction_tell_error(batch, "a transaction on sms_outbox failed");
		forget_claims(work, batch);
		return BATCH_FAILED;
	}
	return access == OUTBOX_LOCKED ? BATCH_LOCKED :
		access == OUTBOX_MISSING ? BATCH_MISSING : BATCH_DONE;
}

/* Count a result that was recorded, between counters_begin() and counters_end(). */
static void
count_result(const Job *job, const MessageResult *result)
{
	Oid			server = job->queue->serverid;
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

/* Count what a batch did, after its commit; what expired is old at its time, too. */
void
transaction_count(const Batch *batch)
{
	ListCell   *cell;

	if (batch->njobs == 0 && batch->expired == NIL)
		return;
	counters_begin();
	for (int i = 0; i < batch->njobs; i++)
		if (batch->results[i].recorded)
			count_result(batch->jobs[i], &batch->results[i]);
	foreach(cell, batch->expired)
	{
		AccountQueue *queue = queue_find_or_add(lfirst(cell));

		counters_add(queue->serverid, COUNTER_EXPIRED, 1);
		retention_recorded(&queue->retention, GetCurrentTimestamp());
	}
	counters_end();
}

/* After a commit: let go of what is recorded, and have what was claimed sent. */
void
transaction_settle(Work *work, Batch *batch)
{
	TimestampTz now = GetCurrentTimestamp();

	transaction_count(batch);

	for (int i = 0; i < batch->njobs; i++)
	{
		Job		   *job = batch->jobs[i];
		const MessageResult *result = &batch->results[i];

		if (!result->recorded)
			continue;
		if (strcmp(result->status, "queued") == 0)
			queue_due(job->queue, result->due_at);
		else
			retention_recorded(&job->queue->retention, result->at);
		job->queue->njobs--;
		dlist_delete(&job->node);
		job_destroy(job, work->http);
	}

	while (!dlist_is_empty(&batch->claimed))
	{
		Job		   *job = dlist_container(Job, node, dlist_pop_head_node(&batch->claimed));

		if (job->request.body && !ShutdownRequestPending)
		{
			queue_submitting(job->queue, now - job->claimed_at);
			job->submitted_at = now;
			job->request.owner = job;
			http_submit(work->http, &job->request);
			work->in_flight++;
			continue;
		}
		request_discard(&job->request);
		if (job->problem[0] == '\0')
			job_fail(job, VERDICT_NOT_SENT, "the server was stopping");
		queue_cancelled(job->queue, now);
		dlist_push_tail(&work->finished, &job->node);
	}
}
