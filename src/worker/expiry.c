/*
 * expiry.c
 *		Expire queued messages whose send_before has passed.
 *
 * They are found in the order in which they expire.  What is locked or fails is passed
 * by, and tried again at a pace that keeps the cost of that small.
 */
#include "postgres.h"

#include "postmaster/interrupt.h"
#include "utils/timestamp.h"

#include "outbox/candidates.h"
#include "shared/clock.h"
#include "shared/counters.h"
#include "shared/registry.h"
#include "worker/expiry.h"
#include "worker/roster.h"
#include "worker/shunned.h"
#include "worker/transaction.h"

/* Maximum number of messages expired by a transaction. */
#define MAX_EXPIRED 1000

/* What was passed by is tried again after this, or after the second multiple of what that takes. */
#define EXPIRY_RETRY_DELAY USECS_PER_SEC
#define EXPIRY_RETRY_MULTIPLE 20

/* The messages that a transaction expires. */
typedef struct Expiring
{
	const Expiry *expiry;
	int			limit;
	QueuePlace	found[MAX_EXPIRED];
	int			nfound;
	int64		ids[MAX_EXPIRED];	/* of those, but for what is skipped */
	int			nids;
	QueuePlace	place;			/* what expires before it has been seen to */
	TimestampTz next;			/* when the next one behind it expires */
	bool		left;			/* at the end: some that have expired were passed by */
	List	   *expired;		/* the account of each expired message */
} Expiring;

static const QueuePlace beginning = {DT_NOBEGIN, 0};

void
expiry_init(Expiry *expiry)
{
	*expiry = (Expiry) {
		.next = DT_NOEND, .not_before = DT_NOBEGIN, .place = beginning, .head_at = DT_NOEND
	};
	batch_init(&expiry->batch, MAX_EXPIRED, MAX_EXPIRED);
}

TimestampTz
expiry_next(const Expiry *expiry)
{
	return Max(Min(expiry->next, expiry->head_at), expiry->not_before);
}

/* Begin at the head. */
static void
go_back(Expiry *expiry)
{
	expiry->place = beginning;
	expiry->head_at = DT_NOEND;
	expiry->took = 0;
}

void
expiry_expect(Expiry *expiry, TimestampTz when)
{
	expiry->next = Min(expiry->next, when);
	if (when <= expiry->place.at)
		expiry->place = (QueuePlace) {when - 1, PG_INT64_MAX};
}

void
expiry_look(Expiry *expiry)
{
	go_back(expiry);
	expiry->next = outbox_next_expiry(beginning);
}

void
expiry_set_back(Expiry *expiry, TimestampTz now)
{
	expiry->not_before = Min(expiry->not_before, now);
	go_back(expiry);
}

/* Transaction body: expire what is due behind the place, and is not skipped. */
static void
expiry_body(OutboxAccess access, void *arg)
{
	Expiring   *expiring = arg;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz since;
	TimestampTz until;

	expiring->nfound = expiring->nids = 0;
	if (access != OUTBOX_OPEN)
		return;
	expiring->nfound = outbox_expiring(now, expiring->expiry->place, expiring->limit,
										 expiring->found);
	for (int i = 0; i < expiring->nfound; i++)
		if (!is_shunned(expiring->found[i].id, now))
			expiring->ids[expiring->nids++] = expiring->found[i].id;
	expiring->place = expiring->nfound < expiring->limit ? (QueuePlace) {now, PG_INT64_MAX} :
		expiring->found[expiring->nfound - 1];
	if (!registry_worker_was_refused(&since, &until))
		since = until = DT_NOEND;
	transaction_limit_triggers();
	expiring->expired = outbox_expire(now, expiring->ids, expiring->nids, since, until);
	transaction_unlimit_triggers();
	expiring->next = outbox_next_expiry(expiring->place);
	expiring->left = expiring->nfound < expiring->limit && outbox_next_expiry(beginning) <= now;
}

/* Count the expired messages after the commit, and schedule their retention. */
static void
count_expired(const Expiring *expiring)
{
	ListCell   *cell;

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

/* Go on behind what the transaction has found; at the end, decide when to begin again. */
static void
settle_expired(Expiry *expiry, const Expiring *expiring)
{
	count_expired(expiring);
	expiry->place = expiring->place;
	expiry->next = expiring->next;
	if (expiring->nfound == expiring->limit)
		return;
	if (!expiring->left)
		go_back(expiry);
	else if (expiry->head_at == DT_NOEND)
		expiry->head_at = GetCurrentTimestamp() +
			Max(EXPIRY_RETRY_MULTIPLE * expiry->took, EXPIRY_RETRY_DELAY);
}

/* Expire a message that has failed by itself with triggers disabled, or skip it. */
static void
expire_anyway(Expiry *expiry, Expiring *expiring, const TransactionError *error)
{
	int64		id = expiring->ids[0];
	TransactionError again;
	TransactionOutcome outcome = TRANSACTION_FAILED;

	if (transaction_may_disable_triggers(error))
		outcome = transaction_run(TRANSACTION_TRIGGERS_OFF, expiry_body, expiring, &again);
	if (outcome == TRANSACTION_DONE)
		settle_expired(expiry, expiring);
	else if (outcome == TRANSACTION_FAILED)
	{
		/* If there are too many to remember, the place alone gets past it. */
		(void) shun(id, GetCurrentTimestamp());
		expiry->place = expiring->place;
	}
}

void
expiry_run(Expiry *expiry)
{
	Expiring   *expiring = palloc0(sizeof(Expiring));
	TimestampTz now = GetCurrentTimestamp();
	int64		begun_at = clock_us();
	TransactionError error;
	TransactionOutcome outcome;

	if (expiry->head_at <= now)
		go_back(expiry);
	expiring->expiry = expiry;
	expiring->place = expiry->place;
	expiring->next = expiry->next;
	expiring->limit = batch_next(&expiry->batch);
	outcome = transaction_run(0, expiry_body, expiring, &error);
	expiry->took += clock_us() - begun_at;
	if (outcome == TRANSACTION_DONE)
	{
		batch_took(&expiry->batch, expiring->nfound, clock_us() - begun_at, BATCH_TIME);
		settle_expired(expiry, expiring);
	}
	else if (outcome == TRANSACTION_FAILED && expiring->nids > 1 && expiring->limit > 1)
		batch_failed(&expiry->batch, expiring->nids, error.took, BATCH_TIME);
	else if (outcome == TRANSACTION_FAILED && expiring->nids == 1)
		expire_anyway(expiry, expiring, &error);
	else
		expiry->not_before = now + EXPIRY_RETRY_DELAY;
}
