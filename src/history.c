/*
 * history.c
 *		An account's finished messages, which are deleted or redacted when old.
 *
 * They are passed over in the order in which they were finished, a small number
 * in each transaction.  Where that fails, by a user's trigger or foreign key, it
 * is tried with ever fewer, in the end with one; and a message that fails by
 * itself is passed over until the next pass, so that it keeps no other.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "compat.h"
#include "history.h"

/* Messages that one transaction deletes or redacts, at the most. */
#define MAX_LIMIT 1000

/* How many times fewer after a failure, and more after a success. */
#define LIMIT_FACTOR 10

/* A pass follows the last one after this, unless more was finished meanwhile ... */
#define PASS_INTERVAL USECS_PER_MINUTE

/* ... and after this, if it had to leave messages where they are. */
#define RETRY_DELAY (10 * USECS_PER_MINUTE)

/* The steps of a pass.  The index has messages with and without a text apart. */
static const struct
{
	bool		only_text;
	bool		redacted;
}			steps[] = {{false, false}, {false, true}, {true, false}};

/* Begin a step of a pass, with its oldest message. */
static void
begin_step(HistoryPass *pass, int step)
{
	pass->step = step;
	pass->place.at = DT_NOBEGIN;
	pass->place.id = 0;
}

/* Take what the account's options say, and try again at once. */
void
history_configure(History *history, int64 retention, int64 redact_after)
{
	history->retention = retention;
	history->redact_after = redact_after;
	history->not_before = DT_NOBEGIN;
	history->limit = MAX_LIMIT;
	history->failed = false;
	begin_step(&history->pass, 0);
}

/* Have a message that was finished at a time dealt with at its time. */
static void
expect(History *history, int64 age, TimestampTz finished_at)
{
	if (age >= 0 && finished_at != DT_NOEND)
		history->tidy_at = Min(history->tidy_at, finished_at + age);
}

/* Note that a message was finished. */
void
history_recorded(History *history, TimestampTz finished_at)
{
	expect(history, history->retention, finished_at);
	expect(history, history->redact_after, finished_at);
}

/* When there is something to do; DT_NOEND: never. */
TimestampTz
history_next(const History *history)
{
	return Max(history->tidy_at, history->not_before);
}

/* Forget what was to be waited for: the clock was set back. */
void
history_set_back(History *history, TimestampTz now)
{
	history->tidy_at = Min(history->tidy_at, now);
	history->not_before = Min(history->not_before, now);
}

/* Find out when there is something to do, by what is in the table. */
void
history_look(History *history, const char *account)
{
	history->tidy_at = DT_NOEND;
	if (history->retention >= 0)
		expect(history, history->retention, queue_oldest_finished(account, false));
	if (history->redact_after >= 0)
		expect(history, history->redact_after, queue_oldest_finished(account, true));
}

/* Delete or redact the next messages that are old enough. */
void
history_tidy(History *history, const char *account, TimestampTz now)
{
	HistoryPass *ahead = &history->ahead;

	*ahead = history->pass;
	for (; ahead->step < (int) lengthof(steps); begin_step(ahead, ahead->step + 1))
	{
		bool		only_text = steps[ahead->step].only_text;
		int64		age = only_text ? history->redact_after : history->retention;

		if (age >= 0 &&
			queue_remove(account, only_text, steps[ahead->step].redacted, now - age,
						 history->limit, &ahead->place))
			return;
	}

	/* What is left then is locked by somebody, or was passed over. */
	history_look(history, account);
	history->tidy_at = Max(history->tidy_at, now + PASS_INTERVAL);
}

/* Go on from where the committed transaction has come to. */
void
history_tidied(History *history, TimestampTz now)
{
	history->pass = history->ahead;
	history->limit = Min(history->limit * LIMIT_FACTOR, MAX_LIMIT);
	if (history->pass.step < (int) lengthof(steps))
		return;

	history->told &= history->failed;
	if (history->failed)
		history->not_before = now + RETRY_DELAY;
	history->failed = false;
	begin_step(&history->pass, 0);
}

/*
 * After a transaction that failed, try fewer, or pass over the one that failed.
 * True, with its id, if that is news.
 */
bool
history_failed(History *history, TimestampTz now, int64 *id)
{
	bool		news = false;

	if (history->ahead.place.id == history->pass.place.id)
		history->not_before = now + RETRY_DELAY;	/* it failed before it came to any */
	else if (history->limit > 1)
		history->limit /= LIMIT_FACTOR;
	else
	{
		*id = history->ahead.place.id;
		news = !history->told;
		history->pass = history->ahead;
		history->failed = history->told = true;
	}
	history->ahead = history->pass;
	return news;
}
