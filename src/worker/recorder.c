/*
 * recorder.c
 *		Record the results of finished jobs.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "utils/memutils.h"
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

/* Recordings that are careful after one failed. */
#define CAREFUL_RECORDINGS 30

/* The replies of the results that are written together; many, but for such as are much too long. */
#define MAX_REPLIES (1024 * 1024)

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

void
recorder_be_careful(Recorder *recorder)
{
	recorder->careful = CAREFUL_RECORDINGS;
}

Recording
recorder_due(Recorder *recorder, TimestampTz now, bool all)
{
	Recording	recording = {.careful = recorder->careful > 0};
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
	if (recording.careful && recording.njobs > 0)
		recorder->careful--;
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

/* Some of the results of a recording. */
typedef struct Some
{
	Recording  *recording;
	int			first;
	int			n;
} Some;

/* Return how many results are written together, up to a number: some whose replies are small. */
static int
together(const Recording *recording, int first, int most)
{
	size_t		size = 0;
	int			n = 0;

	do
	{
		const HttpReply *reply = recording->jobs[first + n]->reply;

		size += reply ? reply->body_size : 0;
		n++;
	} while (n < most && size < MAX_REPLIES);
	return n;
}

/* Write some of the results.  What that takes of memory lasts until it is done for others. */
static void
write_some(void *arg)
{
	const Some *some = arg;
	Recording  *recording = some->recording;
	int			end = some->first + some->n;
	MemoryContext caller = MemoryContextSwitchTo(recording->memory);

	MemoryContextReset(recording->memory);
	for (int i = some->first; i < end; i++)
		job_result(recording->jobs[i], &recording->results[i]);
	transaction_limit_triggers();
	results_record(&recording->results[some->first], some->n, recording->skip_locked);
	for (int i = some->first; i < end; i++)
		if (recording->results[i].recorded && job_records_opt_out(recording->jobs[i]))
			record_opt_out(recording->jobs[i]);
	transaction_unlimit_triggers();
	for (int i = some->first; i < end; i++)
	{
		recording->results[i].sent_line = recording->results[i].error = NULL;
		recording->results[i].response = NULL;
	}
	MemoryContextSwitchTo(caller);
}

/* Write a result that failed by itself, with triggers disabled if it may be their fault. */
static void
write_anyway(Recording *recording, int i)
{
	Some		some = {recording, i, 1};
	TransactionError *error = &recording->errors[i];

	if (!transaction_may_disable_triggers(error) ||
		!transaction_attempt(TRANSACTION_TRIGGERS_OFF, write_some, &some, error))
		recording->results[i].recorded = recording->results[i].written = false;
}

/*
 * Write the results so that one which fails does not concern the others, and return how
 * many were seen to.  Where some fail together, the first that fails is searched for by
 * halves; what succeeds stays.  That there is one is known up to "bad".
 */
static int
write_carefully(Recorder *recorder, Recording *recording, int64 begun_at)
{
	int			size = recording->njobs;
	int			done = 0;
	int			bad = 0;

	recording->errors = palloc0(sizeof(TransactionError) * recording->njobs);
	while (done < recording->njobs && (done == 0 || clock_us() - begun_at < BATCH_TIME))
	{
		int			most = bad > done ? Max((bad - done) / 2, 1) : Min(size, recording->njobs - done);
		int			n = together(recording, done, most);
		Some		some = {recording, done, n};
		TransactionError error;

		if (transaction_attempt(0, write_some, &some, &error))
		{
			done += n;
			size = Min(size * 2, recording->njobs);
			continue;
		}
		recorder_be_careful(recorder);

		/* It was cancelled to stop, which is the fault of no result. */
		if (ShutdownRequestPending && error.sqlstate == ERRCODE_QUERY_CANCELED && !error.too_slow)
			break;
		if (error.sqlstate == ERRCODE_LOCK_NOT_AVAILABLE && !recording->skip_locked)
			recording->skip_locked = true;
		else if (error.too_slow && n > 1)
		{
			batch_failed(&recorder->batch, n, error.took, BATCH_TIME);
			return done;
		}
		else if (n > 1)
			bad = done + n;
		else
		{
			recording->errors[done] = error;
			write_anyway(recording, done++);

			/* Where one fails, so may the next. */
			size = Max(size / 4, 1);
		}
	}
	batch_took(&recorder->batch, done, clock_us() - begun_at, BATCH_TIME);
	return done;
}

/* Write the results, and return how many were written. */
static int
write_together(Recorder *recorder, Recording *recording, int64 begun_at)
{
	int			done = 0;

	while (done < recording->njobs && (done == 0 || clock_us() - begun_at < BATCH_TIME))
	{
		Some		some = {recording, done, together(recording, done, recording->njobs - done)};

		write_some(&some);
		done += some.n;
	}
	batch_took(&recorder->batch, done, clock_us() - begun_at, BATCH_TIME);
	return done;
}

/* The number of jobs becomes that of the results that were written. */
void
recording_write(Recorder *recorder, Recording *recording)
{
	int64		begun_at = clock_us();

	if (recording->njobs == 0)
		return;
	recording->results = palloc0(sizeof(MessageResult) * recording->njobs);
	recording->memory = AllocSetContextCreate(CurrentMemoryContext, "sms3300 results", ALLOCSET_DEFAULT_SIZES);
	recording->njobs = recording->careful ? write_carefully(recorder, recording, begun_at) :
		write_together(recorder, recording, begun_at);
	MemoryContextDelete(recording->memory);
	results_tell(recording->results, recording->njobs);
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

/* Retry a result later; "error" is why it could not be recorded, NULL if it was suppressed. */
static void
put_off(Job *job, const TransactionError *error)
{
	if (error && error->sqlstate != ERRCODE_LOCK_NOT_AVAILABLE)
		keep_refused(job, error->message);
	job->retry_at = GetCurrentTimestamp() + pace_backoff(LOCKED_ROW_DELAY, ++job->failures);
}

/* Say that a result was recorded with triggers disabled. */
static void
tell_forced(int64 id)
{
	if (repeats_log("recorded with triggers disabled", TELL_FEW))
		ereport(LOG,
				(errmsg("sms3300: the result of message " INT64_FORMAT
						" was recorded with triggers disabled", id),
				 errdetail("A trigger on sms_outbox failed or suppressed the update.")));
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
		const TransactionError *error = recording->errors && recording->errors[i].message ?
			&recording->errors[i] : NULL;

		if (result->recorded)
		{
			if (error)
				tell_forced(job->id);
			settle_job(job, result, wire);
		}
		else if (error)
			put_off(job, error);
		else if (result->locked)
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

/* Transaction body: write the result of a job. */
static void
record_body(OutboxAccess access, void *arg)
{
	Apart	   *apart = arg;

	recording_write(apart->recorder, &apart->recording);
}

/* Record the result of a job in its own transaction.  Returns its outcome, and whether it was recorded. */
static TransactionOutcome
record_apart(Recorder *recorder, Job *job, int options, Wire *wire, TransactionError *error,
			 bool *recorded)
{
	Apart		apart = {recorder, {.jobs = &job, .njobs = 1}};
	TransactionOutcome outcome = transaction_run(options, record_body, &apart, error);

	*recorded = outcome == TRANSACTION_DONE && apart.recording.results[0].recorded;
	if (outcome == TRANSACTION_DONE)
		recording_settle(&apart.recording, wire);
	return outcome;
}

void
recorder_insist(Recorder *recorder, Job *job, Wire *wire)
{
	int64		id = job->id;
	TransactionError error;
	bool		recorded;
	TransactionOutcome outcome = record_apart(recorder, job, TRANSACTION_TRIGGERS_OFF, wire,
											  &error, &recorded);

	if (recorded)
		tell_forced(id);
	else
		put_off(job, outcome == TRANSACTION_FAILED ? &error : NULL);
}

/* Record a result that failed by itself, as a last resort with triggers disabled. */
static void
retry(Recorder *recorder, Job *job, Wire *wire)
{
	TransactionError error;
	bool		recorded;
	TransactionOutcome outcome = record_apart(recorder, job, 0, wire, &error, &recorded);

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
