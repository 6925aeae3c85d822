/*
 * round.c
 *		The worker's work on the table, from round to round.
 *
 * A round records the results at hand and claims what there is room for, in
 * one short transaction.
 *
 * Where a round fails, each result and each claim gets a transaction of its
 * own, so that one bad row, or a user's trigger that fails for it, does not
 * hold up the others; and a row that still fails is written with triggers off.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "utils/backend_status.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "outbox/candidates.h"
#include "shared/registry.h"
#include "worker/round.h"
#include "worker/transaction.h"

/* The table is tried again after this while somebody holds a lock on it. */
#define LOCKED_TABLE_DELAY (100 * INT64CONST(1000))

/* A message that cannot be claimed even with triggers off is left alone for this. */
#define SHUN_TIME USECS_PER_MINUTE

/* Rows fail one by one until so many more have failed than worked. */
#define MAX_FAILURES 10

/* Claims one by one, without looking at the network. */
#define MAX_CLAIMS_ALONE 32

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
		BatchOutcome outcome = transaction_run(work, batch);

		if (outcome == BATCH_DONE && batch->results[0].recorded)
		{
			if (batch->triggers_off)
				ereport(LOG,
						(errmsg("sms3300: the result of message " INT64_FORMAT
								" was recorded with triggers off", job->id),
						 errdetail("A trigger on sms_outbox failed, or suppressed the update.")));
			transaction_settle(work, batch);
			return true;
		}
		if (outcome == BATCH_LOCKED || outcome == BATCH_MISSING ||
			(outcome == BATCH_FAILED && batch->sqlstate == ERRCODE_LOCK_NOT_AVAILABLE))
			break;
		batch->triggers_off = true;
	}
	job->retry_at = GetCurrentTimestamp() + pace_backoff(LOCKED_ROW_DELAY, ++job->failures);
	return false;
}

/* Claim one message by itself, in the end with triggers off; false if there is none to claim. */
static bool
claim_alone(Work *work, bool *failed)
{
	Batch	   *batch = palloc0(sizeof(Batch));
	BatchOutcome outcome;

	batch->limit = 1;
	outcome = transaction_run(work, batch);
	if (outcome == BATCH_FAILED && batch->nids == 1)
	{
		batch->triggers_off = true;
		outcome = transaction_run(work, batch);
		if (outcome == BATCH_DONE)
			ereport(LOG,
					(errmsg("sms3300: message " INT64_FORMAT " was claimed with triggers off",
							batch->ids[0]),
					 errdetail("A trigger on sms_outbox failed.")));
		else
			queues_shun(batch->ids[0], GetCurrentTimestamp() + SHUN_TIME);
	}
	*failed = outcome != BATCH_DONE;
	if (!*failed)
		transaction_settle(work, batch);
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
		pace_backoff(USECS_PER_SEC, work->failures) / (work->stopping ? 10 : 1);
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
	if (transaction_run(work, batch) == BATCH_FAILED)
	{
		batch->expired = NIL;
		batch->triggers_off = true;
		if (transaction_run(work, batch) == BATCH_FAILED)
		{
			queues_shun(id, GetCurrentTimestamp() + SHUN_TIME);
			return;
		}
	}
	transaction_count(batch);
}

/* Expire what is due; where that fails together, one by one, some at a time. */
static void
expire(Work *work)
{
	Batch	   *batch = palloc0(sizeof(Batch));

	batch->expire = true;
	if (transaction_run(work, batch) != BATCH_FAILED)
	{
		transaction_count(batch);
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
	Retention    *retention;
	BatchOutcome outcome;
	int64		id;

	batch->tidy = queues_to_tidy();
	retention = &batch->tidy->retention;
	batch->tidy->njobs++;		/* keeps the queue */
	outcome = transaction_run(work, batch);
	batch->tidy->njobs--;
	if (outcome == BATCH_DONE)
		retention_tidied(retention, GetCurrentTimestamp());
	else if (outcome == BATCH_FAILED && !ShutdownRequestPending &&
			 retention_failed(retention, GetCurrentTimestamp(), &id))
		transaction_tell_error(batch, psprintf("message " INT64_FORMAT " of account \"%s\" is old, but cannot be "
								   "deleted or redacted, and is passed over, as are others like it",
								   id, batch->tidy->name));
}

/* Have the next round take nothing for known about the table. */
static void
look_at_everything(Work *work)
{
	work->look = true;
	work->look_from = DT_NOBEGIN;
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
	if (!work->stopping && !work->outdated && queues_tidy_at() <= now)
		tidy(work);

	if (registry_worker_wanted(now))
	{
		WorkerNews	news;

		registry_worker_begin_look(&news);
		work->prepared |= news.prepared;
		work->look_from = Min(work->look_from, news.due);
		work->next_expiry = Min(work->next_expiry, news.expires);
		work->look = true;
	}
	if (work->prepared && work->poll_at <= now)
		look_at_everything(work);

	batch->look = work->look;
	batch->jobs = recordable(work, now, &batch->njobs);
	batch->limit = work->stopping ? 0 : BATCH_MAX_CLAIMS;
	for (int i = 0; i < batch->njobs; i++)
		batch->skip_locked |= batch->jobs[i]->retry_at != 0;

	outcome = transaction_run(work, batch);
	if (outcome == BATCH_FAILED && batch->sqlstate == ERRCODE_LOCK_NOT_AVAILABLE &&
		!batch->skip_locked)
	{
		batch->skip_locked = true;
		batch->nids = 0;
		outcome = transaction_run(work, batch);
	}
	switch (outcome)
	{
		case BATCH_DONE:
			work->look = false;
			work->look_from = DT_NOEND;
			work->failures = 0;
			work->retry_at = DT_NOBEGIN;
			transaction_settle(work, batch);
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
	registry_worker_end_look();
	return true;
}

/*
 * Record and claim what can be.  False if the extension is no longer in this
 * database.
 */
bool
round_run(Work *work)
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
round_is_wanted(Work *work, TimestampTz now)
{
	int			wanted;

	if (work->retry_at > now)
		return false;
	if (next_recordable(work) <= now)
		return true;
	if (work->stopping)
		return false;
	if (work->look || registry_worker_wanted(now))
		return true;
	if (work->outdated)
		return false;
	if (next_expiry(work) <= now || queues_tidy_at() <= now || (work->prepared && work->poll_at <= now))
		return true;
	wanted = queues_wanted(now);
	return wanted > 0 && http_reserve(work->http, wanted) > 0;
}

/* Forget what was to be waited for: the clock was set back. */
void
round_set_back(Work *work, TimestampTz now)
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
	queues_set_back(now);
}

/* When there may be something to do without being told; DT_NOEND: never. */
TimestampTz
round_next_event(Work *work, TimestampTz now)
{
	TimestampTz next = Min(next_recordable(work), registry_worker_due());

	if (work->look || registry_worker_wanted(now))
		next = DT_NOBEGIN;
	if (work->outdated)
		return Max(next, work->retry_at);
	next = Min(next, Min(next_expiry(work), queues_tidy_at()));
	if (work->prepared)
		next = Min(next, work->poll_at);

	/* Without room for a request, a reply makes some. */
	if (http_reserve(work->http, 1) > 0)
		next = Min(next, queues_next_event(now));
	return Max(next, work->retry_at);
}
