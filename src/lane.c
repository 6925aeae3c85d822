/*
 * lane.c
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
#include "lane.h"
#include "queue.h"
#include "settings.h"
#include "shmem.h"

/* A sender without credentials is asked for again after this. */
#define MUTE_TIME (5 * USECS_PER_MINUTE)

/* A window is used for this long: then others may be due, and come first. */
#define WINDOW_AGE USECS_PER_SEC

/* Messages that are due but locked by somebody are looked at again after this. */
#define LOCKED_RETRY_DELAY USECS_PER_SEC

/* Messages that cannot be claimed or expired, for a reason of their own. */
static struct
{
	int64		id;
	TimestampTz until;
}			shunned[LANES_MAX_SHUNNED];

static dlist_head lanes = DLIST_STATIC_INIT(lanes);
static uint64 known_generation = 0;

/* Find the lane of an account, or begin one. */
Lane *
lane_find_or_add(const char *name)
{
	dlist_iter	iter;
	Lane	   *lane;

	dlist_foreach(iter, &lanes)
	{
		lane = dlist_container(Lane, node, iter.cur);
		if (strcmp(lane->name, name) == 0)
			return lane;
	}
	lane = MemoryContextAllocZero(TopMemoryContext, sizeof(Lane));
	strlcpy(lane->name, name, NAMEDATALEN);
	lane->begin_at = DT_NOBEGIN;
	lane->next_due = DT_NOBEGIN;
	lane->history.tidy_at = DT_NOEND;
	throttle_hold(&lane->throttle, shmem_started_at());
	dlist_push_tail(&lanes, &lane->node);
	return lane;
}

/* Note that something may be queued from a time on, before where a lane looks. */
static void
go_back(Lane *lane, TimestampTz from)
{
	for (int i = 0; i < QUEUE_PRIORITIES; i++)
	{
		if (lane->places[i].at < from)
			continue;
		lane->places[i].at = from == DT_NOBEGIN ? DT_NOBEGIN : from - 1;
		lane->places[i].id = from == DT_NOBEGIN ? 0 : PG_INT64_MAX;
		lane->unbroken = false;
	}
}

/* Forget the candidates, and fetch them again when asked; what is new is due from a time on. */
static void
reset(Lane *lane, TimestampTz from)
{
	go_back(lane, from);
	lane->ncandidates = lane->next = lane->skip = lane->passed = 0;
	lane->fetched_all = false;
	lane->next_due = DT_NOBEGIN;
}

/* Note that a message was claimed in vain: it cannot be sent, or was not in the end. */
void
lane_cancelled(Lane *lane, TimestampTz now)
{
	bool		probing = lane->throttle.probing;

	throttle_cancel(&lane->throttle);
	if (probing)
		throttle_stop(&lane->throttle, -1, now);
}

/* Forget all candidates, as what is new is due from a time on. */
static void
reset_all(TimestampTz from)
{
	dlist_iter	iter;

	dlist_foreach(iter, &lanes)
		reset(dlist_container(Lane, node, iter.cur), from);
}

/* Forget all candidates, because a transaction failed. */
void
lanes_reset(void)
{
	reset_all(DT_NOBEGIN);
}

/* Open an account, and say so if it had stopped. */
static void
open_lane(Lane *lane)
{
	if (lane->throttle.stopped)
		ereport(LOG,
				(errmsg("sms3300: account \"%s\" sends again", lane->name)));
	throttle_open(&lane->throttle);
}

/* Forget which senders are passed over. */
static void
unmute(Lane *lane)
{
	if (lane->nmuted > 0)
		go_back(lane, DT_NOBEGIN);
	lane->nmuted = 0;
}

/*
 * Note the version of a lane's account; true if it was altered since a worker
 * last looked, this one or another.
 */
static bool
note_version(Lane *lane, const Account *account)
{
	uint64		known = lane->version;

	if (account->version == known)
		return false;
	lane->version = account->version;
	return counters_exchange_version(account->serverid, account->version) != account->version ||
		known != 0;
}

/*
 * Take what is needed of a lane's account.  A change opens one that had
 * stopped, and has its messages tried again that wait for another try.
 */
static void
configure(Lane *lane)
{
	const Account *account = account_find(lane->name);

	lane->exists = account != NULL;
	if (account)
	{
		if (account->version != lane->version)
			history_configure(&lane->history, account->retention, account->redact_after);

		/* Noted first: where the update fails, by a user's trigger, it is not repeated. */
		if (note_version(lane, account))
		{
			open_lane(lane);
			unmute(lane);
			queue_hurry(lane->name);
			go_back(lane, DT_NOBEGIN);
		}
		lane->serverid = account->serverid;
		lane->paused = account->paused;
		lane->max_in_flight = account->max_in_flight;
		lane->rate = account->rate;
		lane->codes = account->codes;
	}
	else
		history_configure(&lane->history, -1, -1);
	lane->taken = lane->claimed = 0;
}

/*
 * Begin a transaction: follow changes of the accounts; with "look", also those
 * of the queue, in which what is new is due from a time on.
 */
void
lanes_begin(bool look, TimestampTz from)
{
	dlist_mutable_iter iter;
	ListCell   *cell;
	uint64		generation = account_generation();

	if (look || generation != known_generation)
	{
		foreach(cell, account_names())
			lane_find_or_add(lfirst(cell));
		reset_all(look ? from : DT_NOEND);
	}

	dlist_foreach_modify(iter, &lanes)
	{
		Lane	   *lane = dlist_container(Lane, node, iter.cur);

		configure(lane);
		lane->fresh = look;
		if (look)
			history_look(&lane->history, lane->name);
		if (!lane->exists && lane->njobs == 0)
		{
			dlist_delete(&lane->node);
			pfree(lane);
		}
	}
	known_generation = generation;
}

/* The lane whose history is to be tidied first; NULL if there is none. */
Lane *
lanes_to_tidy(void)
{
	dlist_iter	iter;
	Lane	   *first = NULL;

	dlist_foreach(iter, &lanes)
	{
		Lane	   *lane = dlist_container(Lane, node, iter.cur);

		if (first == NULL || history_next(&lane->history) < history_next(&first->history))
			first = lane;
	}
	return first;
}

/* When the history of a lane is to be tidied; DT_NOEND: of none. */
TimestampTz
lanes_tidy_at(void)
{
	Lane	   *lane = lanes_to_tidy();

	return lane ? history_next(&lane->history) : DT_NOEND;
}

/* Forget what was to be waited for: the clock was set back. */
void
lanes_set_back(TimestampTz now)
{
	dlist_iter	iter;

	lanes_reset();
	dlist_foreach(iter, &lanes)
	{
		Lane	   *lane = dlist_container(Lane, node, iter.cur);

		lane->throttle.probe_at = now;
		history_set_back(&lane->history, now);
		lane->muted_until = now;
	}
}

/* Tell whether a lane may send at all. */
static bool
is_open(const Lane *lane)
{
	return settings_enabled && lane->exists && !lane->paused;
}

/* Tell whether there are candidates, or may be if they were fetched now. */
static bool
has_candidates(const Lane *lane, TimestampTz now)
{
	return lane->next < lane->ncandidates || lane->next_due <= now;
}

/* How many messages of a lane may be claimed now, as far as is known. */
static int
allowance(const Lane *lane, TimestampTz now)
{
	if (!is_open(lane) || !has_candidates(lane, now))
		return 0;
	return throttle_allowance(&lane->throttle, lane->max_in_flight, lane->rate, now);
}

/* How many messages may be claimed now, as far as is known. */
int
lanes_wanted(TimestampTz now)
{
	dlist_iter	iter;
	int			wanted = 0;

	dlist_foreach(iter, &lanes)
		wanted += allowance(dlist_container(Lane, node, iter.cur), now);
	return wanted;
}

/* Leave a message alone for a while. */
void
lanes_shun(int64 id, TimestampTz until)
{
	static int	next = 0;

	shunned[next].id = id;
	shunned[next].until = until;
	next = (next + 1) % LANES_MAX_SHUNNED;
}

/* Tell whether a message is left alone now. */
static bool
is_shunned(int64 id, TimestampTz now)
{
	for (int i = 0; i < LANES_MAX_SHUNNED; i++)
		if (shunned[i].id == id && shunned[i].until > now)
			return true;
	return false;
}

/* The messages that are left alone now; how many. */
int
lanes_shunned(TimestampTz now, int64 *ids)
{
	int			n = 0;

	for (int i = 0; i < LANES_MAX_SHUNNED; i++)
		if (shunned[i].until > now)
			ids[n++] = shunned[i].id;
	return n;
}

/*
 * Pass over the messages of a sender that has no credentials, for a while or
 * until the account is altered.
 */
void
lane_mute(Lane *lane, const char *sender, TimestampTz now)
{
	for (int i = 0; i < lane->nmuted; i++)
		if (strcmp(NameStr(lane->muted[i]), sender) == 0)
			return;
	if (lane->nmuted == 0)
		lane->muted_until = now + MUTE_TIME;
	if (lane->nmuted < LANE_MAX_MUTED)
		namestrcpy(&lane->muted[lane->nmuted++], sender);
	lane->stale_at = now;		/* there are more of them in the window */
}

/* Fetch the candidates of a lane. */
static void
fetch(Lane *lane, int wanted, TimestampTz now)
{
	int			window = lane->fresh ? Min(wanted, LANE_WINDOW) : LANE_WINDOW;

	if (lane->throttle.stopped)
		window = Max(window, 2);	/* see prefer_another() */

	if (lane->muted_until <= now)
		unmute(lane);
	if (lane->begin_at <= now)
	{
		go_back(lane, DT_NOBEGIN);
		lane->begin_at = now + (int64) settings_poll_interval * 1000;
	}
	lane->ncandidates = queue_candidates(lane->name, lane->muted, lane->nmuted, lane->places,
										 now, lane->skip, window, lane->candidates);
	lane->next = lane->passed = 0;
	lane->unbroken = lane->skip == 0;
	lane->fetched_all = lane->ncandidates < window;
	lane->stale_at = now + WINDOW_AGE;
	lane->next_due = DT_NOEND;	/* until lanes_end() */
	lane->window_claimed = false;
}

/*
 * Have a stopped account try another message than the last in vain, if there is
 * one: it may be the message itself that is refused.
 */
static void
prefer_another(Lane *lane)
{
	QueueCandidate *next = &lane->candidates[lane->next];

	if (lane->throttle.stopped && lane->next + 1 < lane->ncandidates &&
		next[0].id == lane->refused)
	{
		QueueCandidate refused = next[0];

		next[0] = next[1];
		next[1] = refused;
		lane->unbroken = false;
	}
}

/*
 * Take candidates of a lane, fetching them first if need be; not again after
 * that, since those that were taken would be found once more.
 */
static int
take(Lane *lane, int wanted, TimestampTz now, int64 *ids, ItemPointer places)
{
	int			taken = 0;

	if (wanted > 0 && (lane->next == lane->ncandidates || lane->stale_at <= now))
		fetch(lane, wanted, now);
	prefer_another(lane);
	for (; taken < wanted && lane->next < lane->ncandidates; lane->next++)
	{
		const QueueCandidate *candidate = &lane->candidates[lane->next];

		if (is_shunned(candidate->id, now))
		{
			lane->unbroken = false;
			continue;
		}
		ids[taken] = candidate->id;
		places[taken++] = candidate->place;
	}
	lane->taken += taken;
	return taken;
}

/*
 * Take candidates of all lanes, room at the most.  The lane served first
 * changes each time, so that none is starved where room is scarce.
 */
int
lanes_take(int room, TimestampTz now, int64 *ids, ItemPointer places)
{
	dlist_iter	iter;
	int			taken = 0;

	if (dlist_is_empty(&lanes))
		return 0;
	dlist_push_tail(&lanes, dlist_pop_head_node(&lanes));

	dlist_foreach(iter, &lanes)
	{
		Lane	   *lane = dlist_container(Lane, node, iter.cur);

		taken += take(lane, Min(allowance(lane, now), room - taken), now, ids + taken,
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
end_window(Lane *lane, TimestampTz now)
{
	bool		passed_over = lane->skip > 0 || !lane->window_claimed;

	if (!lane->fetched_all)
	{
		if (!lane->window_claimed)
			lane->skip += lane->ncandidates;
		lane->next_due = DT_NOBEGIN;
		return;
	}
	lane->skip = 0;
	lane->next_due = queue_next_due(lane->name, lane->muted, lane->nmuted, lane->places);
	if (lane->next_due <= now)
		lane->next_due = passed_over ? now + LOCKED_RETRY_DELAY : DT_NOBEGIN;
	if (lane->nmuted > 0)
		lane->next_due = Min(lane->next_due, lane->muted_until);
}

/*
 * Move the places behind the candidates that were claimed.  Where one was not,
 * it may be queued still: then they stay, for as long as this window is used.
 */
static void
advance(Lane *lane)
{
	if (lane->claimed != lane->taken)
		lane->unbroken = false;
	if (!lane->unbroken)
		return;
	for (; lane->passed < lane->next; lane->passed++)
	{
		const QueueCandidate *claimed = &lane->candidates[lane->passed];

		lane->places[claimed->priority] = (QueuePlace) {claimed->due_at, claimed->id};
	}
}

/* End a transaction, after its claims. */
void
lanes_end(TimestampTz now)
{
	dlist_iter	iter;

	dlist_foreach(iter, &lanes)
	{
		Lane	   *lane = dlist_container(Lane, node, iter.cur);

		lane->window_claimed |= lane->claimed > 0;
		advance(lane);
		if (lane->next == lane->ncandidates && (lane->taken > 0 || lane->next_due == DT_NOEND))
			end_window(lane, now);
	}
}

/* Note that a message was claimed. */
void
lane_claimed(Lane *lane, TimestampTz now)
{
	lane->claimed++;
	throttle_begin(&lane->throttle, lane->rate, now);
}

/*
 * Note that what was claimed leaves only now, as long after its claim as the
 * commit took: the rate is one of requests, not of claims.
 */
void
lane_submitting(Lane *lane, int64 delay)
{
	if (lane->claimed > 0 && lane->rate > 0)
		lane->throttle.next_slot += delay;
	lane->claimed = 0;
}

/* Note that a message is due again. */
void
lane_due(Lane *lane, TimestampTz due)
{
	go_back(lane, due);
	lane->next_due = Min(lane->next_due, due);
	lane->stale_at = Min(lane->stale_at, due);
}

/* Note what became of a request, which may stop the account or open it again. */
void
lane_finished(Lane *lane, int64 id, GatewayVerdict verdict, int64 retry_after,
			  const char *reason, TimestampTz now)
{
	Throttle   *throttle = &lane->throttle;
	bool		was_stopped = throttle->stopped;

	throttle_end(throttle);
	switch (verdict)
	{
		case VERDICT_SENT:
		case VERDICT_REJECTED:
		case VERDICT_TRANSIENT:
			open_lane(lane);
			break;
		case VERDICT_ACCOUNT:
		case VERDICT_NOT_SENT:
			throttle_stop(throttle, retry_after, now);
			break;
		case VERDICT_UNKNOWN:
			if (was_stopped)
				throttle_stop(throttle, retry_after, now);
			break;
	}

	if (verdict == VERDICT_ACCOUNT || verdict == VERDICT_NOT_SENT)
	{
		strlcpy(lane->reason, reason, COUNTERS_REASON_SIZE);
		lane->refused = id;
	}
	if (throttle->stopped && !was_stopped)
		ereport(LOG,
				(errmsg("sms3300: account \"%s\" stopped: %s", lane->name, reason),
				 errdetail("Its messages stay queued, and one is tried now and then.")));
}

/* When something can be done without being told; DT_NOEND: never. */
TimestampTz
lanes_next_event(TimestampTz now)
{
	dlist_iter	iter;
	TimestampTz next = DT_NOEND;

	dlist_foreach(iter, &lanes)
	{
		Lane	   *lane = dlist_container(Lane, node, iter.cur);
		TimestampTz candidates = lane->next < lane->ncandidates ? DT_NOBEGIN : lane->next_due;

		if (is_open(lane))
			next = Min(next, Max(candidates,
								 throttle_next(&lane->throttle, lane->max_in_flight, lane->rate, now)));
	}
	return next;
}

/*
 * Until when the worker has to stay, as another would not know of it: an account
 * that has stopped with messages queued, or whose rate allows none yet.
 */
TimestampTz
lanes_stay_until(TimestampTz now)
{
	dlist_iter	iter;
	TimestampTz until = DT_NOBEGIN;

	dlist_foreach(iter, &lanes)
	{
		Lane	   *lane = dlist_container(Lane, node, iter.cur);

		if (!is_open(lane))
			continue;
		if (lane->throttle.stopped &&
			(lane->next < lane->ncandidates || lane->next_due != DT_NOEND))
			return DT_NOEND;
		until = Max(until, throttle_slot(&lane->throttle, lane->rate, now));
	}
	return until;
}

/* Tell those who look what has changed since the last time. */
void
lanes_publish(void)
{
	dlist_iter	iter;
	bool		begun = false;

	dlist_foreach(iter, &lanes)
	{
		Lane	   *lane = dlist_container(Lane, node, iter.cur);
		const Throttle *throttle = &lane->throttle;
		LiveState	now = {
			throttle->in_flight, throttle->stopped,
			throttle->stopped && !throttle->probing ? throttle->probe_at : 0
		};

		if (now.in_flight == lane->published.in_flight &&
			now.stopped == lane->published.stopped &&
			now.probe_at == lane->published.probe_at)
			continue;
		if (!begun)
			counters_begin();
		begun = true;
		counters_set_live(lane->serverid, lane->version, &now, lane->reason);
		lane->published = now;
	}
	if (begun)
		counters_end();
}
