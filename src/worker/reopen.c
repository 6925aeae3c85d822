/*
 * reopen.c
 *		Open accounts that were altered, or that a person wants to be tried again.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/timestamp.h"

#include "outbox/candidates.h"
#include "shared/clock.h"
#include "shared/counters.h"
#include "shared/registry.h"
#include "worker/reopen.h"
#include "worker/stops.h"
#include "worker/transaction.h"

/*
 * A role that may use a server can make and drop a mapping of its own again and again.
 * Each change of a mapping opens the account, but not more often than this.
 */
#define REOPEN_PAUSE (10 * USECS_PER_SEC)

/*
 * Messages of an account that are hurried when it is opened, and by the first transaction.
 * All that another clock has put off are made due.
 */
#define HURRY_LIMIT 10000
#define HURRY_FIRST 1000

/* So often is a message tried that cannot be hurried.  After that, all wait for their time. */
#define HURRY_TRIES 10

/* No retry is put off for longer. */
#define LONGEST_DELAY (30 * USECS_PER_MINUTE)

/* Where the table is locked, they are hurried after this. */
#define LOCKED_DELAY (100 * INT64CONST(1000))

/* The queues whose messages are to be hurried. */
static dlist_head hurries = DLIST_STATIC_INIT(hurries);

/* Begin to hurry messages, or to hurry others. */
static void
begin_hurry(AccountQueue *queue)
{
	Hurry	   *hurry = &queue->hurry;

	if (hurry->at == DT_NOEND)
		dlist_push_tail(&hurries, &hurry->node);
	hurry->at = DT_NOBEGIN;
	hurry->left = HURRY_LIMIT;
	hurry->failures = 0;
	batch_init(&hurry->batch, HURRY_FIRST, HURRY_LIMIT);
}

void
reopen_hurry(AccountQueue *queue, bool tried)
{
	queue->hurry.retries = true;
	queue->hurry.tried |= tried;
	begin_hurry(queue);
}

/* What is due up to this was put off by a clock that was set back; 0: it was not. */
static TimestampTz disbelieved_until = 0;

/* Have the messages of a queue that another clock has put off made due. */
static void
disbelieve(AccountQueue *queue)
{
	queue->hurry.until = disbelieved_until;
	begin_hurry(queue);
}

void
reopen_init(AccountQueue *queue)
{
	queue->hurry.at = DT_NOEND;
	if (disbelieved_until > GetCurrentTimestamp())
		disbelieve(queue);
}

void
reopen_disbelieve(TimestampTz former)
{
	if (former == 0)
		return;
	disbelieved_until = Max(disbelieved_until, former + LONGEST_DELAY);
	queues_each(disbelieve);
}

void
reopen_forget(AccountQueue *queue)
{
	if (queue->hurry.at != DT_NOEND)
		dlist_delete(&queue->hurry.node);
	queue->hurry.at = DT_NOEND;
	queue->hurry.until = 0;
	queue->hurry.retries = queue->hurry.tried = false;
}

void
reopen_queue(AccountQueue *queue, bool paused, bool tried)
{
	bool		opened = gate_set(&queue->gate, ACCOUNT_OPEN);

	opened |= mappings_open(&queue->mappings);
	if (opened && !paused)
		queue_tell_open(queue);
	if (queue->exhausted_until != 0)
		queue->exhausted_until = DT_NOBEGIN;
	if (window_is_empty(&queue->window))
		return;
	reopen_hurry(queue, tried);
	window_reset(&queue->window, DT_NOBEGIN);
}

/*
 * Update the version of a queue's account.  Returns true if it was altered since
 * this or another worker last checked.
 */
static bool
note_version(AccountQueue *queue, const Account *account)
{
	uint64		known = queue->version;

	if (account->version == known)
		return false;
	queue->version = account->version;
	return counters_exchange_version(account->serverid, account->version) != account->version ||
		known != 0;
}

void
reopen_follow(AccountQueue *queue, const Account *account)
{
	bool		of_mapping = queue->version != 0 && account->server_version == queue->server_version;
	TimestampTz now = GetCurrentTimestamp();

	queue->reopening = of_mapping && queue->reopen_at > now && queue->reopen_at <= now + REOPEN_PAUSE;
	if (queue->reopening)
		return;
	if (of_mapping)
		queue->reopen_at = now + REOPEN_PAUSE;
	queue->server_version = account->server_version;
	if (note_version(queue, account))
		reopen_queue(queue, account->paused, !of_mapping);
}

/* -------------------------------------------------------------------------
 * Messages that wait for another try
 * ------------------------------------------------------------------------- */

/* The messages of an account that a transaction hurries. */
typedef struct Hurrying
{
	const char *account;
	TimestampTz until;			/* those that another clock has put off; 0: retries */
	bool		tried;			/* also those with attempts that count */
	int			limit;
	int			n;				/* how many there were */
	TimestampTz due;			/* they are due at this time or later */
} Hurrying;

/* Return the queue whose messages are hurried first, or NULL. */
static AccountQueue *
first_hurry(void)
{
	dlist_iter	iter;
	AccountQueue *first = NULL;

	dlist_foreach(iter, &hurries)
	{
		AccountQueue *queue = dlist_container(AccountQueue, hurry.node, iter.cur);

		if (first == NULL || queue->hurry.at < first->hurry.at)
			first = queue;
	}
	return first;
}

TimestampTz
reopen_next(void)
{
	const AccountQueue *first = first_hurry();

	return first ? first->hurry.at : DT_NOEND;
}

/* Transaction body: make messages due. */
static void
hurry_body(OutboxAccess access, void *arg)
{
	Hurrying   *hurrying = arg;

	hurrying->n = 0;
	hurrying->due = GetCurrentTransactionStartTimestamp();
	if (access != OUTBOX_OPEN)
		return;
	transaction_limit_triggers();
	hurrying->n = hurrying->until ?
		outbox_hurry_disbelieved(hurrying->account, hurrying->until, hurrying->limit) :
		outbox_hurry(hurrying->account, hurrying->tried, hurrying->limit);
	transaction_unlimit_triggers();
}

/* Hurry some messages; with triggers disabled if one of them fails otherwise. */
static TransactionOutcome
hurry_some(Hurrying *hurrying, TransactionError *error)
{
	TransactionOutcome outcome = transaction_run(0, hurry_body, hurrying, error);

	if (outcome == TRANSACTION_FAILED && transaction_may_disable_triggers(error) &&
		(hurrying->limit == 1 || !error->too_slow))
		outcome = transaction_run(TRANSACTION_TRIGGERS_OFF, hurry_body, hurrying, error);
	return outcome;
}

/* Return whether messages that another clock has put off are still to be made due. */
static bool
disbelieves(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &hurries)
		if (dlist_container(AccountQueue, hurry.node, iter.cur)->hurry.until != 0)
			return true;
	return false;
}

/* Go on after some were hurried. */
static void
hurried(AccountQueue *queue, const Hurrying *hurrying, int64 took)
{
	Hurry	   *hurry = &queue->hurry;

	window_due(&queue->window, hurrying->due);
	batch_took(&hurry->batch, hurrying->n, took, BATCH_TIME);
	hurry->failures = 0;
	if (hurrying->until == 0)
		hurry->left -= hurrying->n;
	if (hurrying->n == hurrying->limit && hurry->left > 0)
		return;
	if (hurrying->until && hurry->retries)
	{
		hurry->until = 0;
		begin_hurry(queue);
	}
	else
		reopen_forget(queue);
	if (hurrying->until && !disbelieves())
		registry_worker_end_set_back();
}

/* Go on after a failure: with fewer messages, or without the one that fails. */
static void
hurry_failed(AccountQueue *queue, const Hurrying *hurrying, const TransactionError *error, TimestampTz now)
{
	Hurry	   *hurry = &queue->hurry;

	if (transaction_may_disable_triggers(error) && hurrying->limit > 1)
		batch_failed(&hurry->batch, hurrying->limit, error->took, BATCH_TIME);
	else if (++hurry->failures < HURRY_TRIES)
		hurry->at = now + pace_backoff(USECS_PER_SEC, hurry->failures);
	else
		reopen_forget(queue);
}

void
reopen_run(TimestampTz now)
{
	AccountQueue *queue = first_hurry();
	Hurry	   *hurry = &queue->hurry;
	Hurrying	hurrying = {
		.account = queue->name, .until = hurry->until, .tried = hurry->tried,
		.limit = batch_next(&hurry->batch)
	};
	int64		begun_at = clock_us();
	TransactionError error;

	if (hurry->until == 0)
		hurrying.limit = Min(hurrying.limit, hurry->left);
	switch (hurry_some(&hurrying, &error))
	{
		case TRANSACTION_DONE:
			hurried(queue, &hurrying, clock_us() - begun_at);
			break;
		case TRANSACTION_LOCKED:
			hurry->at = now + LOCKED_DELAY;
			break;
		case TRANSACTION_MISSING:
			reopen_forget(queue);
			break;
		case TRANSACTION_FAILED:
			hurry_failed(queue, &hurrying, &error, now);
			break;
	}
}

void
reopen_set_back(TimestampTz now)
{
	dlist_iter	iter;

	dlist_foreach(iter, &hurries)
	{
		AccountQueue *queue = dlist_container(AccountQueue, hurry.node, iter.cur);

		queue->hurry.at = Min(queue->hurry.at, now);
	}
}

void
reopen_hand_over(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &hurries)
	{
		AccountQueue *queue = dlist_container(AccountQueue, hurry.node, iter.cur);

		if (queue->hurry.retries)
			counters_request_retry(queue->serverid);
	}
}
