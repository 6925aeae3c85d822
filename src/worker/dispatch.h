/*
 * dispatch.h
 *		Claim messages and send their requests.
 */
#ifndef SMS3300_WORKER_DISPATCH_H
#define SMS3300_WORKER_DISPATCH_H

#include "worker/recorder.h"

/* Maximum number of messages claimed by a transaction. */
#define DISPATCH_MAX 1000

/* The claims of a transaction. */
typedef struct Dispatch
{
	int			limit;			/* maximum number */
	int64		ids[DISPATCH_MAX];	/* the selected messages */
	int			nids;
	dlist_head	jobs;			/* of the claimed messages */
} Dispatch;

/* Create a dispatch for at most "limit" messages, none of them selected yet. */
extern Dispatch *dispatch_create(int limit);

/*
 * Select messages and claim them.  "recording" is what the same transaction has
 * recorded before.  Needs a transaction, between queues_begin() and queues_end().
 */
extern void dispatch_claim(Dispatch *dispatch, const Recording *recording, Wire *wire,
						   TimestampTz now);

/* Undo the claims in memory after the transaction failed. */
extern void dispatch_undo(Dispatch *dispatch);

/*
 * Send the requests after the commit.  A message without a request, or claimed
 * just before a stop, is passed to the recorder at once.
 */
extern void dispatch_send(Dispatch *dispatch, Wire *wire, Recorder *recorder);

typedef enum DispatchAlone
{
	DISPATCHED_NONE,			/* there is no message to claim */
	DISPATCHED_ONE,
	DISPATCH_FAILED_ONE,		/* one failed and is skipped for a while */
	DISPATCH_FAILED				/* the table cannot be used */
} DispatchAlone;

/* Claim and send one message in its own transaction, as a last resort with triggers disabled. */
extern DispatchAlone dispatch_alone(Wire *wire, Recorder *recorder);

#endif							/* SMS3300_WORKER_DISPATCH_H */
