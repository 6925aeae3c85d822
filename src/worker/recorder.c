/*
 * recorder.c
 *		Record the results of finished jobs.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "outbox/budget.h"
#include "outbox/candidates.h"
#include "outbox/opt_out.h"
#include "outbox/recent.h"
#include "shared/clock.h"
#include "shared/counters.h"
#include "shared/stuck.h"
#include "worker/recorder.h"
#include "worker/repeats.h"
#include "worker/roster.h"
#include "worker/stops.h"

/* Maximum number of results recorded by a transaction. */
#define MAX_RECORDED 10000

/* Maximum number of results that are retried one by one without serving the network. */
#define MAX_RETRIED 8

/* Results recorded with triggers disabled of which the log tells, within a minute. */
#define TELL_FEW 20

/* -------------------------------------------------------------------------
 * Finished jobs
 * ------------------------------------------------------------------------- */

void
recorder_init(Recorder *recorder)
{
	dlist_init(&recorder->jobs);
	batch_init(&recorder->batch, MAX_RECORDED, MAX_RECORDED);
}

bool
recorder_is_empty(Recorder *recorder)
{
	return dlist_is_empty(&recorder->jobs);
}

void
recorder_add(Recorder *recorder, Job *job)
{
	Assert(job->finished_at != 0);
	dlist_push_tail(&recorder->jobs, &job->node);
}

TimestampTz
recorder_next(Recorder *recorder)
{
	dlist_iter	iter;
	TimestampTz next = DT_NOEND;

	dlist_foreach(iter, &recorder->jobs)
		next = Min(next, dlist_container(Job, node, iter.cur)->retry_at);
	return next;
}

void
recorder_set_back(Recorder *recorder, TimestampTz now)
{
	dlist_iter	iter;

	dlist_foreach(iter, &recorder->jobs)
	{
		Job		   *job = dlist_container(Job, node, iter.cur);

		job->retry_at = Min(job->retry_at, now);
	}
}

Recording
recorder_due(Recorder *recorder, TimestampTz now, bool all, bool careful)
{
	Recording	recording = {.careful = careful, .at = -1};
	int			limit = batch_next(&recorder->batch);
	dlist_iter	iter;
	int			n = 0;

	dlist_foreach(iter, &recorder->jobs)
		n++;
	recording.jobs = palloc(sizeof(Job *) * Max(n, 1));
	dlist_foreach(iter, &recorder->jobs)
	{
		Job		   *job = dlist_container(Job, node, iter.cur);

		if ((job->retry_at > now && !all) || job->failures > 0)
			continue;
		if (recording.njobs == limit)
			break;
		recording.jobs[recording.njobs++] = job;
		recording.skip_locked |= job->retry_at != 0;
	}
	return recording;
}

/* -------------------------------------------------------------------------
 * Recording in a transaction
 * ------------------------------------------------------------------------- */

/* Record the recipient of a message in sms_opt_out. */
static void
record_opt_out(const Job *job)
{
	const char *problem = opt_out_record(job->mobile, job->line, job->said.status);

	if (problem && repeats_log(problem, 1))
		ereport(LOG,
				(errmsg("sms3300: the recipient of message " INT64_FORMAT
						" has opted out, but could not be recorded in sms_opt_out: %s",
						job->id, problem)));
}

/* Write some of the results. */
static void
write_some(Recording *recording, int first, int n)
{
	for (int i = first; i < first + n; i++)
		job_result(recording->jobs[i], &recording->results[i]);
	transaction_limit_triggers();
	results_record(&recording->results[first], n, recording->skip_locked);
	for (int i = first; i < first + n; i++)
		if (recording->results[i].recorded && job_records_opt_out(recording->jobs[i]))
			record_opt_out(recording->jobs[i]);
	transaction_unlimit_triggers();
}

/* The number of jobs becomes that of the results that were written. */
void
recording_write(Recorder *recorder, Recording *recording)
{
	int64		begun_at = clock_us();
	int			step = recording->careful ? 1 : recording->njobs;
	int			n = 0;

	if (recording->njobs == 0)
		return;
	recording->results = palloc0(sizeof(MessageResult) * recording->njobs);
	while (n < recording->njobs && (n == 0 || clock_us() - begun_at < BATCH_TIME))
	{
		recording->at = recording->careful ? n : -1;
		write_some(recording, n, step);
		n += step;
	}
	recording->at = -1;
	recording->njobs = n;
	batch_took(&recorder->batch, n, clock_us() - begun_at, BATCH_TIME);
}

bool
recording_has(const Recording *recording, const Job *job)
{
	for (int i = 0; i < recording->njobs; i++)
		if (recording->jobs[i] == job)
			return recording->results[i].recorded;
	return false;
}

/* Count a recorded result, between counters_begin() and counters_end(). */
static void
count_result(const Job *job, const MessageResult *result)
{
	Oid			server = job->queue->serverid;
	bool		requested = job->submitted_at != 0;

	if (requested)
	{
		counters_add(server, COUNTER_REQUESTS, 1);
		counters_add_time(server, TIME_REQUEST, job->took);
	}
	switch (result->status)
	{
		case STATUS_QUEUED:
			if (requested)
				counters_add(server, COUNTER_RETRIED, 1);
			return;
		case STATUS_SENT:
			counters_add(server, COUNTER_SENT, 1);
			break;
		case STATUS_REJECTED:
			counters_add(server, COUNTER_REJECTED, 1);
			break;
		case STATUS_FAILED:
			counters_add(server, COUNTER_FAILED, 1);
			break;
		default:
			Assert(result->status == STATUS_UNKNOWN);
			counters_add(server, COUNTER_UNKNOWN, 1);
			break;
	}
	if (job->due_at != 0)
		counters_add_time(server, TIME_WAIT, job->claimed_at - job->due_at);
}

/* When the first of the messages that were queued again expires. */
static TimestampTz next_expiry = DT_NOEND;

TimestampTz
recorder_take_expiry(void)
{
	TimestampTz taken = next_expiry;

	next_expiry = DT_NOEND;
	return taken;
}

/* Release a job whose result has been recorded.  Messages that were not sent no longer count. */
static void
settle_job(Job *job, const MessageResult *result, Wire *wire)
{
	bool		sent = job->verdict == VERDICT_SENT || job->verdict == VERDICT_UNKNOWN;

	if (job->claimed_at != 0 && !sent)
	{
		budget_return(job->queue->serverid, job->claimed_at, job->parts);
		queue_returned(job->queue);
	}
	if (job->claimed_at != 0)
		recent_settle(job->queue->serverid, job->mobile, job->claimed_at, sent);
	if (result->status == STATUS_QUEUED)
	{
		window_due(&job->queue->window, result->due_at);
		next_expiry = Min(next_expiry, result->expires);
	}
	else
	{
		retention_recorded(&job->queue->retention, result->at);
		if (result->tracked && job->queue->tracking)
			tracking_expect(job->queue->tracking, result->at);
	}
	if (job->failures > 0 || job->claimed_at == 0)
		stuck_remove(job->id);
	dlist_delete(&job->node);
	wire_release(wire, job);
}

void
recording_settle(Recording *recording, Wire *wire)
{
	int			left = 0;

	if (recording->njobs == 0)
		return;
	counters_begin();
	for (int i = 0; i < recording->njobs; i++)
		if (recording->results[i].recorded)
			count_result(recording->jobs[i], &recording->results[i]);
	counters_end();

	for (int i = 0; i < recording->njobs; i++)
	{
		Job		   *job = recording->jobs[i];
		const MessageResult *result = &recording->results[i];

		if (result->recorded)
		{
			settle_job(job, result, wire);
			continue;
		}
		if (result->locked)
			job->retry_at = GetCurrentTimestamp() + LOCKED_ROW_DELAY;
		else
			recording->jobs[left++] = job;
	}
	recording->njobs = left;
}

/* -------------------------------------------------------------------------
 * Results that fail
 * ------------------------------------------------------------------------- */

/* A recording in its own transaction. */
typedef struct Apart
{
	Recorder   *recorder;
	Recording	recording;
} Apart;

/* Transaction body: write the results of some jobs. */
static void
record_body(OutboxAccess access, void *arg)
{
	Apart	   *apart = arg;

	recording_write(apart->recorder, &apart->recording);
}

/* Keep the result of a job that the database refuses, and say so once. */
static void
keep_refused(const Job *job, const char *obstacle)
{
	job_keep(job, obstacle);
	if (job->failures == 0 && repeats_log(obstacle, 1))
		ereport(LOG,
				(errmsg("sms3300: the result of message " INT64_FORMAT " cannot be recorded: %s",
						job->id, obstacle),
				 errdetail("%s. The worker retries until it succeeds.",
						   job->verdict == VERDICT_SENT ? "The gateway accepted the message" : job_reason(job))));
}

/*
 * Record the results of some jobs in their own transaction.  Returns its outcome, and
 * whether all of them were recorded.
 */
static TransactionOutcome
record_apart(Recorder *recorder, Job **jobs, int n, int options, Wire *wire,
			 TransactionError *error, bool *recorded)
{
	Apart		apart = {recorder, {.jobs = jobs, .njobs = n, .skip_locked = n > 1, .at = -1}};
	TransactionOutcome outcome = transaction_run(options, record_body, &apart, error);

	*recorded = outcome == TRANSACTION_DONE;
	if (outcome != TRANSACTION_DONE)
		return outcome;
	for (int i = 0; i < apart.recording.njobs; i++)
		*recorded &= apart.recording.results[i].recorded;
	recording_settle(&apart.recording, wire);
	return outcome;
}

/* Retry a result later; "error" is why it could not be recorded, NULL if it was suppressed. */
static void
put_off(Job *job, const TransactionError *error)
{
	if (error && error->sqlstate != ERRCODE_LOCK_NOT_AVAILABLE)
		keep_refused(job, error->message);
	job->retry_at = GetCurrentTimestamp() + pace_backoff(LOCKED_ROW_DELAY, ++job->failures);
}

void
recorder_insist(Recorder *recorder, Job *job, Wire *wire)
{
	int64		id = job->id;
	TransactionError error;
	bool		recorded;
	TransactionOutcome outcome = record_apart(recorder, &job, 1, TRANSACTION_TRIGGERS_OFF, wire,
											  &error, &recorded);

	if (!recorded)
		put_off(job, outcome == TRANSACTION_FAILED ? &error : NULL);
	else if (repeats_log("recorded with triggers disabled", TELL_FEW))
		ereport(LOG,
				(errmsg("sms3300: the result of message " INT64_FORMAT
						" was recorded with triggers disabled", id),
				 errdetail("A trigger on sms_outbox failed or suppressed the update.")));
}

void
recorder_record_anyway(Recorder *recorder, const Recording *failed, const TransactionError *error,
					   Wire *wire)
{
	Job		   *culprit = failed->jobs[failed->at];
	TransactionError again;
	bool		recorded;

	if (failed->at > 0)
		record_apart(recorder, failed->jobs, failed->at, 0, wire, &again, &recorded);
	if (transaction_may_disable_triggers(error))
		recorder_insist(recorder, culprit, wire);
	else
		put_off(culprit, error);
}

/* Record a result that failed by itself, as a last resort with triggers disabled. */
static void
retry(Recorder *recorder, Job *job, Wire *wire)
{
	TransactionError error;
	bool		recorded;
	TransactionOutcome outcome = record_apart(recorder, &job, 1, 0, wire, &error, &recorded);

	if (recorded)
		return;
	if (outcome == TRANSACTION_DONE ||
		(outcome == TRANSACTION_FAILED && transaction_may_disable_triggers(&error)))
		recorder_insist(recorder, job, wire);
	else
		put_off(job, outcome == TRANSACTION_FAILED ? &error : NULL);
}

void
recorder_retry(Recorder *recorder, TimestampTz now, bool all, Wire *wire)
{
	Job		   *due[MAX_RETRIED];
	int			ndue = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &recorder->jobs)
	{
		Job		   *job = dlist_container(Job, node, iter.cur);

		if (job->failures > 0 && (job->retry_at <= now || all) && ndue < MAX_RETRIED)
			due[ndue++] = job;
	}
	for (int i = 0; i < ndue; i++)
		retry(recorder, due[i], wire);
}

/* -------------------------------------------------------------------------
 * Orphans
 * ------------------------------------------------------------------------- */

/* What a transaction finds. */
typedef struct Search
{
	OrphansPlace place;
	List	   *orphans;
} Search;

/* Transaction body: search a part of the queue for orphans. */
static void
orphans_body(OutboxAccess access, void *arg)
{
	Search	   *search = arg;

	if (access != OUTBOX_MOVED)
		search->orphans = outbox_orphans(&search->place);
}

/* Tell whether this worker has a message. */
static bool
is_mine(int64 id)
{
	return job_find(id) != NULL;
}

/* Make jobs of orphans; how many.  What this worker has claimed itself is none. */
static int
take_orphans(Recorder *recorder, List *orphans)
{
	ListCell   *cell;
	int			n = 0;

	foreach(cell, orphans)
	{
		Orphan	   *orphan = lfirst(cell);
		Job		   *job;

		if (is_mine(orphan->id))
			continue;
		job = job_create(orphan->id, orphan->started_at, queue_find_or_add(orphan->account),
						 orphan->attempts);
		job_inherit(job);
		recorder_add(recorder, job);
		n++;
	}
	return n;
}

TransactionOutcome
recorder_find_orphans(Recorder *recorder)
{
	Search		search = {.place = recorder->searched};
	TransactionError error;
	TransactionOutcome outcome = transaction_run(0, orphans_body, &search, &error);
	int			n;

	if (outcome != TRANSACTION_DONE)
		return outcome;
	recorder->searched = search.place;
	n = take_orphans(recorder, search.orphans);
	recorder->found_orphans |= n > 0;
	if (n > 0)
		ereport(LOG,
				(errmsg_plural("sms3300: %d message was being sent when the last worker ended",
							   "sms3300: %d messages were being sent when the last worker ended",
							   n, n),
				 errdetail("Requests that were on the wire may have reached the gateway.")));
	if (search.place.ended && !recorder->found_orphans)
		stuck_remove_unless(is_mine);
	return outcome;
}
