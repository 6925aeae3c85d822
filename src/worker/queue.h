/*
 * queue.h
 *		What the worker knows of each account's queue.
 *
 * A queue keeps what is needed of its account between transactions.
 */
#ifndef SMS3300_WORKER_QUEUE_H
#define SMS3300_WORKER_QUEUE_H

#include "lib/ilist.h"

#include "account/account.h"
#include "outbox/candidates.h"
#include "shared/counters.h"
#include "worker/pace.h"
#include "worker/retention.h"

/* Candidates are fetched in windows of this many. */
#define QUEUE_WINDOW 1000

/* How many senders without credentials are passed over at once. */
#define QUEUE_MAX_MUTED 16

/* How many messages are left alone at once, for a reason of their own. */
#define QUEUES_MAX_SHUNNED 32

extern int	queue_poll_interval;	/* ms, sms3300.poll_interval */

typedef struct AccountQueue
{
	dlist_node	node;
	char		name[NAMEDATALEN];	/* the account's */
	int			njobs;			/* jobs that refer to this queue */

	/* Of the account, as of the last transaction */
	bool		exists;
	Oid			serverid;
	uint64		version;
	bool		paused;
	int			max_in_flight;
	double		rate;
	GatewayCodes codes;

	Retention		retention;

	/* The queue */
	Pace	pace;
	char		reason[COUNTERS_REASON_SIZE];	/* why it stopped */
	int64		refused;		/* the message that met that last */
	LiveState	published;		/* as others see it */
	bool		fresh;			/* new messages may come before the candidates soon */
	QueuePlace	places[NUM_PRIORITIES];	/* nothing is queued up to there */
	TimestampTz begin_at;		/* when to look from the beginning, all the same */
	Candidate candidates[QUEUE_WINDOW]; /* best first */
	int			ncandidates;
	int			next;			/* those before were taken */
	int			passed;			/* those before were claimed: the places are behind them */
	bool		unbroken;		/* all that were taken could be claimed, in their order */
	bool		fetched_all;	/* no more were due when they were fetched */
	TimestampTz stale_at;		/* others may come before them from then on */
	TimestampTz next_due;		/* when to fetch again; DT_NOEND: when told */
	NameData	muted[QUEUE_MAX_MUTED];	/* senders that have no credentials */
	int			nmuted;
	TimestampTz muted_until;
	int			skip;			/* rows before the candidates, all of them locked */
	bool		window_claimed; /* one of the candidates could be claimed */
	int			taken;			/* candidates taken in this transaction */
	int			claimed;		/* and how many of them were claimed */
} AccountQueue;

/* In a transaction with the outbox open, in this order */
extern void queues_begin(bool look, TimestampTz from);
extern int	queues_take(int room, TimestampTz now, int64 *ids, ItemPointer places);
extern void queues_end(TimestampTz now);

/* Anywhere */
extern AccountQueue *queues_to_tidy(void);
extern TimestampTz queues_tidy_at(void);
extern AccountQueue *queue_find_or_add(const char *name);
extern void queue_claimed(AccountQueue *queue, TimestampTz now);
extern void queue_submitting(AccountQueue *queue, int64 delay);
extern void queue_mute(AccountQueue *queue, const char *sender, TimestampTz now);
extern void queue_cancelled(AccountQueue *queue, TimestampTz now);
extern void queues_shun(int64 id, TimestampTz until);
extern int	queues_shunned(TimestampTz now, int64 *ids);
extern void queue_finished(AccountQueue *queue, int64 id, GatewayVerdict verdict, int64 retry_after,
						  const char *reason, TimestampTz now);
extern void queue_due(AccountQueue *queue, TimestampTz due);
extern void queues_reset(void);
extern void queues_set_back(TimestampTz now);
extern int	queues_wanted(TimestampTz now);
extern TimestampTz queues_next_event(TimestampTz now);
extern TimestampTz queues_stay_until(TimestampTz now);
extern void queues_publish(void);

#endif							/* SMS3300_WORKER_QUEUE_H */
