/*
 * job.c
 *		A claimed message in the worker: from its claim to its result's commit.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "account/response.h"
#include "compat.h"
#include "gateway/states.h"
#include "shared/clock.h"
#include "shared/stuck.h"
#include "text/clip.h"
#include "worker/job.h"
#include "worker/pace.h"

/* The first delay after a transient refusal; the gateway asks for 5 s (code 409). */
#define FIRST_RETRY_DELAY (5 * USECS_PER_SEC)

/*
 * If a request could not be composed, or the gateway refused the account, the
 * message itself may be the cause.  Its delay equals the time that it has waited
 * already, and so doubles each time, within these bounds.  Other messages are sent
 * in the meantime.
 */
#define MIN_COMPOSE_DELAY USECS_PER_MINUTE
#define MAX_COMPOSE_DELAY USECS_PER_HOUR
#define MIN_REFUSED_DELAY USECS_PER_SEC
#define MAX_REFUSED_DELAY (5 * USECS_PER_MINUTE)

/* The default for messages of a dropped account. */
#define DEFAULT_MAX_ATTEMPTS 10

/* A message refused for the hour waits this long, unless the account knows its hours. */
#define HOURS_DELAY (15 * USECS_PER_MINUTE)

/* The gateway's own words are cut to this in what is said of an account. */
#define WORDS_SIZE 120
/* The gateway's codes for a recipient who has opted out; 33: by an answer to a message. */
#define CODE_OPTED_OUT 27
#define CODE_OPTED_OUT_OF_LINE 33

/* The HTTP status that may come from a proxy whose upstream has taken the request. */
#define HTTP_SERVICE_UNAVAILABLE 503

/* All jobs by message id.  If ids are reused after a TRUNCATE, the latest job. */
typedef struct JobEntry
{
	int64		id;				/* first: the key */
	Job		   *job;
} JobEntry;

static HTAB *jobs = NULL;

/* Record a job as the latest of its message. */
static void
enter(Job *job)
{
	JobEntry   *entry;

	if (jobs == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(int64), .entrysize = sizeof(JobEntry)};

		jobs = hash_create("sms3300 jobs", 256, &control, HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(jobs, &job->id, HASH_ENTER, NULL);
	entry->job = job;
}

/* Return the job of a message, or NULL. */
Job *
job_find(int64 id)
{
	JobEntry   *entry = jobs ? hash_search(jobs, &id, HASH_FIND, NULL) : NULL;

	return entry ? entry->job : NULL;
}

/* Create a job for a claimed message. */
Job *
job_create(int64 id, TimestampTz started_at, AccountQueue *queue, int attempts)
{
	Job		   *job = MemoryContextAllocZero(TopMemoryContext, sizeof(Job));

	job->id = id;
	job->started_at = started_at;
	job->queue = queue;
	queue_hold(queue);
	job->attempts = attempts;
	enter(job);
	return job;
}

/* Keep the reason for a missing reply, in characters that every encoding has. */
static void
set_problem(Job *job, const char *problem)
{
	strlcpy(job->problem, problem, JOB_PROBLEM_SIZE);
	for (char *c = job->problem; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

/* Finish a job with a reply or a failed request, and determine its verdict. */
void
job_finish(Job *job, const HttpReply *reply, const GatewayCodes *codes)
{
	job->reply = reply;
	set_problem(job, reply->error ? reply->error : "");
	job->finished_at = GetCurrentTimestamp();
	job->took = clock_us() - job->submitted_at;

	/* Only the HTTP status of an incomplete reply is used. */
	if (reply->phase == HTTP_DONE)
		gateway_parse_reply(reply->body, reply->body_size, &job->said);
	job->verdict = gateway_verdict(reply->request_left, reply->status, job->mobile, &job->said, codes);

	/* What the gateway says of the account, it says of the credentials. */
	job->of_mapping = job->verdict == VERDICT_ACCOUNT && job->said.has_status &&
		reply->status >= 200 && reply->status < 300;

	/*
	 * A line that the message gave is its own fault, and no other message's trouble.  Where it
	 * gave a backup of the account's line, nobody knows which of them was refused; many such
	 * refusals in a row stop the account.
	 */
	job->of_own_line = job->verdict == VERDICT_LINE && job->own_route && !job->accounts_line;
	if (job->verdict == VERDICT_LINE)
		job->verdict = job->own_route ? VERDICT_REJECTED : VERDICT_ACCOUNT;
}

/* Finish a job for which no request was made or nobody waits for the reply. */
void
job_fail(Job *job, GatewayVerdict verdict, const char *problem)
{
	job->verdict = verdict;
	set_problem(job, problem);
	job->finished_at = GetCurrentTimestamp();
}

void
job_keep(const Job *job, const char *obstacle)
{
	StuckResult kept = {
		.id = job->id, .started_at = job->started_at, .since = GetCurrentTimestamp(),
		.verdict = job->verdict, .http_status = job->reply ? job->reply->status : job->kept_status,
		.has_api_status = job->said.has_status, .api_status = job->said.status,
		.has_message_id = job->said.has_message_id, .message_id = job->said.message_id
	};

	strlcpy(kept.line, job->said.line, STUCK_LINE_SIZE);
	clip_text(kept.reason, job->verdict == VERDICT_SENT ? "" : job_reason(job), STUCK_TEXT_SIZE);
	clip_text(kept.obstacle, obstacle, STUCK_TEXT_SIZE);
	stuck_put(&kept);
}

void
job_inherit(Job *job)
{
	StuckResult kept;

	if (!stuck_find(job->id, job->started_at, &kept))
	{
		job_fail(job, VERDICT_UNKNOWN, "the worker ended before a result was recorded");
		return;
	}
	job->kept_status = kept.http_status;
	job->said.has_status = kept.has_api_status;
	job->said.status = kept.api_status;
	job->said.has_message_id = kept.has_message_id;
	job->said.message_id = kept.message_id;
	strlcpy(job->said.line, kept.line, GATEWAY_LINE_SIZE);
	job_fail(job, (GatewayVerdict) kept.verdict, kept.reason);
}

/* Free a job. */
void
job_destroy(Job *job)
{
	if (job_find(job->id) == job)
		hash_search(jobs, &job->id, HASH_REMOVE, NULL);
	queue_release(job->queue);
	pfree(job);
}

/*
 * Tell whether a request was refused for now by a server that may be a proxy in
 * front of one that took it.  That is believed a limited number of times.
 */
static bool
is_unsure_refusal(const Job *job)
{
	return job->reply && job->reply->status == HTTP_SERVICE_UNAVAILABLE && job->reply->retry_after < 0;
}

/* Codes that tell of a recipient or a text, which are a message's own fault. */
static const int own_faults[] = {1, 13, 27, 33};

int
job_refusal(const Job *job)
{
	int			code = job->said.status;

	if (job->verdict != VERDICT_REJECTED || !job->said.has_status || job->of_own_line)
		return 0;
	for (size_t i = 0; i < lengthof(own_faults); i++)
		if (code == own_faults[i])
			return 0;
	return code;
}

/* Return in short why a job did not end as 'sent', in the current memory context. */
const char *
job_reason(const Job *job)
{
	if (job->reply == NULL || job->reply->status == 0)
		return job->problem;
	if (!gateway_is_reply_to(&job->said, job->mobile))
		return "the reply is for another recipient";
	if (job->said.has_status && job->reply->status < 300)
	{
		const GatewayCode *known = gateway_code_find(job->said.status);

		return psprintf("the gateway answered with status %d%s", job->said.status,
						known ? psprintf(" (%s)", known->meaning) : "");
	}
	if (job->problem[0])
		return psprintf("HTTP status %d, %s", job->reply->status, job->problem);
	return psprintf("HTTP status %d%s", job->reply->status,
					job->reply->status < 300 ? " without a readable reply" : "");
}

/* Read the gateway's own words in a reply, in a transaction that changes nothing. */
static char *
read_words(const HttpReply *reply)
{
	MemoryContext caller = CurrentMemoryContext;
	char	   *volatile words = NULL;

	PG_TRY();
	{
		StartTransactionCommand();
		MemoryContextSwitchTo(caller);
		words = response_words(reply, "msg", WORDS_SIZE);
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		FlushErrorState();
		AbortCurrentTransaction();
		words = NULL;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	return words;
}

/* Return why the account is to blame, with the gateway's own words if it refused the account. */
const char *
job_blame(const Job *job)
{
	const char *reason = job_reason(job);
	char	   *words = NULL;

	if (job->reply && job->verdict == VERDICT_ACCOUNT && job->said.has_status)
		words = read_words(job->reply);
	return words ? psprintf("%s: %s", reason, words) : reason;
}

/* Return what went wrong in readable form, NULL if nothing did. */
static const char *
job_describe(const Job *job, Jsonb *response)
{
	const char *reason = job_reason(job);
	const char *text = job->said.has_status && response ? response_text(response, "msg") : NULL;

	if (job->verdict == VERDICT_SENT)
		return NULL;
	return psprintf("%s%s%s%s", reason, text ? ": " : "", text ? text : "",
					job->verdict == VERDICT_UNKNOWN ? "; it may have been sent" : "");
}

bool
job_records_opt_out(const Job *job)
{
	const Account *account = account_find(job->queue->name);

	return account && account->record_opt_outs && job->line[0] != '\0' && job->mobile[0] != '\0' &&
		job->reply && job->reply->status >= 200 && job->reply->status < 300 && job->said.has_status &&
		(job->said.status == CODE_OPTED_OUT || job->said.status == CODE_OPTED_OUT_OF_LINE) &&
		gateway_is_reply_to(&job->said, job->mobile);
}

/* Return when a message that is still queued may be tried again; DT_NOBEGIN: at once. */
static TimestampTz
next_try(const Job *job)
{
	const HttpReply *reply = job->reply;

	if (reply == NULL && job->verdict == VERDICT_ACCOUNT)
		return job->finished_at + Min(Max(job->age, MIN_COMPOSE_DELAY), MAX_COMPOSE_DELAY);

	/* With a Retry-After or without a connection, the message is not the cause. */
	if (reply && reply->phase >= HTTP_SEND && reply->retry_after < 0)
		return job->finished_at + Min(Max(job->age, MIN_REFUSED_DELAY), MAX_REFUSED_DELAY);
	return DT_NOBEGIN;
}

/* Set what the reply tells, if there is one. */
static void
result_set_reply(MessageResult *result, const Job *job)
{
	int			http_status = job->reply ? job->reply->status : job->kept_status;

	if (http_status == 0)
		return;
	result->http_status = http_status;
	result->has_api_status = job->said.has_status;
	result->api_status = job->said.status;
	result->has_message_id = job->said.has_message_id;
	result->message_id = job->said.message_id;
	result->sent_line = job->said.line[0] ? job->said.line : NULL;
	result->response = job->reply ? response_as_jsonb(job->reply) : NULL;
}

/* Convert a finished job to the result for its row.  Needs a transaction. */
void
job_result(const Job *job, MessageResult *result)
{
	const Account *account = account_find(job->queue->name);
	int			max_attempts = account ? account->max_attempts : DEFAULT_MAX_ATTEMPTS;
	const HttpReply *reply = job->reply;

	Assert(IsTransactionState() && job->finished_at != 0);
	memset(result, 0, sizeof(MessageResult));
	result->id = job->id;
	result->account = job->queue->name;
	result->started_at = job->started_at;
	result->at = job->finished_at;
	result->due_at = DT_NOBEGIN;
	result->counted = true;

	result_set_reply(result, job);
	result->error = job_describe(job, result->response);
	result->phase = reply ? http_phase_name(reply->phase) : "none";

	switch (job->verdict)
	{
		case VERDICT_SENT:
			result->status = STATUS_SENT;
			result->tracked = job->queue->tracking && result->has_message_id &&
				result->message_id >= GATEWAY_MIN_ID;
			break;
		case VERDICT_REJECTED:
			result->status = STATUS_REJECTED;
			break;
		case VERDICT_TRANSIENT:
			if (job->attempts >= max_attempts)
				result->status = STATUS_FAILED;
			else
			{
				result->status = STATUS_QUEUED;
				result->due_at = job->finished_at +
					pace_backoff(FIRST_RETRY_DELAY, job->attempts);
			}
			break;
		case VERDICT_ACCOUNT:
		case VERDICT_LINE:
		case VERDICT_NOT_SENT:
			result->counted = is_unsure_refusal(job);
			result->status = result->counted && job->attempts >= max_attempts ? STATUS_FAILED : STATUS_QUEUED;
			result->due_at = next_try(job);
			break;
		case VERDICT_HOURS:
			result->status = STATUS_QUEUED;
			result->counted = false;
			result->due_at = account ? hours_opening(&account->hours, job->finished_at) : job->finished_at;
			if (result->due_at == job->finished_at)
				result->due_at += HOURS_DELAY;
			break;
		case VERDICT_UNKNOWN:
			if (account && account->resend_unknown && job->attempts < max_attempts)
			{
				result->status = STATUS_QUEUED;
				result->due_at = job->finished_at +
					pace_backoff(FIRST_RETRY_DELAY, job->attempts);
			}
			else
				result->status = STATUS_UNKNOWN;
			break;
	}
}
