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
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "worker/shunned.h"
#include "worker/window.h"

/* A sender without credentials is checked again after this. */
#define MUTE_TIME (5 * USECS_PER_MINUTE)

/* A window is used for this long, as messages with precedence may become due. */
#define WINDOW_AGE USECS_PER_SEC

/* Locked messages are checked again after this. */
#define LOCKED_RETRY_DELAY USECS_PER_SEC

int			queue_poll_interval = 60 * 1000;

void
window_init(Window *window)
{
	window->begin_at = DT_NOBEGIN;
	window->next_due = DT_NOBEGIN;
}

/* Return whether there are candidates that have not been taken. */
static bool
has_untaken(const Window *window)
{
	return window->next < window->ncandidates;
}

bool
window_has_candidates(const Window *window, TimestampTz now)
{
	return window_next(window) <= now;
}

TimestampTz
window_next(const Window *window)
{
	return has_untaken(window) ? DT_NOBEGIN : window->next_due;
}

void
window_go_back(Window *window, TimestampTz from)
{
	for (int i = 0; i < NUM_PRIORITIES; i++)
	{
		if (window->places[i].at < from)
			continue;
		window->places[i].at = from == DT_NOBEGIN ? DT_NOBEGIN : from - 1;
		window->places[i].id = from == DT_NOBEGIN ? 0 : PG_INT64_MAX;
		window->unbroken = false;
	}
}

void
window_reset(Window *window, TimestampTz from)
{
	window_go_back(window, from);
	window->ncandidates = window->next = window->skip = window->passed = 0;
	window->fetched_all = false;
	window->next_due = DT_NOBEGIN;
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
	window->taken = window->claimed = 0;
}

/* Fetch the candidates of an account. */
static void
fetch(Window *window, const char *account, bool stopped, int wanted, TimestampTz now)
{
	int			size = window->fresh ? Min(wanted, WINDOW_SIZE) : WINDOW_SIZE;

	if (stopped)
		size = Max(size, 2);	/* see prefer_another() */

	if (window->muted_until <= now)
		window_unmute(window);
	if (window->begin_at <= now)
	{
		window_go_back(window, DT_NOBEGIN);
		window->begin_at = now + (int64) queue_poll_interval * 1000;
	}
	window->ncandidates = outbox_candidates(account, window->muted, window->nmuted, window->places,
											now, window->skip, size, window->candidates);
	window->next = window->passed = 0;
	window->unbroken = window->skip == 0;
	window->fetched_all = window->ncandidates < size;
	window->stale_at = now + WINDOW_AGE;
	window->next_due = DT_NOEND;	/* until window_end() sets it */
	window->any_claimed = false;
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
		window->unbroken = false;
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

		if (is_shunned(candidate->id, now))
		{
			window->unbroken = false;
			continue;
		}
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

/*
 * Move the places past the claimed candidates.  If one was not claimed, it may
 * still be queued, and the places remain where they are until the next window.
 */
static void
advance(Window *window)
{
	if (window->claimed != window->taken)
		window->unbroken = false;
	if (!window->unbroken)
		return;
	for (; window->passed < window->next; window->passed++)
	{
		const Candidate *claimed = &window->candidates[window->passed];

		window->places[claimed->priority] = (QueuePlace) {claimed->due_at, claimed->id};
	}
}

/*
 * Determine when to fetch again after a window was used up.  Rows that are locked,
 * or whose claim a trigger suppresses, are skipped until the end of the queue and
 * checked again after a while.
 */
static void
use_up(Window *window, const char *account, TimestampTz now)
{
	bool		passed_over = window->skip > 0 || !window->any_claimed;

	if (!window->fetched_all)
	{
		if (!window->any_claimed)
			window->skip += window->ncandidates;
		window->next_due = DT_NOBEGIN;
		return;
	}
	window->skip = 0;
	window->next_due = outbox_next_due(account, window->muted, window->nmuted, window->places);
	if (window->next_due <= now)
		window->next_due = passed_over ? now + LOCKED_RETRY_DELAY : DT_NOBEGIN;
	if (window->nmuted > 0)
		window->next_due = Min(window->next_due, window->muted_until);
}

void
window_end(Window *window, const char *account, TimestampTz now)
{
	window->any_claimed |= window->claimed > 0;
	advance(window);
	if (!has_untaken(window) && (window->taken > 0 || window->next_due == DT_NOEND))
		use_up(window, account, now);
}
