/*
 * dispatch.h
 *		From the queues to the wire: messages are claimed, and their requests sent.
 */
#ifndef SMS3300_WORKER_DISPATCH_H
#define SMS3300_WORKER_DISPATCH_H

#include "worker/recorder.h"

/* The most that one transaction claims. */
#define DISPATCH_MAX 1000

/* What one transaction claims. */
typedef struct Dispatch
{
	int			limit;			/* how many at the most */
	int64		ids[DISPATCH_MAX];	/* that were chosen */
	ItemPointerData places[DISPATCH_MAX];	/* where they were last seen */
	int			nids;
	dlist_head	jobs;			/* of those that were claimed */
} Dispatch;

/* A dispatch of at most limit messages, none of them chosen yet. */
extern Dispatch *dispatch_create(int limit);

/*
 * In a transaction, between queues_begin() and queues_end(): choose messages and
 * claim them.  "recording" is what the same transaction has recorded before.
 */
extern void dispatch_claim(Dispatch *dispatch, const Recording *recording, Wire *wire,
						   TimestampTz now);

/* After it failed: undo in memory what it claimed. */
extern void dispatch_undo(Dispatch *dispatch);

/*
 * After its commit: send the requests.  A message without one, or claimed in the
 * last moment before a stop, goes to the recorder at once.
 */
extern void dispatch_send(Dispatch *dispatch, Wire *wire, Recorder *recorder);

typedef enum DispatchAlone
{
	DISPATCHED_NONE,			/* there is none to claim */
	DISPATCHED_ONE,
	DISPATCH_FAILED_ONE,		/* one failed, and is left alone for a while */
	DISPATCH_FAILED				/* whatever message it is: the table cannot be used */
} DispatchAlone;

/*
 * Claim and send one message, in a transaction of its own and in the end with
 * triggers off.
 */
extern DispatchAlone dispatch_alone(Wire *wire, Recorder *recorder);

#endif							/* SMS3300_WORKER_DISPATCH_H */
