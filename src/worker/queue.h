/*
 * queue.h
 *		The worker's state of each account and its queue.
 *
 * A queue keeps the required options of its account between transactions.
 */
#ifndef SMS3300_WORKER_QUEUE_H
#define SMS3300_WORKER_QUEUE_H

#include "lib/ilist.h"

#include "account/hours.h"
#include "gateway/gateway.h"
#include "shared/counters.h"
#include "shared/news.h"
#include "worker/batch.h"
#include "worker/gate.h"
#include "worker/pace.h"
#include "worker/retention.h"
#include "worker/tracking.h"
#include "worker/window.h"

struct Wire;

/* Messages that are to be made due. */
typedef struct Hurry
{
	dlist_node	node;
	TimestampTz at;				/* when; DT_NOEND: not at all */
	TimestampTz until;			/* first those that another clock has put off, up to this; 0: none */
	bool		retries;		/* those that wait for another try */
	bool		tried;			/* also those that the gateway has refused as such */
	int			left;			/* at most so many */
	int			failures;		/* in a row */
	Batch		batch;
} Hurry;

typedef struct AccountQueue
{
	dlist_node	node;
	bool		sleeps;			/* see roster.h */
	TimestampTz wake_at;		/* it sleeps until then */
	bool		waits;			/* messages were in the queue at the last look at all accounts */
	char		name[NAMEDATALEN];	/* the account's */
	int			nholds;			/* references to this queue */

	/* Of the account, as of the last transaction */
	bool		exists;
	Oid			serverid;
	uint64		version;
	uint64		server_version;
	TimestampTz reopen_at;		/* a change of a mapping opens the account from then on */
	bool		reopening;		/* there was one, and it is not yet time */
	Hurry		hurry;			/* what is made due */
	int			max_in_flight;
	double		rate;
	int			nmappings;
	int			stop_after_unknown;
	GatewayCodes codes;
	Hours		hours;
	int			urgent_priority;	/* this and higher ones do not wait for the hours */

	Gate		gate;			/* whether it sends */
	uint32		refused_sender;	/* of the message that was refused last: a hash */
	int			unknowns;		/* outcomes in a row, since a message was accepted or it opened */
	int			refusals;		/* likewise, with one code */
	int			refused_code;	/* that */
	bool		by_code;		/* it has stopped because of them */
	bool		untold;			/* it has stopped, and that was not logged */
	Mappings	mappings;		/* and with which credentials */
	uint32		successes;		/* messages that got through; it wraps around */
	Pace		pace;			/* and how fast */
	int			claimed;		/* in this transaction */
	int			suppressed;		/* likewise */
	int			failed;			/* likewise, by a rule */
	TimestampTz exhausted_until;	/* its limit of parts a day is reached; 0: no */
	LiveState	published;		/* the state in shared memory */

	Window		window;			/* its next messages */
	Retention	retention;		/* its finished messages */
	Tracking   *tracking;		/* their delivery states; NULL: they are not asked for */
} AccountQueue;

/* What is to be looked at in the table: messages due from a time on, of some accounts. */
typedef struct QueueLook
{
	TimestampTz from;			/* DT_NOBEGIN: everything */
	NewsAccounts accounts;
} QueueLook;

/*
 * Within a transaction with the outbox open, in this order: apply changes of the
 * accounts and, unless "look" is NULL, of the queues; take at most "limit" candidates; record each claim, with the mapping of its
 * sender, message that a rule forbade, or limit that was reached; finish.
 */
extern void queues_begin(const QueueLook *look, TimestampTz now);
extern int	queues_take(struct Wire *wire, int limit, TimestampTz now, int64 *ids);
extern void queue_claimed(AccountQueue *queue, Mapping *mapping, TimestampTz now);
extern void queue_forbidden(AccountQueue *queue, bool failed);
extern void queues_end(TimestampTz now);

/* Count the messages that rules forbade in the transaction, once it has committed. */
extern void queues_count_forbidden(TimestampTz now);

/* Discard all candidates, because a transaction failed. */
extern void queues_reset(void);

/* Take back the candidates that a transaction has taken, because it failed for one of them. */
extern void queues_untake(void);

/*
 * Pass a candidate by, as it cannot be claimed.  "spent" is how long the try took if it is
 * not remembered otherwise, in microseconds, else 0.
 */
extern void queues_pass_by(int64 id, int64 spent);

/* Add or remove a reference, which keeps a queue even if its account is dropped. */
extern void queue_hold(AccountQueue *queue);
extern void queue_release(AccountQueue *queue);

/* Return when an account is to be opened because of its mappings; DT_NOEND: none is. */
extern TimestampTz queues_reopen_at(void);

/* Return how many messages may be claimed now, as far as known, and there is room for. */
extern int	queues_wanted(struct Wire *wire, TimestampTz now);

/*
 * Account for the duration of the commit between a claim and its request: the rate
 * limits requests, not claims.
 */
extern void queue_submitting(AccountQueue *queue, int64 delay);

/* Discard waiting times, because the clock was set back. */
extern void queues_set_back(TimestampTz now);

/* Do something with each queue. */
extern void queues_each(void (*each) (AccountQueue *queue));

/* Return when there is work without a notification; DT_NOEND: never. */
extern TimestampTz queues_next_event(struct Wire *wire, TimestampTz now);

/*
 * Return until when the worker must keep running because a new one would not know
 * its state: an account that has stopped with messages queued, or whose rate does
 * not allow a message yet.
 */
extern TimestampTz queues_stay_until(TimestampTz now);

/* Publish changed states in shared memory.  Queues without anything to do go to sleep. */
extern void queues_publish(void);

#endif							/* SMS3300_WORKER_QUEUE_H */
