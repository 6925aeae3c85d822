/*
 * expiry.c
 *		Expire queued messages whose send_before has passed.
 */
#include "postgres.h"

#include "postmaster/interrupt.h"
#include "utils/timestamp.h"

#include "outbox/candidates.h"
#include "shared/counters.h"
#include "worker/expiry.h"
#include "worker/queue.h"
#include "worker/shunned.h"
#include "worker/transaction.h"

/* Maximum number of messages expired by a transaction, and expired one by one. */
#define MAX_EXPIRED 1000
#define MAX_EXPIRED_ALONE 10

/* Messages that are locked or skipped are retried after this. */
#define EXPIRY_RETRY_DELAY USECS_PER_SEC

/* A message that cannot be expired even with triggers disabled is skipped for this long. */
#define SHUN_TIME USECS_PER_MINUTE

/* The messages that a transaction expires. */
typedef struct Expiring
{
	int64		ids[MAX_EXPIRED];	/* none: all that are due */
	int			nids;
	bool		all;			/* there was room for all that were due */
	TimestampTz next;			/* when the next one expires */
	List	   *expired;		/* the account of each expired message */
} Expiring;

void
expiry_init(Expiry *expiry)
{
	expiry->next = DT_NOEND;
	expiry->not_before = DT_NOBEGIN;
}

TimestampTz
expiry_next(const Expiry *expiry)
{
	return Max(expiry->next, expiry->not_before);
}

void
expiry_expect(Expiry *expiry, TimestampTz when)
{
	expiry->next = Min(expiry->next, when);
}

void
expiry_look(Expiry *expiry)
{
	expiry->next = outbox_next_expiry();
}

void
expiry_set_back(Expiry *expiry, TimestampTz now)
{
	expiry->not_before = Min(expiry->not_before, now);
}

/* Transaction body: expire the given messages, or all that are due and not skipped. */
static void
expiry_body(OutboxAccess access, void *arg)
{
	Expiring   *expiring = arg;
	TimestampTz now = GetCurrentTimestamp();
	int64		shunned[MAX_SHUNNED];

	if (access == OUTBOX_NEWER)
		return;
	if (expiring->nids == 0)
	{
		expiring->nids = outbox_expiring(now, shunned, shunned_now(now, shunned),
										 MAX_EXPIRED, expiring->ids);
		expiring->all = expiring->nids < MAX_EXPIRED;
	}
	transaction_limit_triggers();
	expiring->expired = outbox_expire(now, expiring->ids, expiring->nids);
	transaction_unlimit_triggers();
	expiring->next = outbox_next_expiry();
}

/* Count the expired messages after the commit, and schedule their retention. */
static void
settle_expired(Expiry *expiry, const Expiring *expiring)
{
	ListCell   *cell;

	expiry->next = expiring->next;
	if (expiring->expired == NIL)
		return;
	counters_begin();
	foreach(cell, expiring->expired)
	{
		AccountQueue *queue = queue_find_or_add(lfirst(cell));

		counters_add(queue->serverid, COUNTER_EXPIRED, 1);
		retention_recorded(&queue->retention, GetCurrentTimestamp());
	}
	counters_end();
}

/* Expire a single message, as a last resort with triggers disabled, or skip it. */
static void
expire_alone(Expiry *expiry, int64 id)
{
	Expiring   *expiring = palloc0(sizeof(Expiring));
	TransactionError error;
	TransactionOutcome outcome;

	expiring->ids[0] = id;
	expiring->nids = 1;
	expiring->next = expiry->next;
	outcome = transaction_run(0, expiry_body, expiring, &error);
	if (outcome == TRANSACTION_FAILED)
		outcome = transaction_run(TRANSACTION_TRIGGERS_OFF, expiry_body, expiring, &error);
	if (outcome == TRANSACTION_DONE)
		settle_expired(expiry, expiring);
	else if (outcome == TRANSACTION_FAILED)
		shun(id, GetCurrentTimestamp() + SHUN_TIME);
}

void
expiry_run(Expiry *expiry)
{
	Expiring   *expiring = palloc0(sizeof(Expiring));
	TransactionError error;
	TransactionOutcome outcome;

	expiring->next = expiry->next;
	outcome = transaction_run(0, expiry_body, expiring, &error);
	if (outcome == TRANSACTION_DONE)
		settle_expired(expiry, expiring);
	if (outcome == TRANSACTION_FAILED)
		for (int i = 0; i < Min(expiring->nids, MAX_EXPIRED_ALONE) && !ShutdownRequestPending; i++)
			expire_alone(expiry, expiring->ids[i]);

	/* The remaining messages are locked or skipped. */
	if (expiring->all || outcome != TRANSACTION_DONE)
		expiry->not_before = GetCurrentTimestamp() + EXPIRY_RETRY_DELAY;
}
