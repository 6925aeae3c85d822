/*
 * dispatch.c
 *		Claim messages and send their requests.
 *
 * A request is never sent before the commit of its claim.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "postmaster/interrupt.h"
#include "utils/acl.h"
#include "utils/timestamp.h"

#include "account/request.h"
#include "account/rules.h"
#include "outbox/claim.h"
#include "outbox/row.h"
#include "shared/clock.h"
#include "worker/dispatch.h"
#include "worker/repeats.h"
#include "worker/roster.h"
#include "worker/shunned.h"
#include "worker/stops.h"

/* Messages claimed with triggers disabled of which the log tells, within a minute. */
#define TELL_FEW 20

Dispatch *
dispatch_create(int limit, bool careful)
{
	Dispatch   *dispatch = palloc(sizeof(Dispatch));

	Assert(limit <= DISPATCH_MAX);
	claims_begin();
	dispatch->limit = limit;
	dispatch->careful = careful;
	dispatch->nids = 0;
	dispatch->at = -1;
	dispatch->took = 0;
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

/* Note the line that is posted for a message, if there is one, and whose it is. */
static void
note_line(Job *job, const Claim *claim, const char *line)
{
	strlcpy(job->line, line ? line : "", sizeof(job->line));
	job->accounts_line = line && claim->line == NULL;
}

/* Create the job of a claimed message, with its request. */
static void
begin_job(Dispatch *dispatch, const Claim *claim, TimestampTz now)
{
	AccountQueue *queue = queue_find_or_add(claim->account);
	Mapping    *mapping = mapping_of(&queue->mappings, claim->sender);
	Job		   *job = job_create(claim->id, claim->started_at, queue, claim->attempts);
	Route		route = {claim->line, claim->line2, claim->type, claim->template};
	const Account *account;
	const char *problem;
	bool		of_sender = false;

	/* From here on the handling of an error finds the job and undoes this. */
	dlist_push_tail(&dispatch->jobs, &job->node);
	job->mapping = mapping;
	queue_claimed(queue, mapping, now);
	job->sender = hash_bytes((const unsigned char *) claim->sender, (int) strlen(claim->sender));
	job->claimed_at = now;
	job->parts = claim->parts;
	job->age = now - claim->send_after;
	job->own_route = claim->line || claim->line2 || claim->type > 0;
	strlcpy(job->mobile, claim->mobile ? claim->mobile : "", MOBILE_SIZE);

	account = account_find(queue->name);
	if (account)
	{
		note_line(job, claim, route_complete(&route, account).line);
		job->due_at = rules_opening(account, claim->priority, claim->due_at);
	}
	problem = account == NULL ? "the account no longer exists" :
		request_compose(account, get_role_oid(claim->sender, true),
						claim->mobile, claim->message, &route, &job->request, &of_sender);
	if (problem)
	{
		job_fail(job, VERDICT_ACCOUNT, problem);
		if (of_sender)
			queue_no_credentials(queue, job->mapping, problem, now);
	}
}

/* Claim some of the selected messages. */
static void
claim_some(Dispatch *dispatch, const int64 *ids, int nids, TimestampTz now)
{
	Claims		claimed;
	ListCell   *cell;

	transaction_limit_triggers();
	claimed = claim_messages(ids, nids, now);
	transaction_unlimit_triggers();
	for (int i = 0; i < claimed.nforbidden; i++)
		queue_forbidden(queue_find_or_add(claimed.forbidden[i].account), claimed.forbidden[i].failed);
	foreach(cell, claimed.exhausted)
	{
		const Exhausted *exhausted = lfirst(cell);

		queue_exhausted(queue_find_or_add(exhausted->account), exhausted->verdict.until,
						exhausted->verdict.reason, exhausted->is_news);
	}
	for (int i = 0; i < claimed.nclaims; i++)
		begin_job(dispatch, &claimed.claims[i], now);
}

/* Claim the selected messages. */
static void
claim_chosen(Dispatch *dispatch, TimestampTz now)
{
	int64		begun_at = clock_us();

	if (!dispatch->careful && dispatch->nids > 0)
		claim_some(dispatch, dispatch->ids, dispatch->nids, now);
	for (int i = 0; dispatch->careful && i < dispatch->nids; i++)
	{
		dispatch->at = i;
		claim_some(dispatch, &dispatch->ids[i], 1, now);
	}
	dispatch->at = -1;
	dispatch->took = clock_us() - begun_at;
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

		queue_unclaimed(job->queue, job->mapping);
		queue_returned(job->queue);
		request_discard(&job->request);
		job_destroy(job);
	}

	claims_undo();
	if (dispatch->at >= 0)
		queues_untake();
	else
		queues_reset();
}

void
dispatch_send(Dispatch *dispatch, Wire *wire, Recorder *recorder)
{
	TimestampTz now = GetCurrentTimestamp();

	queues_count_forbidden(now);
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
		queue_unclaimed(job->queue, job->mapping);
		recorder_add(recorder, job);
	}
}

/* Transaction body: claim the selected message. */
static void
claim_body(OutboxAccess access, void *arg)
{
	Dispatch   *dispatch = arg;
	TimestampTz now = GetCurrentTimestamp();

	if (access != OUTBOX_OPEN)
		return;
	/* A table without its primary key is not the fault of a message. */
	rows_start();
	queues_begin(NULL, now);
	claim_chosen(dispatch, now);
}

void
dispatch_anyway(const Dispatch *failed, const TransactionError *error, Wire *wire,
				Recorder *recorder)
{
	int64		id = failed->ids[failed->at];
	Dispatch   *dispatch = dispatch_create(1, true);
	TransactionError again;
	TransactionOutcome outcome = TRANSACTION_FAILED;
	int64		begun_at = clock_us();

	dispatch->ids[0] = id;
	dispatch->nids = 1;
	if (transaction_may_disable_triggers(error))
		outcome = transaction_run(TRANSACTION_TRIGGERS_OFF, claim_body, dispatch, &again);
	if (outcome == TRANSACTION_DONE)
	{
		if (!dlist_is_empty(&dispatch->jobs) && repeats_log("claimed with triggers disabled", TELL_FEW))
			ereport(LOG,
					(errmsg("sms3300: message " INT64_FORMAT " was claimed with triggers disabled", id),
					 errdetail("A trigger on sms_outbox failed.")));
		dispatch_send(dispatch, wire, recorder);
		return;
	}
	dispatch_undo(dispatch);

	/* That another session has locked the table is not the message's fault. */
	if (outcome == TRANSACTION_FAILED)
		queues_pass_by(id, shun(id, GetCurrentTimestamp()) ? 0 : clock_us() - begun_at);
}
