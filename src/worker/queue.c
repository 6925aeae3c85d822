/*
 * queue.c
 *		What the worker knows of each account's queue.
 *
 * Candidates for sending are fetched in windows, not one by one, and each
 * window begins where the last one ended: the entries of messages that are done
 * stay in the queue's index until vacuum, or as long as anybody holds an old
 * snapshot, and a look from the beginning passes over all of them.  Who queues
 * messages says from when on they are due, so that nothing is left behind.  Once
 * every poll_interval the look is from the beginning, for what was changed by hand.
 * While messages are being queued, a window would be outdated before it is
 * used up; then only what can be sent at once is fetched.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "outbox/candidates.h"
#include "shared/registry.h"
#include "worker/queue.h"

/* A sender without credentials is asked for again after this. */
#define MUTE_TIME (5 * USECS_PER_MINUTE)

/* A window is used for this long: then others may be due, and come first. */
#define WINDOW_AGE USECS_PER_SEC

/* Messages that are due but locked by somebody are looked at again after this. */
#define LOCKED_RETRY_DELAY USECS_PER_SEC

int			queue_poll_interval = 60 * 1000;

/* Messages that cannot be claimed or expired, for a reason of their own. */
static struct
{
	int64		id;
	TimestampTz until;
}			shunned[QUEUES_MAX_SHUNNED];

static dlist_head queues = DLIST_STATIC_INIT(queues);
static uint64 known_generation = 0;

/* Find the queue of an account, or begin one. */
AccountQueue *
queue_find_or_add(const char *name)
{
	dlist_iter	iter;
	AccountQueue *queue;

	dlist_foreach(iter, &queues)
	{
		queue = dlist_container(AccountQueue, node, iter.cur);
		if (strcmp(queue->name, name) == 0)
			return queue;
	}
	queue = MemoryContextAllocZero(TopMemoryContext, sizeof(AccountQueue));
	strlcpy(queue->name, name, NAMEDATALEN);
	queue->begin_at = DT_NOBEGIN;
	queue->next_due = DT_NOBEGIN;
	queue->retention.tidy_at = DT_NOEND;
	pace_hold(&queue->pace, registry_started_at());
	dlist_push_tail(&queues, &queue->node);
	return queue;
}

/* Note that something may be queued from a time on, before where a queue looks. */
static void
go_back(AccountQueue *queue, TimestampTz from)
{
	for (int i = 0; i < NUM_PRIORITIES; i++)
	{
		if (queue->places[i].at < from)
			continue;
		queue->places[i].at = from == DT_NOBEGIN ? DT_NOBEGIN : from - 1;
		queue->places[i].id = from == DT_NOBEGIN ? 0 : PG_INT64_MAX;
		queue->unbroken = false;
	}
}

/* Forget the candidates, and fetch them again when asked; what is new is due from a time on. */
static void
reset(AccountQueue *queue, TimestampTz from)
{
	go_back(queue, from);
	queue->ncandidates = queue->next = queue->skip = queue->passed = 0;
	queue->fetched_all = false;
	queue->next_due = DT_NOBEGIN;
}

/* Note that a message was claimed in vain: it cannot be sent, or was not in the end. */
void
queue_cancelled(AccountQueue *queue, TimestampTz now)
{
	bool		probing = queue->pace.probing;

	pace_cancel(&queue->pace);
	if (probing)
		pace_stop(&queue->pace, -1, now);
}

/* Forget all candidates, as what is new is due from a time on. */
static void
reset_all(TimestampTz from)
{
	dlist_iter	iter;

	dlist_foreach(iter, &queues)
		reset(dlist_container(AccountQueue, node, iter.cur), from);
}

/* Forget all candidates, because a transaction failed. */
void
queues_reset(void)
{
	reset_all(DT_NOBEGIN);
}

/* Open an account, and say so if it had stopped. */
static void
open_queue(AccountQueue *queue)
{
	if (queue->pace.stopped)
		ereport(LOG,
				(errmsg("sms3300: account \"%s\" sends again", queue->name)));
	pace_open(&queue->pace);
}

/* Forget which senders are passed over. */
static void
unmute(AccountQueue *queue)
{
	if (queue->nmuted > 0)
		go_back(queue, DT_NOBEGIN);
	queue->nmuted = 0;
}

/*
 * Note the version of a queue's account; true if it was altered since a worker
 * last looked, this one or another.
 */
static bool
queue_note_version(AccountQueue *queue, const Account *account)
{
	uint64		known = queue->version;

	if (account->version == known)
		return false;
	queue->version = account->version;
	return counters_exchange_version(account->serverid, account->version) != account->version ||
		known != 0;
}

/*
 * Take what is needed of a queue's account.  A change opens one that had
 * stopped, and has its messages tried again that wait for another try.
 */
static void
queue_configure(AccountQueue *queue)
{
	const Account *account = account_find(queue->name);

	queue->exists = account != NULL;
	if (account)
	{
		if (account->version != queue->version)
			retention_configure(&queue->retention, account->retention, account->redact_after);

		/* Noted first: where the update fails, by a user's trigger, it is not repeated. */
		if (queue_note_version(queue, account))
		{
			open_queue(queue);
			unmute(queue);
			outbox_hurry(queue->name);
			go_back(queue, DT_NOBEGIN);
		}
		queue->serverid = account->serverid;
		queue->paused = account->paused;
		queue->max_in_flight = account->max_in_flight;
		queue->rate = account->rate;
		queue->codes = account->codes;
	}
	else
		retention_configure(&queue->retention, -1, -1);
	queue->taken = queue->claimed = 0;
}

/*
 * Begin a transaction: follow changes of the accounts; with "look", also those
 * of the queue, in which what is new is due from a time on.
 */
void
queues_begin(bool look, TimestampTz from)
{
	dlist_mutable_iter iter;
	ListCell   *cell;
	uint64		generation = account_generation();

	if (look || generation != known_generation)
	{
		foreach(cell, account_names())
			queue_find_or_add(lfirst(cell));
		reset_all(look ? from : DT_NOEND);
	}

	dlist_foreach_modify(iter, &queues)
	{
		AccountQueue *queue = dlist_container(AccountQueue, node, iter.cur);

		queue_configure(queue);
		queue->fresh = look;
		if (look)
			retention_look(&queue->retention, queue->name);
		if (!queue->exists && queue->njobs == 0)
		{
			dlist_delete(&queue->node);
			pfree(queue);
		}
	}
	known_generation = generation;
}

/* The queue whose history is to be tidied first; NULL if there is none. */
AccountQueue *
queues_to_tidy(void)
{
	dlist_iter	iter;
	AccountQueue *first = NULL;

	dlist_foreach(iter, &queues)
	{
		AccountQueue *queue = dlist_container(AccountQueue, node, iter.cur);

		if (first == NULL || retention_next(&queue->retention) < retention_next(&first->retention))
			first = queue;
	}
	return first;
}

/* When the history of a queue is to be tidied; DT_NOEND: of none. */
TimestampTz
queues_tidy_at(void)
{
	AccountQueue *queue = queues_to_tidy();

	return queue ? retention_next(&queue->retention) : DT_NOEND;
}

/* Forget what was to be waited for: the clock was set back. */
void
queues_set_back(TimestampTz now)
{
	dlist_iter	iter;

	queues_reset();
	dlist_foreach(iter, &queues)
	{
		AccountQueue *queue = dlist_container(AccountQueue, node, iter.cur);

		queue->pace.probe_at = now;
		retention_set_back(&queue->retention, now);
		queue->muted_until = now;
	}
}

/* Tell whether a queue may send at all. */
static bool
is_open(const AccountQueue *queue)
{
	return registry_enabled && queue->exists && !queue->paused;
}

/* Tell whether there are candidates, or may be if they were fetched now. */
static bool
has_candidates(const AccountQueue *queue, TimestampTz now)
{
	return queue->next < queue->ncandidates || queue->next_due <= now;
}

/* How many messages of a queue may be claimed now, as far as is known. */
static int
allowance(const AccountQueue *queue, TimestampTz now)
{
	if (!is_open(queue) || !has_candidates(queue, now))
		return 0;
	return pace_allowance(&queue->pace, queue->max_in_flight, queue->rate, now);
}

/* How many messages may be claimed now, as far as is known. */
int
queues_wanted(TimestampTz now)
{
	dlist_iter	iter;
	int			wanted = 0;

	dlist_foreach(iter, &queues)
		wanted += allowance(dlist_container(AccountQueue, node, iter.cur), now);
	return wanted;
}

/* Leave a message alone for a while. */
void
queues_shun(int64 id, TimestampTz until)
{
	static int	next = 0;

	shunned[next].id = id;
	shunned[next].until = until;
	next = (next + 1) % QUEUES_MAX_SHUNNED;
}

/* Tell whether a message is left alone now. */
static bool
is_shunned(int64 id, TimestampTz now)
{
	for (int i = 0; i < QUEUES_MAX_SHUNNED; i++)
		if (shunned[i].id == id && shunned[i].until > now)
			return true;
	return false;
}

/* The messages that are left alone now; how many. */
int
queues_shunned(TimestampTz now, int64 *ids)
{
	int			n = 0;

	for (int i = 0; i < QUEUES_MAX_SHUNNED; i++)
		if (shunned[i].until > now)
			ids[n++] = shunned[i].id;
	return n;
}

/*
 * Pass over the messages of a sender that has no credentials, for a while or
 * until the account is altered.
 */
void
queue_mute(AccountQueue *queue, const char *sender, TimestampTz now)
{
	for (int i = 0; i < queue->nmuted; i++)
		if (strcmp(NameStr(queue->muted[i]), sender) == 0)
			return;
	if (queue->nmuted == 0)
		queue->muted_until = now + MUTE_TIME;
	if (queue->nmuted < QUEUE_MAX_MUTED)
		namestrcpy(&queue->muted[queue->nmuted++], sender);
	queue->stale_at = now;		/* there are more of them in the window */
}

/* Fetch the candidates of a queue. */
static void
fetch(AccountQueue *queue, int wanted, TimestampTz now)
{
	int			window = queue->fresh ? Min(wanted, QUEUE_WINDOW) : QUEUE_WINDOW;

	if (queue->pace.stopped)
		window = Max(window, 2);	/* see prefer_another() */

	if (queue->muted_until <= now)
		unmute(queue);
	if (queue->begin_at <= now)
	{
		go_back(queue, DT_NOBEGIN);
		queue->begin_at = now + (int64) queue_poll_interval * 1000;
	}
	queue->ncandidates = outbox_candidates(queue->name, queue->muted, queue->nmuted, queue->places,
										 now, queue->skip, window, queue->candidates);
	queue->next = queue->passed = 0;
	queue->unbroken = queue->skip == 0;
	queue->fetched_all = queue->ncandidates < window;
	queue->stale_at = now + WINDOW_AGE;
	queue->next_due = DT_NOEND;	/* until queues_end() */
	queue->window_claimed = false;
}

/*
 * Have a stopped account try another message than the last in vain, if there is
 * one: it may be the message itself that is refused.
 */
static void
prefer_another(AccountQueue *queue)
{
	Candidate *next = &queue->candidates[queue->next];

	if (queue->pace.stopped && queue->next + 1 < queue->ncandidates &&
		next[0].id == queue->refused)
	{
		Candidate refused = next[0];

		next[0] = next[1];
		next[1] = refused;
		queue->unbroken = false;
	}
}

/*
 * Take candidates of a queue, fetching them first if need be; not again after
 * that, since those that were taken would be found once more.
 */
static int
queue_take(AccountQueue *queue, int wanted, TimestampTz now, int64 *ids, ItemPointer places)
{
	int			taken = 0;

	if (wanted > 0 && (queue->next == queue->ncandidates || queue->stale_at <= now))
		fetch(queue, wanted, now);
	prefer_another(queue);
	for (; taken < wanted && queue->next < queue->ncandidates; queue->next++)
	{
		const Candidate *candidate = &queue->candidates[queue->next];

		if (is_shunned(candidate->id, now))
		{
			queue->unbroken = false;
			continue;
		}
		ids[taken] = candidate->id;
		places[taken++] = candidate->place;
	}
	queue->taken += taken;
	return taken;
}

/*
 * Take candidates of all queues, room at the most.  The queue served first
 * changes each time, so that none is starved where room is scarce.
 */
int
queues_take(int room, TimestampTz now, int64 *ids, ItemPointer places)
{
	dlist_iter	iter;
	int			taken = 0;

	if (dlist_is_empty(&queues))
		return 0;
	dlist_push_tail(&queues, dlist_pop_head_node(&queues));

	dlist_foreach(iter, &queues)
	{
		AccountQueue *queue = dlist_container(AccountQueue, node, iter.cur);

		taken += queue_take(queue, Min(allowance(queue, now), room - taken), now, ids + taken,
					  places + taken);
	}
	return taken;
}

/*
 * Find out when to fetch again after a window was used up.  Rows that somebody
 * has locked, or whose claim a trigger suppresses, are passed over until the
 * end of the queue, and looked at again after a while.
 */
static void
end_window(AccountQueue *queue, TimestampTz now)
{
	bool		passed_over = queue->skip > 0 || !queue->window_claimed;

	if (!queue->fetched_all)
	{
		if (!queue->window_claimed)
			queue->skip += queue->ncandidates;
		queue->next_due = DT_NOBEGIN;
		return;
	}
	queue->skip = 0;
	queue->next_due = outbox_next_due(queue->name, queue->muted, queue->nmuted, queue->places);
	if (queue->next_due <= now)
		queue->next_due = passed_over ? now + LOCKED_RETRY_DELAY : DT_NOBEGIN;
	if (queue->nmuted > 0)
		queue->next_due = Min(queue->next_due, queue->muted_until);
}

/*
 * Move the places behind the candidates that were claimed.  Where one was not,
 * it may be queued still: then they stay, for as long as this window is used.
 */
static void
advance(AccountQueue *queue)
{
	if (queue->claimed != queue->taken)
		queue->unbroken = false;
	if (!queue->unbroken)
		return;
	for (; queue->passed < queue->next; queue->passed++)
	{
		const Candidate *claimed = &queue->candidates[queue->passed];

		queue->places[claimed->priority] = (QueuePlace) {claimed->due_at, claimed->id};
	}
}

/* End a transaction, after its claims. */
void
queues_end(TimestampTz now)
{
	dlist_iter	iter;

	dlist_foreach(iter, &queues)
	{
		AccountQueue *queue = dlist_container(AccountQueue, node, iter.cur);

		queue->window_claimed |= queue->claimed > 0;
		advance(queue);
		if (queue->next == queue->ncandidates && (queue->taken > 0 || queue->next_due == DT_NOEND))
			end_window(queue, now);
	}
}

/* Note that a message was claimed. */
void
queue_claimed(AccountQueue *queue, TimestampTz now)
{
	queue->claimed++;
	pace_begin(&queue->pace, queue->rate, now);
}

/*
 * Note that what was claimed leaves only now, as long after its claim as the
 * commit took: the rate is one of requests, not of claims.
 */
void
queue_submitting(AccountQueue *queue, int64 delay)
{
	if (queue->claimed > 0 && queue->rate > 0)
		queue->pace.next_slot += delay;
	queue->claimed = 0;
}

/* Note that a message is due again. */
void
queue_due(AccountQueue *queue, TimestampTz due)
{
	go_back(queue, due);
	queue->next_due = Min(queue->next_due, due);
	queue->stale_at = Min(queue->stale_at, due);
}

/* Note what became of a request, which may stop the account or open it again. */
void
queue_finished(AccountQueue *queue, int64 id, GatewayVerdict verdict, int64 retry_after,
			  const char *reason, TimestampTz now)
{
	Pace   *pace = &queue->pace;
	bool		was_stopped = pace->stopped;

	pace_end(pace);
	switch (verdict)
	{
		case VERDICT_SENT:
		case VERDICT_REJECTED:
		case VERDICT_TRANSIENT:
			open_queue(queue);
			break;
		case VERDICT_ACCOUNT:
		case VERDICT_NOT_SENT:
			pace_stop(pace, retry_after, now);
			break;
		case VERDICT_UNKNOWN:
			if (was_stopped)
				pace_stop(pace, retry_after, now);
			break;
	}

	if (verdict == VERDICT_ACCOUNT || verdict == VERDICT_NOT_SENT)
	{
		strlcpy(queue->reason, reason, COUNTERS_REASON_SIZE);
		queue->refused = id;
	}
	if (pace->stopped && !was_stopped)
		ereport(LOG,
				(errmsg("sms3300: account \"%s\" stopped: %s", queue->name, reason),
				 errdetail("Its messages stay queued, and one is tried now and then.")));
}

/* When something can be done without being told; DT_NOEND: never. */
TimestampTz
queues_next_event(TimestampTz now)
{
	dlist_iter	iter;
	TimestampTz next = DT_NOEND;

	dlist_foreach(iter, &queues)
	{
		AccountQueue *queue = dlist_container(AccountQueue, node, iter.cur);
		TimestampTz candidates = queue->next < queue->ncandidates ? DT_NOBEGIN : queue->next_due;

		if (is_open(queue))
			next = Min(next, Max(candidates,
								 pace_next(&queue->pace, queue->max_in_flight, queue->rate, now)));
	}
	return next;
}

/*
 * Until when the worker has to stay, as another would not know of it: an account
 * that has stopped with messages queued, or whose rate allows none yet.
 */
TimestampTz
queues_stay_until(TimestampTz now)
{
	dlist_iter	iter;
	TimestampTz until = DT_NOBEGIN;

	dlist_foreach(iter, &queues)
	{
		AccountQueue *queue = dlist_container(AccountQueue, node, iter.cur);

		if (!is_open(queue))
			continue;
		if (queue->pace.stopped &&
			(queue->next < queue->ncandidates || queue->next_due != DT_NOEND))
			return DT_NOEND;
		until = Max(until, pace_slot(&queue->pace, queue->rate, now));
	}
	return until;
}

/* Tell those who look what has changed since the last time. */
void
queues_publish(void)
{
	dlist_iter	iter;
	bool		begun = false;

	dlist_foreach(iter, &queues)
	{
		AccountQueue *queue = dlist_container(AccountQueue, node, iter.cur);
		const Pace *pace = &queue->pace;
		LiveState	now = {
			pace->in_flight, pace->stopped,
			pace->stopped && !pace->probing ? pace->probe_at : 0
		};

		if (now.in_flight == queue->published.in_flight &&
			now.stopped == queue->published.stopped &&
			now.probe_at == queue->published.probe_at)
			continue;
		if (!begun)
			counters_begin();
		begun = true;
		counters_set_live(queue->serverid, queue->version, &now, queue->reason);
		queue->published = now;
	}
	if (begun)
		counters_end();
}
