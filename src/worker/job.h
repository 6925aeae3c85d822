/*
 * job.h
 *		A claimed message in the worker: from its claim to its result's commit.
 */
#ifndef SMS3300_WORKER_JOB_H
#define SMS3300_WORKER_JOB_H

#include "lib/ilist.h"

#include "gateway/gateway.h"
#include "net/http.h"
#include "outbox/result.h"
#include "text/mobile.h"
#include "worker/queue.h"

#define JOB_PROBLEM_SIZE 256

typedef struct Job
{
	dlist_node	node;			/* in the list of finished jobs */
	int64		id;
	TimestampTz started_at;		/* of the row; identifies the claim together with the id */
	TimestampTz claimed_at;		/* 0: by another worker */
	TimestampTz due_at;			/* when it could be sent; 0: unknown */
	int64		submitted_at;	/* when the request began, by clock_us(); 0: none was made */
	AccountQueue *queue;
	Mapping    *mapping;		/* the one that the message is sent with; NULL: not known */
	uint32		sender;			/* a hash of its sender */
	char		mobile[MOBILE_SIZE];	/* empty: not known */
	bool		own_route;		/* the message itself gave a line, a second one or a type that has one */
	bool		accounts_line;	/* the account's line is posted all the same */
	char		line[LINE_SIZE];	/* that is posted; empty: none */
	int			parts;			/* 0: not known, as the account has no limit */
	int			attempts;		/* requests made, including this one */
	int64		age;			/* how long it had been due when it was claimed */
	HttpRequest request;		/* until it is submitted */
	int			form_size;		/* bytes of its form, once it is submitted */

	/* Once it is finished */
	const HttpReply *reply;		/* NULL: no request was made, or nobody waits for it */
	int			kept_status;	/* the HTTP status of a reply that a former worker had; 0: none */
	GatewayReply said;			/* content of the reply's JSON */
	GatewayVerdict verdict;
	bool		of_own_line;	/* VERDICT_REJECTED: the message's own line was refused, and no other */
	bool		of_mapping;		/* VERDICT_ACCOUNT: the credentials were refused */
	char		problem[JOB_PROBLEM_SIZE];	/* why there is no complete reply, or empty */
	TimestampTz finished_at;
	int64		took;			/* the request, in microseconds */
	TimestampTz retry_at;		/* no attempt to record it before this */
	int			failures;		/* consecutive failures to record it */
} Job;

/* Begin a job for a claimed message. */
extern Job *job_create(int64 id, TimestampTz started_at, AccountQueue *queue, int attempts);

/* The job of a message; NULL if there is none. */
extern Job *job_find(int64 id);

/* Note a reply, or that none came, and judge it. */
extern void job_finish(Job *job, const HttpReply *reply, const GatewayCodes *codes);

/* Finish a job without a request having been made, or anybody waiting for its reply. */
extern void job_fail(Job *job, GatewayVerdict verdict, const char *problem);

/* Keep the result of a finished job, which the database refuses, in shared memory. */
extern void job_keep(const Job *job, const char *obstacle);

/* Finish a job of a former worker: with the result that was kept, or as it may have been sent. */
extern void job_inherit(Job *job);

/*
 * Return the code by which the gateway refused a message, 0 if there is none or if it is
 * the message's own fault.
 */
extern int	job_refusal(const Job *job);

/* Say in short why a job did not end as 'sent'; in memory of the current context. */
extern const char *job_reason(const Job *job);

/*
 * Say the same of its account, with the gateway's own words where it refused that; for
 * people who may not see the message.  Outside a transaction.
 */
extern const char *job_blame(const Job *job);

/* What a finished job means for its row.  Needs a transaction. */
extern void job_result(const Job *job, MessageResult *result);

/*
 * Return whether the gateway refused a message because its recipient has opted out of
 * the line that was posted, and the account records that.  Needs a transaction.
 */
extern bool job_records_opt_out(const Job *job);

/* End a job. */
extern void job_destroy(Job *job);

#endif							/* SMS3300_WORKER_JOB_H */
