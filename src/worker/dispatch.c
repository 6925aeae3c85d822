/*
 * dispatch.c
 *		Claim messages and send their requests.
 *
 * A request is never sent before the commit of its claim.
 */
#include "postgres.h"

#include "postmaster/interrupt.h"
#include "utils/acl.h"
#include "utils/timestamp.h"

#include "account/request.h"
#include "outbox/claim.h"
#include "outbox/row.h"
#include "worker/dispatch.h"
#include "worker/shunned.h"

/* A message that cannot be claimed even with triggers disabled is skipped for this long. */
#define SHUN_TIME USECS_PER_MINUTE

Dispatch *
dispatch_create(int limit)
{
	Dispatch   *dispatch = palloc(sizeof(Dispatch));

	Assert(limit <= DISPATCH_MAX);
	dispatch->limit = limit;
	dispatch->nids = 0;
	dlist_init(&dispatch->jobs);
	return dispatch;
}

/*
 * Omit messages whose requests are still active because a user or a trigger has
 * queued them again.  Their results will follow.
 */
static void
leave_out_jobs(Dispatch *dispatch, const Recording *recording)
{
	int			left = 0;

	for (int i = 0; i < dispatch->nids; i++)
	{
		const Job  *job = job_find(dispatch->ids[i]);

		if (job && !recording_has(recording, job) && result_is_awaited(job->id, job->started_at))
			continue;
		dispatch->ids[left++] = dispatch->ids[i];
	}
	dispatch->nids = left;
}

/* Create the job of a claimed message, with its request. */
static void
begin_job(Dispatch *dispatch, const Claim *claim, TimestampTz now)
{
	AccountQueue *queue = queue_find_or_add(claim->account);
	Job		   *job = job_create(claim->id, claim->started_at, queue, claim->attempts);
	Route		route = {claim->line, claim->line2, claim->type, claim->template};
	const Account *account;
	const char *problem;
	bool		of_sender = false;

	/* From here on the handling of an error finds the job and undoes this. */
	dlist_push_tail(&dispatch->jobs, &job->node);
	queue_claimed(queue, now);
	job->claimed_at = now;
	job->age = now - claim->send_after;
	job->due_at = claim->due_at;
	job->own_line = claim->line != NULL;
	strlcpy(job->mobile, claim->mobile ? claim->mobile : "", MOBILE_SIZE);

	account = account_find(queue->name);
	problem = account == NULL ? "the account no longer exists" :
		request_compose(account, get_role_oid(claim->sender, true),
						claim->mobile, claim->message, &route, &job->request, &of_sender);
	if (problem)
	{
		job_fail(job, VERDICT_ACCOUNT, problem);
		if (of_sender)
			window_mute(&queue->window, claim->sender, now);
	}
}

/* Claim the selected messages. */
static void
claim_chosen(Dispatch *dispatch, TimestampTz now)
{
	Claims		claimed;

	if (dispatch->nids == 0)
		return;
	transaction_limit_triggers();
	claimed = claim_messages(dispatch->ids, dispatch->nids, now);
	transaction_unlimit_triggers();
	for (int i = 0; i < claimed.nsuppressed; i++)
		queue_suppressed(queue_find_or_add(claimed.suppressed[i]));
	for (int i = 0; i < claimed.nclaims; i++)
		begin_job(dispatch, &claimed.claims[i], now);
}

void
dispatch_claim(Dispatch *dispatch, const Recording *recording, Wire *wire, TimestampTz now)
{
	dispatch->nids = queues_take(wire, dispatch->limit, now, dispatch->ids);
	leave_out_jobs(dispatch, recording);
	claim_chosen(dispatch, now);
}

void
dispatch_undo(Dispatch *dispatch)
{
	while (!dlist_is_empty(&dispatch->jobs))
	{
		Job		   *job = dlist_container(Job, node, dlist_pop_head_node(&dispatch->jobs));

		queue_unclaimed(job->queue);
		request_discard(&job->request);
		job_destroy(job);
	}
	queues_reset();
}

void
dispatch_send(Dispatch *dispatch, Wire *wire, Recorder *recorder)
{
	TimestampTz now = GetCurrentTimestamp();

	queues_count_suppressed(now);
	while (!dlist_is_empty(&dispatch->jobs))
	{
		Job		   *job = dlist_container(Job, node, dlist_pop_head_node(&dispatch->jobs));

		if (job->request.body && !ShutdownRequestPending)
		{
			queue_submitting(job->queue, now - job->claimed_at);
			wire_submit(wire, job);
			continue;
		}
		request_discard(&job->request);
		if (job->problem[0] == '\0')
			job_fail(job, VERDICT_NOT_SENT, "the server was stopping");
		queue_unclaimed(job->queue);
		recorder_add(recorder, job);
	}
}

/* -------------------------------------------------------------------------
 * Single claims
 * ------------------------------------------------------------------------- */

typedef struct ClaimAlone
{
	Dispatch   *dispatch;
	Wire	   *wire;
} ClaimAlone;

/* Transaction body: claim the selected message, after selecting one if necessary. */
static void
claim_body(OutboxAccess access, void *arg)
{
	ClaimAlone *alone = arg;
	Recording	nothing = {0};
	TimestampTz now = GetCurrentTimestamp();

	if (access == OUTBOX_NEWER)
		return;
	/* A table without its primary key is not the fault of a message. */
	rows_start();
	queues_begin(false, DT_NOEND);
	if (alone->dispatch->nids > 0)
		claim_chosen(alone->dispatch, now);
	else
		dispatch_claim(alone->dispatch, &nothing, alone->wire, now);
	queues_end(now);
}

DispatchAlone
dispatch_alone(Wire *wire, Recorder *recorder)
{
	Dispatch   *dispatch = dispatch_create(1);
	ClaimAlone	alone = {dispatch, wire};
	TransactionError error;
	TransactionOutcome outcome = transaction_run(0, claim_body, &alone, &error);

	if (outcome == TRANSACTION_FAILED)
		dispatch_undo(dispatch);
	if (outcome == TRANSACTION_FAILED && dispatch->nids == 1)
	{
		outcome = transaction_run(TRANSACTION_TRIGGERS_OFF, claim_body, &alone, &error);
		if (outcome == TRANSACTION_DONE)
			ereport(LOG,
					(errmsg("sms3300: message " INT64_FORMAT " was claimed with triggers disabled",
							dispatch->ids[0]),
					 errdetail("A trigger on sms_outbox failed.")));
		else
		{
			dispatch_undo(dispatch);

			/* That another session has locked the table is not the message's fault. */
			if (outcome == TRANSACTION_FAILED)
				shun(dispatch->ids[0], GetCurrentTimestamp() + SHUN_TIME);
		}
	}
	if (outcome != TRANSACTION_DONE)
		return dispatch->nids > 0 ? DISPATCH_FAILED_ONE : DISPATCH_FAILED;
	dispatch_send(dispatch, wire, recorder);
	return dispatch->nids > 0 ? DISPATCHED_ONE : DISPATCHED_NONE;
}
