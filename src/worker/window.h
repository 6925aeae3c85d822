/*
 * window.h
 *		Fetch the messages of an account that are sent next.
 *
 * A Window is written by window.c only.
 */
#ifndef SMS3300_WORKER_WINDOW_H
#define SMS3300_WORKER_WINDOW_H

#include "outbox/candidates.h"
#include "worker/mapping.h"

/* Maximum number of candidates in a window. */
#define WINDOW_SIZE 1000

extern int	queue_poll_interval;	/* ms, sms3300.poll_interval */

/* A candidate, with what is needed to choose among them. */
typedef struct WindowEntry
{
	int64		id;
	int			priority;
	TimestampTz due_at;
	int			size;
	uint32		sender;			/* a hash */
	Mapping    *mapping;
	int			rank;			/* among those of its sender and priority */
	bool		used;			/* taken, or passed by */
	bool		taken;			/* in this transaction */
	bool		failed;			/* it cannot be claimed */
} WindowEntry;

/* What candidates are taken for. */
typedef struct WindowTake
{
	const char *account;
	Mappings   *mappings;		/* the account's */
	Gate	   *gate;			/* the account has stopped: one is taken to try, ... */
	uint32		refused_sender;	/* ... rather not of the sender of the one that was tried last */
	uint32		transaction;	/* a number of its own */
	TimestampTz now;
	int64	   *room;			/* bytes that texts may still have; the last one may exceed it */
} WindowTake;

typedef struct Window
{
	/* Position in the table */
	QueuePlace	places[NUM_PRIORITIES];	/* the next candidates are behind these */
	QueuePlace	head[NUM_PRIORITIES];	/* nothing is queued before these */
	int			npassed;		/* messages passed by between head and places */
	TimestampTz head_at;		/* when to go back to the head; DT_NOEND: nothing was passed by */
	int64		spent;			/* on messages passed by that are not remembered otherwise */
	TimestampTz begin_at;		/* time of the next scan from the beginning */
	TimestampTz barred_until;	/* likewise, as a mapping may admit a message; DT_NOEND: none */
	bool		barred;			/* messages whose mapping has stopped were passed by */
	bool		fresh;			/* new messages may soon precede the candidates */
	TimestampTz next_due;		/* when to fetch again; DT_NOEND: when notified */
	int			least;			/* messages of lower priorities are held back */
	TimestampTz held_due;		/* when the first of those is due; DT_NOEND: none is known */

	/* The rows found there */
	WindowEntry *candidates;	/* in the order of the queue, then of other senders; NULL: none */
	int		   *sequence;		/* the order of sending, in which senders take turns */
	int			ncandidates;
	int			nqueue;			/* those in the order of the queue */
	int			next;			/* in the sequence: those before it have been used */
	int			passed;			/* in the queue: those before it are behind the places */
	NameData	other;			/* the last of the other senders that were fetched */
	TimestampTz others_at;		/* when to fetch some again */
	bool		detached;		/* they no longer move the places: those went back */
	bool		fetched_all;	/* no others were due when they were fetched */
	TimestampTz later_due;		/* and then the next one is; DT_NOEND: none was queued */
	TimestampTz later_at;		/* when to find that out again */
	TimestampTz stale_at;		/* others may precede them from this time on */

	/* In this transaction */
	int			begun;			/* "next" at its beginning */
	int			taken;
	int			claimed;		/* or forbidden by a rule, which ends them, too */
	int			forbidden;
	int			nbarred;		/* passed by, as their mapping has stopped */
	int			nfailed;		/* passed by before, as they cannot be claimed */
} Window;

extern void window_init(Window *window);

/* Return when there are candidates, or may be after a fetch; DT_NOBEGIN: now; DT_NOEND: when notified. */
extern TimestampTz window_next(const Window *window);

/* Record that messages due from a time on may be queued before the window's position. */
extern void window_go_back(Window *window, TimestampTz from);

/* Discard the candidates, because new messages are due from a time on. */
extern void window_reset(Window *window, TimestampTz from);

/* Record that the account has no messages in the queue. */
extern void window_expect_nothing(Window *window);

/* Return whether none are known to be there, and new ones will be told of. */
extern bool window_is_empty(const Window *window);

/* Hold back messages below a priority, as from now on; 0: none. */
extern void window_hold(Window *window, int least);

/* Record that a message is due again. */
extern void window_due(Window *window, TimestampTz due);

/* Begin from the beginning, because the clock was set back. */
extern void window_set_back(Window *window);

/* Begin from the beginning at a time, when a mapping may admit a message. */
extern void window_bar(Window *window, TimestampTz until);

/* Begin a transaction.  "fresh" means that more messages are being queued. */
extern void window_begin(Window *window, bool fresh);

/*
 * Take candidates, fetching them first if necessary, and return their number.  Those
 * whose mapping does not admit them are passed by.  Needs a transaction.
 */
extern int	window_take(Window *window, const WindowTake *take, int wanted, int64 *ids);

/* Record that a taken candidate was claimed, or that a rule forbids it. */
extern void window_claimed(Window *window);
extern void window_forbidden(Window *window);

/* Take back the candidates that this transaction has taken, because it failed for one of them. */
extern void window_untake(Window *window);

/*
 * Pass a candidate by, as it cannot be claimed; see queues_pass_by().  Returns whether the
 * window has it.
 */
extern bool window_pass_by(Window *window, int64 id, int64 spent);

/* Free the candidates. */
extern void window_clear(Window *window);

/* Finish after the claims of a transaction. */
extern void window_end(Window *window, const char *account, TimestampTz now);

#endif							/* SMS3300_WORKER_WINDOW_H */
