/*
 * window.h
 *		The messages of an account that are sent next.
 *
 * Changed by window.c only, like all that it holds.
 */
#ifndef SMS3300_WORKER_WINDOW_H
#define SMS3300_WORKER_WINDOW_H

#include "outbox/candidates.h"

/* Candidates are fetched in windows of this many. */
#define WINDOW_SIZE 1000

/* How many senders without credentials are passed over at once. */
#define WINDOW_MAX_MUTED 16

extern int	queue_poll_interval;	/* ms, sms3300.poll_interval */

typedef struct Window
{
	/* Where to look in the table */
	QueuePlace	places[NUM_PRIORITIES];	/* nothing is queued up to there */
	TimestampTz begin_at;		/* when to look from the beginning, all the same */
	int			skip;			/* rows before the candidates, all of them locked */
	bool		fresh;			/* new messages may come before the candidates soon */
	TimestampTz next_due;		/* when to fetch again; DT_NOEND: when told */

	/* What was found there */
	Candidate	candidates[WINDOW_SIZE];	/* best first */
	int			ncandidates;
	int			next;			/* those before were taken */
	int			passed;			/* those before were claimed: the places are behind them */
	bool		unbroken;		/* all that were taken could be claimed, in their order */
	bool		fetched_all;	/* no more were due when they were fetched */
	bool		any_claimed;	/* one of the candidates could be claimed */
	TimestampTz stale_at;		/* others may come before them from then on */

	/* In this transaction */
	int			taken;
	int			claimed;

	/* Whose messages are passed over */
	NameData	muted[WINDOW_MAX_MUTED];	/* senders that have no credentials */
	int			nmuted;
	TimestampTz muted_until;
} Window;

extern void window_init(Window *window);

/* Tell whether there are candidates, or may be if they were fetched by then. */
extern bool window_has_candidates(const Window *window, TimestampTz now);

/* When there are; DT_NOBEGIN: now; DT_NOEND: when told. */
extern TimestampTz window_next(const Window *window);

/* Note that something may be queued from a time on, before where the window looks. */
extern void window_go_back(Window *window, TimestampTz from);

/* Forget the candidates, and fetch them again when asked; what is new is due from a time on. */
extern void window_reset(Window *window, TimestampTz from);

/* Note that a message is due again. */
extern void window_due(Window *window, TimestampTz due);

/*
 * Pass over the messages of a sender that has no credentials, for a while; and
 * pass over none any longer.
 */
extern void window_mute(Window *window, const char *sender, TimestampTz now);
extern void window_unmute(Window *window);

/* Have muted senders asked again from a time on: the clock was set back. */
extern void window_set_back(Window *window, TimestampTz now);

/* Begin a transaction; "fresh": more messages are being queued. */
extern void window_begin(Window *window, bool fresh);

/*
 * In a transaction: take candidates of an account, fetching them first if need be.
 * Where the account has stopped, "avoid" is the message to try last (0: none).
 * How many.
 */
extern int	window_take(Window *window, const char *account, bool stopped, int64 avoid,
						int wanted, TimestampTz now, int64 *ids, ItemPointer places);

/* Note that one that was taken was claimed. */
extern void window_claimed(Window *window);

/* In a transaction, after its claims. */
extern void window_end(Window *window, const char *account, TimestampTz now);

#endif							/* SMS3300_WORKER_WINDOW_H */
