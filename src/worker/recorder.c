/*
 * recorder.c
 *		Record the results of finished jobs.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "outbox/candidates.h"
#include "shared/counters.h"
#include "shared/stuck.h"
#include "worker/recorder.h"

/* -------------------------------------------------------------------------
 * Finished jobs
 * ------------------------------------------------------------------------- */

void
recorder_init(Recorder *recorder)
{
	dlist_init(&recorder->jobs);
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
recorder_due(Recorder *recorder, TimestampTz now, bool all)
{
	Recording	recording = {0};
	dlist_iter	iter;
	int			n = 0;

	dlist_foreach(iter, &recorder->jobs)
		n++;
	recording.jobs = palloc(sizeof(Job *) * Max(n, 1));
	dlist_foreach(iter, &recorder->jobs)
	{
		Job		   *job = dlist_container(Job, node, iter.cur);

		if (job->retry_at > now && !all)
			continue;
		recording.jobs[recording.njobs++] = job;
		recording.skip_locked |= job->retry_at != 0;
	}
	return recording;
}

/* -------------------------------------------------------------------------
 * Recording in a transaction
 * ------------------------------------------------------------------------- */

void
recording_write(Recording *recording)
{
	if (recording->njobs == 0)
		return;
	recording->results = palloc(sizeof(MessageResult) * recording->njobs);
	for (int i = 0; i < recording->njobs; i++)
		job_result(recording->jobs[i], &recording->results[i]);
	transaction_limit_triggers();
	results_record(recording->results, recording->njobs, recording->skip_locked);
	transaction_unlimit_triggers();
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

/* Release a job whose result has been recorded. */
static void
settle_job(Job *job, const MessageResult *result, Wire *wire)
{
	if (result->status == STATUS_QUEUED)
		window_due(&job->queue->window, result->due_at);
	else
		retention_recorded(&job->queue->retention, result->at);
	if (job->failures > 0)
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
 * Single results
 * ------------------------------------------------------------------------- */

/* Transaction body: write the result of one job. */
static void
record_body(OutboxAccess access, void *arg)
{
	recording_write(arg);
}

/* Keep the result of a job that the database refuses, and say so once. */
static void
keep_refused(const Job *job, const char *obstacle)
{
	job_keep(job, obstacle);
	if (job->failures == 0)
		ereport(LOG,
				(errmsg("sms3300: the result of message " INT64_FORMAT " cannot be recorded: %s",
						job->id, obstacle),
				 errdetail("%s. It is tried again until it can be.",
						   job->verdict == VERDICT_SENT ? "The gateway accepted the message" : job_reason(job))));
}

bool
recorder_record_alone(Job *job, Wire *wire)
{
	int64		id = job->id;
	int			options = 0;

	for (;;)
	{
		Recording	recording = {.jobs = &job, .njobs = 1};
		TransactionError error;
		TransactionOutcome outcome = transaction_run(options, record_body, &recording, &error);

		if (outcome == TRANSACTION_DONE && recording.results[0].recorded)
		{
			if (options & TRANSACTION_TRIGGERS_OFF)
				ereport(LOG,
						(errmsg("sms3300: the result of message " INT64_FORMAT
								" was recorded with triggers disabled", id),
						 errdetail("A trigger on sms_outbox failed or suppressed the update.")));
			recording_settle(&recording, wire);
			return true;
		}
		if (outcome == TRANSACTION_LOCKED || outcome == TRANSACTION_MISSING ||
			(outcome == TRANSACTION_FAILED && error.sqlstate == ERRCODE_LOCK_NOT_AVAILABLE) ||
			options & TRANSACTION_TRIGGERS_OFF)
		{
			if (outcome == TRANSACTION_FAILED && error.sqlstate != ERRCODE_LOCK_NOT_AVAILABLE)
				keep_refused(job, error.message);
			break;
		}
		options = TRANSACTION_TRIGGERS_OFF;
	}
	job->retry_at = GetCurrentTimestamp() + pace_backoff(LOCKED_ROW_DELAY, ++job->failures);
	return false;
}

/* -------------------------------------------------------------------------
 * Orphans
 * ------------------------------------------------------------------------- */

/* Transaction body: read the orphans. */
static void
orphans_body(OutboxAccess access, void *arg)
{
	List	  **orphans = arg;

	*orphans = outbox_orphans();
}

TransactionOutcome
recorder_find_orphans(Recorder *recorder)
{
	List	   *orphans = NIL;
	ListCell   *cell;
	TransactionError error;
	TransactionOutcome outcome = transaction_run(0, orphans_body, &orphans, &error);

	if (outcome != TRANSACTION_DONE)
		return outcome;
	foreach(cell, orphans)
	{
		Orphan	   *orphan = lfirst(cell);
		Job		   *job = job_create(orphan->id, orphan->started_at,
									 queue_find_or_add(orphan->account), orphan->attempts);

		job_inherit(job);
		recorder_add(recorder, job);
	}
	stuck_remove_all();
	if (orphans != NIL)
		ereport(LOG,
				(errmsg_plural("sms3300: %d message was being sent when the last worker ended",
							   "sms3300: %d messages were being sent when the last worker ended",
							   list_length(orphans), list_length(orphans)),
				 errdetail("Requests that were on the wire may have reached the gateway.")));
	return outcome;
}
