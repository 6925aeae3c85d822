/*
 * lane.h
 *		What the worker knows of each account's queue.
 *
 * A lane keeps what is needed of its account between transactions.
 */
#ifndef SMS3300_LANE_H
#define SMS3300_LANE_H

#include "lib/ilist.h"

#include "account.h"
#include "counters.h"
#include "history.h"
#include "queue.h"
#include "throttle.h"

/* Candidates are fetched in windows of this many. */
#define LANE_WINDOW 1000

/* How many senders without credentials are passed over at once. */
#define LANE_MAX_MUTED 16

/* How many messages are left alone at once, for a reason of their own. */
#define LANES_MAX_SHUNNED 32

typedef struct Lane
{
	dlist_node	node;
	char		name[NAMEDATALEN];	/* the account's */
	int			njobs;			/* jobs that refer to this lane */

	/* Of the account, as of the last transaction */
	bool		exists;
	Oid			serverid;
	uint64		version;
	bool		paused;
	int			max_in_flight;
	double		rate;
	GatewayCodes codes;

	History		history;

	/* The queue */
	Throttle	throttle;
	char		reason[COUNTERS_REASON_SIZE];	/* why it stopped */
	int64		refused;		/* the message that met that last */
	LiveState	published;		/* as others see it */
	bool		fresh;			/* new messages may come before the candidates soon */
	QueuePlace	places[QUEUE_PRIORITIES];	/* nothing is queued up to there */
	TimestampTz begin_at;		/* when to look from the beginning, all the same */
	QueueCandidate candidates[LANE_WINDOW]; /* best first */
	int			ncandidates;
	int			next;			/* those before were taken */
	int			passed;			/* those before were claimed: the places are behind them */
	bool		unbroken;		/* all that were taken could be claimed, in their order */
	bool		fetched_all;	/* no more were due when they were fetched */
	TimestampTz stale_at;		/* others may come before them from then on */
	TimestampTz next_due;		/* when to fetch again; DT_NOEND: when told */
	NameData	muted[LANE_MAX_MUTED];	/* senders that have no credentials */
	int			nmuted;
	TimestampTz muted_until;
	int			skip;			/* rows before the candidates, all of them locked */
	bool		window_claimed; /* one of the candidates could be claimed */
	int			taken;			/* candidates taken in this transaction */
	int			claimed;		/* and how many of them were claimed */
} Lane;

/* In a transaction with the outbox open, in this order */
extern void lanes_begin(bool look, TimestampTz from);
extern int	lanes_take(int room, TimestampTz now, int64 *ids, ItemPointer places);
extern void lanes_end(TimestampTz now);

/* Anywhere */
extern Lane *lanes_to_tidy(void);
extern TimestampTz lanes_tidy_at(void);
extern Lane *lane_find_or_add(const char *name);
extern void lane_claimed(Lane *lane, TimestampTz now);
extern void lane_submitting(Lane *lane, int64 delay);
extern void lane_mute(Lane *lane, const char *sender, TimestampTz now);
extern void lane_cancelled(Lane *lane, TimestampTz now);
extern void lanes_shun(int64 id, TimestampTz until);
extern int	lanes_shunned(TimestampTz now, int64 *ids);
extern void lane_finished(Lane *lane, int64 id, GatewayVerdict verdict, int64 retry_after,
						  const char *reason, TimestampTz now);
extern void lane_due(Lane *lane, TimestampTz due);
extern void lanes_reset(void);
extern void lanes_set_back(TimestampTz now);
extern int	lanes_wanted(TimestampTz now);
extern TimestampTz lanes_next_event(TimestampTz now);
extern TimestampTz lanes_stay_until(TimestampTz now);
extern void lanes_publish(void);

#endif							/* SMS3300_LANE_H */
