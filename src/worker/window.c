/*
 * window.c
 *		Fetch the messages of an account that are sent next.
 *
 * Candidates are fetched in windows, and each window begins where the last one
 * ended.  The index entries of finished messages remain until vacuum, which an old
 * snapshot can delay, and a scan from the beginning would read all of them.
 * Sessions that queue messages report when these are due, so that none is missed.
 * Once per poll_interval the scan starts from the beginning, to find rows changed
 * by hand.  While messages are being queued, a window would be outdated before it
 * is used up.  Only messages that can be sent at once are fetched then.
 *
 * Messages that are locked, or cannot be claimed, are passed by, however many they
 * are.  They are tried again from the head at a pace: the more of them, the rarer.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/memutils.h"

#include "worker/shunned.h"
#include "worker/window.h"

/* A sender without credentials is checked again after this. */
#define MUTE_TIME (5 * USECS_PER_MINUTE)

/* A window is used for this long, as messages with precedence may become due. */
#define WINDOW_AGE USECS_PER_SEC

/* Messages that were passed by are tried again after this, and this for each of them. */
#define HEAD_DELAY USECS_PER_SEC
#define HEAD_DELAY_EACH 200

int			queue_poll_interval = 60 * 1000;

void
window_init(Window *window)
{
	window->begin_at = DT_NOBEGIN;
	window->next_due = DT_NOBEGIN;
	window->held_due = DT_NOEND;
	window->head_at = DT_NOEND;
}

void
window_clear(Window *window)
{
	if (window->candidates)
		pfree(window->candidates);
	window->candidates = NULL;
	window->ncandidates = window->next = window->passed = window->begun = 0;
}

/* Return whether there are candidates that have not been taken. */
static bool
has_untaken(const Window *window)
{
	return window->next < window->ncandidates;
}

TimestampTz
window_next(const Window *window)
{
	return has_untaken(window) ? DT_NOBEGIN : window->next_due;
}

/* Move a place back, if it is behind a time.  Returns whether it was. */
static bool
place_go_back(QueuePlace *place, TimestampTz from)
{
	if (place->at < from)
		return false;
	place->at = from == DT_NOBEGIN ? DT_NOBEGIN : from - 1;
	place->id = from == DT_NOBEGIN ? 0 : PG_INT64_MAX;
	return true;
}

void
window_go_back(Window *window, TimestampTz from)
{
	for (int i = 0; i < NUM_PRIORITIES; i++)
	{
		window->detached |= place_go_back(&window->places[i], from);
		place_go_back(&window->head[i], from);
	}
	if (from == DT_NOBEGIN)
	{
		window->npassed = 0;
		window->head_at = DT_NOEND;
	}
}

void
window_reset(Window *window, TimestampTz from)
{
	window_clear(window);
	window_go_back(window, from);
	window->fetched_all = false;
	window->next_due = DT_NOBEGIN;
}

void
window_hold(Window *window, int least)
{
	if (window->least == least)
		return;
	window->least = least;
	window->held_due = DT_NOEND;
	window_reset(window, DT_NOEND);
}

void
window_due(Window *window, TimestampTz due)
{
	window_go_back(window, due);
	window->next_due = Min(window->next_due, due);
	window->stale_at = Min(window->stale_at, due);
}

void
window_mute(Window *window, const char *sender, TimestampTz now)
{
	for (int i = 0; i < window->nmuted; i++)
		if (strcmp(NameStr(window->muted[i]), sender) == 0)
			return;
	if (window->nmuted == 0)
		window->muted_until = now + MUTE_TIME;
	if (window->nmuted < WINDOW_MAX_MUTED)
		namestrcpy(&window->muted[window->nmuted++], sender);
	window->stale_at = now;		/* the window has more of them */
}

void
window_unmute(Window *window)
{
	if (window->nmuted > 0)
		window_go_back(window, DT_NOBEGIN);
	window->nmuted = 0;
}

void
window_set_back(Window *window, TimestampTz now)
{
	window_reset(window, DT_NOBEGIN);
	window->muted_until = now;
}

void
window_begin(Window *window, bool fresh)
{
	window->fresh = fresh;
	window->begun = window->next;
	window->taken = window->claimed = 0;
}

/* Go back to the head, where messages were passed by. */
static void
go_to_head(Window *window)
{
	memcpy(window->places, window->head, sizeof(window->places));
	window->npassed = 0;
	window->head_at = DT_NOEND;
}

/* Fetch the candidates of an account. */
static void
fetch(Window *window, const char *account, bool stopped, int wanted, TimestampTz now)
{
	int			size = window->fresh ? Min(wanted, WINDOW_SIZE) : WINDOW_SIZE;

	if (stopped)
		size = Max(size, 2);	/* see prefer_another() */

	window_clear(window);
	if (window->muted_until <= now)
		window_unmute(window);
	if (window->begin_at <= now)
	{
		window_go_back(window, DT_NOBEGIN);
		window->begin_at = now + (int64) queue_poll_interval * 1000;
	}
	else if (window->head_at <= now)
		go_to_head(window);
	window->candidates = MemoryContextAlloc(TopMemoryContext, size * sizeof(Candidate));
	window->ncandidates = outbox_candidates(account, window->muted, window->nmuted, window->least,
											window->places, now, size, window->candidates);
	window->detached = false;
	window->fetched_all = window->ncandidates < size;
	window->stale_at = now + WINDOW_AGE;
	window->next_due = DT_NOEND;	/* until window_end() sets it */
}

/*
 * Prefer a message other than the last one that failed, because that message may
 * itself be the cause.
 */
static void
prefer_another(Window *window, int64 avoid)
{
	Candidate  *next = &window->candidates[window->next];

	if (window->next + 1 < window->ncandidates && next[0].id == avoid)
	{
		Candidate	refused = next[0];

		next[0] = next[1];
		next[1] = refused;
		window->detached = true;
	}
}

/* Take candidates; none are fetched after that, as the taken ones would be found again. */
int
window_take(Window *window, const char *account, bool stopped, int64 avoid,
			int wanted, TimestampTz now, int64 *ids)
{
	int			taken = 0;

	if (wanted > 0 && (!has_untaken(window) || window->stale_at <= now))
		fetch(window, account, stopped, wanted, now);
	if (stopped)
		prefer_another(window, avoid);
	for (; taken < wanted && has_untaken(window); window->next++)
	{
		const Candidate *candidate = &window->candidates[window->next];

		if (!is_shunned(candidate->id, now))
			ids[taken++] = candidate->id;
	}
	window->taken += taken;
	return taken;
}

void
window_claimed(Window *window)
{
	window->claimed++;
}

void
window_untake(Window *window)
{
	window->next = window->begun;
	window->taken = window->claimed = 0;
}

/* Note that some candidates were passed by, although they may still be queued. */
static void
pass_by(Window *window, int n, TimestampTz now)
{
	if (n <= 0)
		return;
	if (window->npassed == 0)
		window->head_at = now + HEAD_DELAY;
	window->npassed += n;
	window->head_at += (int64) n * HEAD_DELAY_EACH;
}

/* Return when the next message of certain priorities is due, from the places on. */
static TimestampTz
next_due(const Window *window, const char *account, int least, int most)
{
	return outbox_next_due(account, window->muted, window->nmuted, least, most, window->places);
}

/*
 * Move the places past the candidates that were taken or skipped, and the head with
 * them unless one was not claimed.
 */
static void
advance(Window *window, TimestampTz now)
{
	if (!window->detached)
		pass_by(window, window->next - window->passed - window->claimed, now);
	for (; window->passed < window->next; window->passed++)
	{
		const Candidate *passed = &window->candidates[window->passed];

		if (!window->detached)
			window->places[passed->priority] = (QueuePlace) {passed->due_at, passed->id};
	}
	if (window->npassed == 0)
		memcpy(window->head, window->places, sizeof(window->head));
}

/* Determine when to fetch again after a window was used up. */
static void
use_up(Window *window, const char *account)
{
	bool		fetched_all = window->fetched_all;

	window_clear(window);
	if (!fetched_all)
	{
		window->next_due = DT_NOBEGIN;
		return;
	}
	window->next_due = next_due(window, account, window->least, MAX_PRIORITY);
	window->next_due = Min(window->next_due, window->head_at);
	window->held_due = window->least == 0 ? DT_NOEND :
		next_due(window, account, 0, Min(window->least - 1, MAX_PRIORITY));
	if (window->nmuted > 0)
		window->next_due = Min(window->next_due, window->muted_until);
}

void
window_end(Window *window, const char *account, TimestampTz now)
{
	advance(window, now);
	if (!has_untaken(window) && (window->taken > 0 || window->next_due == DT_NOEND))
		use_up(window, account);
}
