/*
 * retention.c
 *		Delete and redact the old finished messages of an account.
 *
 * A pass processes them in the order in which they were finished, as many per
 * transaction as take little time.  If a transaction fails because of a user's trigger
 * or foreign key, it is repeated with fewer messages, down to one.  A message that fails by itself
 * is skipped until the next pass, so that it does not block others.
 */
#include "postgres.h"

#include "postmaster/interrupt.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "compat.h"
#include "outbox/old.h"
#include "shared/clock.h"
#include "worker/retention.h"
#include "worker/transaction.h"

/* Maximum number of messages deleted or redacted by a transaction. */
#define MAX_LIMIT 1000

/* What a transaction may take, and how much of that is left to others between two. */
#define WISH (50 * INT64CONST(1000))
#define BUSY_FACTOR 9

/* Interval between passes if no other messages were finished ... */
#define PASS_INTERVAL USECS_PER_MINUTE

/* ... and if messages had to be skipped. */
#define RETRY_DELAY (10 * USECS_PER_MINUTE)

/* The steps of a pass.  The index separates messages with and without a text. */
static const struct
{
	bool		only_text;
	bool		redacted;
}			steps[] = {{false, false}, {false, true}, {true, false}};

/* No account has anything to delete or redact before. */
static TimestampTz bound = DT_NOEND;

TimestampTz
retention_next(const Retention *retention)
{
	return Max(retention->tidy_at, retention->not_before);
}

TimestampTz
retention_bound(void)
{
	return bound;
}

void
retention_set_bound(TimestampTz next)
{
	bound = next;
}

/* Begin a step of a pass at its oldest message. */
static void
begin_step(RetentionPass *pass, int step)
{
	pass->step = step;
	pass->place.at = DT_NOBEGIN;
	pass->place.id = 0;
}

void
retention_configure(Retention *retention, int64 delete_after, int64 redact_after)
{
	retention->delete_after = delete_after;
	retention->redact_after = redact_after;
	retention->not_before = DT_NOBEGIN;
	batch_init(&retention->batch, 1, MAX_LIMIT);
	retention->failed = false;
	begin_step(&retention->pass, 0);
	bound = Min(bound, retention_next(retention));
}

/* Schedule the retention of a message that was finished at a time. */
static void
expect(Retention *retention, int64 age, TimestampTz finished_at)
{
	if (age < 0 || finished_at == DT_NOEND)
		return;
	retention->tidy_at = Min(retention->tidy_at, finished_at + age);
	bound = Min(bound, retention_next(retention));
}

void
retention_recorded(Retention *retention, TimestampTz finished_at)
{
	expect(retention, retention->delete_after, finished_at);
	expect(retention, retention->redact_after, finished_at);
}

void
retention_set_back(Retention *retention, TimestampTz now)
{
	retention->tidy_at = Min(retention->tidy_at, now);
	retention->not_before = Min(retention->not_before, now);
	retention->look_at = Min(retention->look_at, now);
	bound = Min(bound, retention_next(retention));
}

void
retention_look(Retention *retention, const char *account)
{
	retention->tidy_at = DT_NOEND;
	if (retention->delete_after >= 0)
		expect(retention, retention->delete_after, outbox_oldest_finished(account, false));
	if (retention->redact_after >= 0)
		expect(retention, retention->redact_after, outbox_oldest_finished(account, true));
}

void
retention_look_again(Retention *retention, const char *account, TimestampTz now)
{
	int64		began = clock_us();

	retention_recorded(retention, now);
	if (retention->look_at > now)
		return;
	retention_look(retention, account);
	retention->look_at = batch_again_at(now, 0, clock_us() - began);
}

/* Delete or redact the next old messages. */
static void
retention_tidy(Retention *retention, const char *account, TimestampTz now)
{
	RetentionPass *ahead = &retention->ahead;

	*ahead = retention->pass;
	for (; ahead->step < (int) lengthof(steps); begin_step(ahead, ahead->step + 1))
	{
		bool		only_text = steps[ahead->step].only_text;
		int64		age = only_text ? retention->redact_after : retention->delete_after;

		retention->removed = age < 0 ? 0 :
			outbox_remove(account, only_text, steps[ahead->step].redacted, now - age,
						  retention->batch.limit, &ahead->place);
		if (retention->removed > 0)
			return;
	}

	/* The remaining messages are locked or were skipped. */
	retention_look(retention, account);
	retention->tidy_at = Max(retention->tidy_at, now + PASS_INTERVAL);
}

/* Continue from the position of the committed transaction. */
static void
retention_tidied(Retention *retention, TimestampTz now)
{
	retention->pass = retention->ahead;
	if (retention->pass.step < (int) lengthof(steps))
		return;

	retention->told &= retention->failed;
	if (retention->failed)
		retention->not_before = now + RETRY_DELAY;
	retention->failed = false;
	begin_step(&retention->pass, 0);
}

/*
 * Reduce the number of messages after a failed transaction, or skip the one that
 * failed.  Returns true and its id if that should be logged.
 */
static bool
retention_failed(Retention *retention, TimestampTz now, int64 took, int64 *id)
{
	bool		news = false;

	if (retention->ahead.place.id == retention->pass.place.id)
		retention->not_before = now + RETRY_DELAY;	/* it failed before the first message */
	else if (retention->batch.limit > 1)
		batch_failed(&retention->batch, retention->batch.limit, took, WISH);
	else
	{
		*id = retention->ahead.place.id;
		news = !retention->told;
		retention->pass = retention->ahead;
		retention->failed = retention->told = true;
	}
	retention->ahead = retention->pass;
	return news;
}

/* The work of a transaction. */
typedef struct Tidying
{
	Retention  *retention;
	const char *account;
} Tidying;

/* Transaction body: delete or redact messages by the current options of the account. */
static void
retention_body(OutboxAccess access, void *arg)
{
	Tidying    *tidying = arg;
	Retention  *retention = tidying->retention;
	const Account *account = account_find(tidying->account);
	int64		delete_after = account ? account->retention : -1;
	int64		redact_after = account ? account->redact_after : -1;

	retention->ahead = retention->pass;
	retention->removed = 0;
	if (access != OUTBOX_OPEN)
		return;
	if (retention->delete_after != delete_after || retention->redact_after != redact_after)
		retention_configure(retention, delete_after, redact_after);
	transaction_limit_triggers();
	retention_tidy(retention, tidying->account, GetCurrentTimestamp());
	transaction_unlimit_triggers();
}

/* A transaction body that finds a table whose foreign key makes deletions slow. */
static void
reference_body(OutboxAccess access, void *arg)
{
	char	  **name = arg;

	*name = access == OUTBOX_OPEN ? outbox_unindexed_reference() : NULL;
}

/* Log once that a message takes longer than a transaction should, and why, if that is known. */
static void
tell_slow(Retention *retention, const char *account, int64 each)
{
	char	   *name = NULL;
	TransactionError error;

	if (retention->told_slow)
		return;
	retention->told_slow = true;
	transaction_run(TRANSACTION_QUIET, reference_body, &name, &error);
	ereport(LOG,
			(errmsg("sms3300: deleting or redacting old messages of account \"%s\" is slow: " INT64_FORMAT " ms each",
					account, each / 1000),
			 name ? errdetail("Table %s references sms_outbox, and the columns of its foreign key have no index.", name) :
			 errdetail("A trigger or a foreign key of another table on sms_outbox takes that time."),
			 name ? errhint("Create an index on these columns.") : 0));
}

/* Adapt to what a committed transaction took. */
static void
retention_took(Retention *retention, const char *account, int64 took, bool busy)
{
	int			n = retention->removed;

	batch_took(&retention->batch, n, took, WISH);
	if (busy && n > 0)
		retention->not_before = Max(retention->not_before,
									GetCurrentTimestamp() + BUSY_FACTOR * took);
	if (n > 0 && took / n > WISH)
		tell_slow(retention, account, took / n);
}

/* Delete or redact, never with triggers disabled: users' foreign keys are triggers too. */
void
retention_run(Retention *retention, const char *account, bool busy)
{
	Tidying		tidying = {retention, account};
	int64		begun_at = clock_us();
	TransactionError error;
	TransactionOutcome outcome = transaction_run(TRANSACTION_QUIET, retention_body, &tidying, &error);
	TimestampTz now = GetCurrentTimestamp();
	int64		id;

	if (outcome == TRANSACTION_DONE)
	{
		retention_tidied(retention, now);
		retention_took(retention, account, clock_us() - begun_at, busy);
	}
	else if (outcome == TRANSACTION_FAILED && !ShutdownRequestPending &&
			 retention_failed(retention, now, error.took, &id))
		transaction_report(&error, psprintf("could not delete or redact message " INT64_FORMAT
											" of account \"%s\", skipping it and others like it",
											id, account));
}
