/*
 * queue.h
 *		What the worker knows of each account, and of its queue.
 *
 * A queue keeps what is needed of its account between transactions.
 */
#ifndef SMS3300_WORKER_QUEUE_H
#define SMS3300_WORKER_QUEUE_H

#include "lib/ilist.h"

#include "account/account.h"
#include "shared/counters.h"
#include "worker/pace.h"
#include "worker/retention.h"
#include "worker/window.h"

typedef struct AccountQueue
{
	dlist_node	node;
	char		name[NAMEDATALEN];	/* the account's */
	int			nholds;			/* by those who refer to this queue */

	/* Of the account, as of the last transaction */
	bool		exists;
	Oid			serverid;
	uint64		version;
	bool		paused;
	int			max_in_flight;
	double		rate;
	GatewayCodes codes;

	Pace		pace;			/* whether and how fast it may send */
	char		reason[COUNTERS_REASON_SIZE];	/* why it stopped */
	int64		refused;		/* the message that met that last */
	int			claimed;		/* in this transaction */
	LiveState	published;		/* as others see it */

	Window		window;			/* what it sends next */
	Retention	retention;		/* and what it has finished */
} AccountQueue;

/*
 * In a transaction with the outbox open, in this order: follow changes of the
 * accounts, and with "look" those of the queues, in which what is new is due from a
 * time on; take candidates, room of them at the most; and note what became of them.
 */
extern void queues_begin(bool look, TimestampTz from);
extern int	queues_take(int room, TimestampTz now, int64 *ids, ItemPointer places);
extern void queue_claimed(AccountQueue *queue, TimestampTz now);
extern void queues_end(TimestampTz now);

/* Forget all candidates, because a transaction failed. */
extern void queues_reset(void);

/* Find the queue of an account, or begin one. */
extern AccountQueue *queue_find_or_add(const char *name);

/* Keep a queue although its account may be dropped, and no longer. */
extern void queue_hold(AccountQueue *queue);
extern void queue_release(AccountQueue *queue);

/* The queue whose finished messages are to be tidied first; NULL if there is none; and when. */
extern AccountQueue *queues_to_tidy(void);
extern TimestampTz queues_tidy_at(void);

/* How many messages may be claimed now, as far as is known. */
extern int	queues_wanted(TimestampTz now);

/*
 * Note that what was claimed leaves only now, as long after its claim as the
 * commit took: the rate is one of requests, not of claims.
 */
extern void queue_submitting(AccountQueue *queue, int64 delay);

/* Note that a message was claimed in vain: it cannot be sent, or was not in the end. */
extern void queue_cancelled(AccountQueue *queue, TimestampTz now);

/* Note what became of a request, which may stop the account or open it again. */
extern void queue_finished(AccountQueue *queue, int64 id, GatewayVerdict verdict,
						   int64 retry_after, const char *reason, TimestampTz now);

/* Forget what was to be waited for: the clock was set back. */
extern void queues_set_back(TimestampTz now);

/* When something can be done without being told; DT_NOEND: never. */
extern TimestampTz queues_next_event(TimestampTz now);

/*
 * Until when the worker has to stay, as another would not know of it: an account
 * that has stopped with messages queued, or whose rate allows none yet.
 */
extern TimestampTz queues_stay_until(TimestampTz now);

/* Tell those who look what has changed since the last time. */
extern void queues_publish(void);

#endif							/* SMS3300_WORKER_QUEUE_H */
