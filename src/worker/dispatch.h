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
	bool		careful;		/* claim one after the other, to see which one fails */
	int64		ids[DISPATCH_MAX];	/* the selected messages */
	int			nids;
	int			at;				/* careful: which of them is being claimed; -1: none */
	int64		took;			/* the claims, in microseconds */
	dlist_head	jobs;			/* of the claimed messages */
} Dispatch;

/* Create a dispatch for at most "limit" messages, none of them selected yet. */
extern Dispatch *dispatch_create(int limit, bool careful);

/*
 * Select messages and claim them.  "recording" is what the same transaction has
 * recorded before.  Needs a transaction, between queues_begin() and queues_end().
 */
extern void dispatch_claim(Dispatch *dispatch, const Recording *recording, Wire *wire,
						   TimestampTz now);

/*
 * Undo the claims in memory after the transaction failed.  If it failed for one of the
 * messages, the others are selected again.
 */
extern void dispatch_undo(Dispatch *dispatch);

/*
 * Send the requests after the commit.  A message without a request, or claimed
 * just before a stop, is passed to the recorder at once.
 */
extern void dispatch_send(Dispatch *dispatch, Wire *wire, Recorder *recorder);

/*
 * See to the message for which the transaction of a careful dispatch failed, which has
 * been undone: claim and send it with triggers disabled, if the error may be a trigger's,
 * or skip it for a while.
 */
extern void dispatch_anyway(const Dispatch *failed, const TransactionError *error, Wire *wire,
							Recorder *recorder);

#endif							/* SMS3300_WORKER_DISPATCH_H */
