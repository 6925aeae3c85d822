/*
 * window.h
 *		Fetch the messages of an account that are sent next.
 *
 * A Window is written by window.c only.
 */
#ifndef SMS3300_WORKER_WINDOW_H
#define SMS3300_WORKER_WINDOW_H

#include "outbox/candidates.h"

/* Maximum number of candidates in a window. */
#define WINDOW_SIZE 1000

/* Maximum number of senders without credentials that are skipped. */
#define WINDOW_MAX_MUTED 16

extern int	queue_poll_interval;	/* ms, sms3300.poll_interval */

typedef struct Window
{
	/* Position in the table */
	QueuePlace	places[NUM_PRIORITIES];	/* the next candidates are behind these */
	QueuePlace	head[NUM_PRIORITIES];	/* nothing is queued before these */
	int			npassed;		/* messages passed by between head and places */
	TimestampTz head_at;		/* when to go back to the head; DT_NOEND: nothing was passed by */
	TimestampTz begin_at;		/* time of the next scan from the beginning */
	bool		fresh;			/* new messages may soon precede the candidates */
	TimestampTz next_due;		/* when to fetch again; DT_NOEND: when notified */
	int			least;			/* messages of lower priorities are held back */
	TimestampTz held_due;		/* when the first of those is due; DT_NOEND: none is known */

	/* The rows found there */
	Candidate  *candidates;		/* in the order of sending; NULL: none */
	int			ncandidates;
	int			next;			/* those before it have been taken */
	int			passed;			/* those before it are behind the places */
	bool		detached;		/* they no longer move the places: those went back */
	bool		fetched_all;	/* no others were due when they were fetched */
	TimestampTz stale_at;		/* others may precede them from this time on */

	/* In this transaction */
	int			begun;			/* "next" at its beginning */
	int			taken;
	int			claimed;

	/* Senders whose messages are skipped */
	NameData	muted[WINDOW_MAX_MUTED];	/* they have no credentials */
	int			nmuted;
	TimestampTz muted_until;
} Window;

extern void window_init(Window *window);

/* Return when there are candidates, or may be after a fetch; DT_NOBEGIN: now; DT_NOEND: when notified. */
extern TimestampTz window_next(const Window *window);

/* Record that messages due from a time on may be queued before the window's position. */
extern void window_go_back(Window *window, TimestampTz from);

/* Discard the candidates, because new messages are due from a time on. */
extern void window_reset(Window *window, TimestampTz from);

/* Hold back messages below a priority, as from now on; 0: none. */
extern void window_hold(Window *window, int least);

/* Record that a message is due again. */
extern void window_due(Window *window, TimestampTz due);

/* Skip the messages of a sender without credentials for a while; stop skipping any. */
extern void window_mute(Window *window, const char *sender, TimestampTz now);
extern void window_unmute(Window *window);

/* Check muted senders again from a time on, because the clock was set back. */
extern void window_set_back(Window *window, TimestampTz now);

/* Begin a transaction.  "fresh" means that more messages are being queued. */
extern void window_begin(Window *window, bool fresh);

/*
 * Take candidates of an account, fetching them first if necessary, and return their
 * number.  If the account has stopped, "avoid" is the message to try last (0:
 * none).  Needs a transaction.
 */
extern int	window_take(Window *window, const char *account, bool stopped, int64 avoid,
						int wanted, TimestampTz now, int64 *ids);

/* Record that a taken candidate was claimed. */
extern void window_claimed(Window *window);

/* Take back the candidates that this transaction has taken, because it failed for one of them. */
extern void window_untake(Window *window);

/* Free the candidates. */
extern void window_clear(Window *window);

/* Finish after the claims of a transaction. */
extern void window_end(Window *window, const char *account, TimestampTz now);

#endif							/* SMS3300_WORKER_WINDOW_H */
