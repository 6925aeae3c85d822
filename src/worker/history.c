/*
 * history.c
 *		Write what was counted in past hours to sms3300_history.
 *
 * The worker writes when it is there anyway: no worker is started for the history, and
 * none wakes up.  What is not written yet is in shared memory, where the view finds it.
 */
#include "postgres.h"

#include "nodes/pg_list.h"

#include "account/account.h"
#include "outbox/history.h"
#include "shared/counters.h"
#include "worker/history.h"
#include "worker/transaction.h"

/* A failure is followed by another try after this. */
#define RETRY_DELAY USECS_PER_MINUTE

/* When to look next. */
static TimestampTz look_at = 0;

/* The hours that a transaction writes. */
typedef struct Writing
{
	TimestampTz now;
	Oid		   *servers;
	HourCounts *hours;
	int			n;
	bool		written;
} Writing;

/* Transaction body: write the past hours of all accounts. */
static void
history_body(OutboxAccess access, void *arg)
{
	Writing    *writing = arg;
	List	   *names = account_names();
	HistoryRow *rows = palloc(sizeof(HistoryRow) * Max(list_length(names), 1));
	ListCell   *cell;

	if (access == OUTBOX_NEWER || names == NIL)
		return;
	writing->servers = palloc(sizeof(Oid) * list_length(names));
	writing->hours = palloc(sizeof(HourCounts) * list_length(names));
	foreach(cell, names)
	{
		const Account *account = account_find(lfirst(cell));
		HourCounts *hour = &writing->hours[writing->n];
		double		p95;

		if (account == NULL ||
			!counters_past_hour(account->serverid, counters_hour(writing->now), hour))
			continue;
		p95 = hour_percentile(hour, 0.95);
		writing->servers[writing->n] = account->serverid;
		rows[writing->n++] = (HistoryRow) {
			lfirst(cell), hour->hour, hour->sent, hour->rejected, hour->unknown, hour->requests,
			p95 < 0 ? -1 : p95 / 1000
		};
	}
	transaction_limit_triggers();
	writing->written = writing->n > 0 && history_write(rows, writing->n, writing->now);
	transaction_unlimit_triggers();
}

void
history_run(TimestampTz now)
{
	Writing		writing = {.now = now};
	TransactionError error = {0};

	/* A time that is further ahead than it can be was told by another clock. */
	if (now < look_at && look_at - now <= USECS_PER_HOUR)
		return;
	if (!counters_any_past_hour(counters_hour(now)))
	{
		look_at = counters_hour(now) + USECS_PER_HOUR;
		return;
	}
	if (transaction_run(0, history_body, &writing, &error) != TRANSACTION_DONE ||
		(writing.n > 0 && !writing.written))
	{
		/* Nothing is sent while a trigger takes its time. */
		look_at = now + (error.too_slow ? USECS_PER_HOUR : RETRY_DELAY);
		return;
	}
	for (int i = 0; writing.written && i < writing.n; i++)
		counters_forget_hour(writing.servers[i], &writing.hours[i]);
	look_at = counters_hour(now) + USECS_PER_HOUR;
}
