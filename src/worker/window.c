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

#include "common/hashfn.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "shared/clock.h"
#include "worker/batch.h"
#include "worker/shunned.h"
#include "worker/window.h"

/* A window is used for this long, as messages with precedence may become due. */
#define WINDOW_AGE USECS_PER_SEC

/*
 * Of a queue that is longer than a window, the first messages of other senders are fetched
 * at this interval: of so many senders at a time, and so many of each in a priority.
 */
#define OTHERS_INTERVAL (100 * INT64CONST(1000))
#define OTHER_SENDERS 100
#define OTHER_EACH 10
#define OTHERS_SIZE 1000

/* Messages that were passed by are tried again after this, and this for each of them. */
#define HEAD_DELAY USECS_PER_SEC
#define HEAD_DELAY_EACH 200

/* Those that are not remembered otherwise may take this part of the time. */
#define SPENT_FACTOR 20

int			queue_poll_interval = 60 * 1000;

void
window_init(Window *window)
{
	window->begin_at = DT_NOBEGIN;
	window->next_due = DT_NOBEGIN;
	window->held_due = DT_NOEND;
	window->head_at = window->barred_until = DT_NOEND;
}

void
window_clear(Window *window)
{
	if (window->candidates)
	{
		pfree(window->candidates);
		pfree(window->sequence);
	}
	window->candidates = NULL;
	window->ncandidates = window->nqueue = window->next = window->passed = window->begun = 0;
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
		window->spent = 0;
		window->head_at = window->barred_until = DT_NOEND;
		window->barred = false;
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
window_expect_nothing(Window *window)
{
	window->next_due = window->held_due = window->barred_until = DT_NOEND;
	window->barred = false;
}

bool
window_is_empty(const Window *window)
{
	return window->candidates == NULL && window->next_due == DT_NOEND && window->held_due == DT_NOEND;
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
window_set_back(Window *window)
{
	window_reset(window, DT_NOBEGIN);
	window->begin_at = window->later_at = window->others_at = DT_NOBEGIN;
}

void
window_bar(Window *window, TimestampTz until)
{
	window->barred_until = Min(window->barred_until, until);
	window->next_due = Min(window->next_due, until);
}

void
window_begin(Window *window, bool fresh)
{
	window->fresh = fresh;
	window->begun = window->next;
	window->taken = window->claimed = window->forbidden = window->nbarred = window->nfailed = 0;
}

/* Go back to the head, where messages were passed by. */
static void
go_to_head(Window *window)
{
	memcpy(window->places, window->head, sizeof(window->places));
	window->npassed = 0;
	window->spent = 0;
	window->head_at = DT_NOEND;
}

/* What ranks are counted by. */
typedef struct RankKey
{
	uint32		sender;
	int			priority;
} RankKey;

typedef struct RankEntry
{
	RankKey		key;			/* first */
	int			n;
} RankEntry;

/* Rank each candidate among those of its sender and priority. */
static void
rank(Window *window)
{
	HASHCTL		control = {
		.keysize = sizeof(RankKey), .entrysize = sizeof(RankEntry), .hcxt = CurrentMemoryContext
	};
	HTAB	   *ranks = hash_create("sms3300 ranks", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	for (int i = 0; i < window->ncandidates; i++)
	{
		WindowEntry *candidate = &window->candidates[i];
		RankKey		key = {candidate->sender, candidate->priority};
		bool		found;
		RankEntry  *entry = hash_search(ranks, &key, HASH_ENTER, &found);

		entry->n = found ? entry->n + 1 : 0;
		candidate->rank = entry->n;
	}
	hash_destroy(ranks);
}

/* Compare candidates: by priority, then so that senders take turns, then as in the queue. */
static int
compare_turns(const void *a, const void *b, void *arg)
{
	const WindowEntry *candidates = arg;
	const WindowEntry *x = &candidates[*(const int *) a];
	const WindowEntry *y = &candidates[*(const int *) b];

	if (x->priority != y->priority)
		return x->priority > y->priority ? -1 : 1;
	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	if (x->due_at != y->due_at)
		return x->due_at < y->due_at ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id ? 1 : 0;
}

/* Determine the order of sending, in which senders take turns. */
static void
put_in_sequence(Window *window)
{
	bool		single = true;

	window->sequence = MemoryContextAlloc(TopMemoryContext, Max(window->ncandidates, 1) * sizeof(int));
	for (int i = 0; i < window->ncandidates; i++)
	{
		window->sequence[i] = i;
		single &= window->candidates[i].sender == window->candidates[0].sender;
	}
	if (single)
		return;
	rank(window);
	qsort_arg(window->sequence, window->ncandidates, sizeof(int), compare_turns, window->candidates);
}

/* Keep the candidates that were fetched, with the mapping of each. */
static void
keep(Window *window, const Candidate *found, int n, Mappings *mappings)
{
	const char *sender = NULL;
	Mapping    *mapping = NULL;
	uint32		hash = 0;

	window->candidates = MemoryContextAlloc(TopMemoryContext, Max(n, 1) * sizeof(WindowEntry));
	for (int i = 0; i < n; i++)
	{
		if (sender == NULL || strcmp(sender, found[i].sender) != 0)
		{
			sender = found[i].sender;
			mapping = mapping_of(mappings, sender);
			hash = hash_bytes((const unsigned char *) sender, (int) strlen(sender));
		}
		window->candidates[i] = (WindowEntry) {
			.id = found[i].id, .priority = found[i].priority, .due_at = found[i].due_at,
			.size = found[i].size, .sender = hash, .mapping = mapping
		};
	}
	window->ncandidates = n;
	put_in_sequence(window);
}

/* Compare ids. */
static int
compare_ids(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y ? 1 : 0;
}

/*
 * Add the first messages of other senders to the n first of a long queue, which may be
 * all of one sender.  Returns how many there are then.
 */
static int
add_others(Window *window, const WindowTake *take, Candidate *found, int n)
{
	int64	   *ids = palloc(n * sizeof(int64));
	int64		began = clock_us();
	char	   *last;
	int			nothers = outbox_others(take->account, NameStr(window->other), take->now, OTHER_SENDERS,
										OTHER_EACH, OTHERS_SIZE, found + n, &last);
	int			all = n;

	memset(&window->other, 0, sizeof(NameData));
	if (last)
		strlcpy(NameStr(window->other), last, NAMEDATALEN);
	window->others_at = batch_again_at(take->now, OTHERS_INTERVAL, clock_us() - began);
	for (int i = 0; i < n; i++)
		ids[i] = found[i].id;
	qsort(ids, n, sizeof(int64), compare_ids);
	for (int i = n; i < n + nothers; i++)
		if (found[i].priority >= window->least &&
			bsearch(&found[i].id, ids, n, sizeof(int64), compare_ids) == NULL)
			found[all++] = found[i];
	return all;
}

/* Fetch candidates in the order of the queue, and look when the next one is due unless that takes long. */
static int
fetch_queue(Window *window, const WindowTake *take, int size, Candidate *found)
{
	bool		looks = window->later_at <= take->now;
	int64		began = clock_us();
	int			n = outbox_candidates(take->account, window->least, window->places, take->now, size, found,
									  looks ? &window->later_due : NULL);

	if (looks)
		window->later_at = batch_again_at(take->now, 0, clock_us() - began);
	else
		window->later_due = window->later_at;
	return n;
}

/* Fetch the candidates of an account. */
static void
fetch(Window *window, const WindowTake *take, int wanted)
{
	int			size = window->fresh ? Min(wanted, WINDOW_SIZE) : WINDOW_SIZE;
	Candidate  *found;
	int			nqueue;
	int			n;
	TimestampTz now = take->now;

	if (account_has_stopped(take->gate->state) || window->barred)
		size = WINDOW_SIZE;		/* see prefer_another() */

	window_clear(window);
	if (window->begin_at <= now || window->barred_until <= now)
		window_go_back(window, DT_NOBEGIN);
	else if (window->head_at <= now)
		go_to_head(window);
	if (window->begin_at <= now)
		window->begin_at = now + (int64) queue_poll_interval * 1000;
	found = palloc((size + OTHERS_SIZE) * sizeof(Candidate));
	n = nqueue = fetch_queue(window, take, size, found);
	if (nqueue == size && window->others_at <= now)
		n = add_others(window, take, found, n);
	keep(window, found, n, take->mappings);
	window->nqueue = nqueue;
	window->detached = false;
	window->fetched_all = nqueue < size;
	window->stale_at = now + WINDOW_AGE;
	window->next_due = DT_NOEND;	/* until window_end() sets it; what comes back sooner sets it, too */
}

/* Have a candidate change places with the next one. */
static void
bring_forward(Window *window, int place)
{
	int			next = window->sequence[window->next];

	window->sequence[window->next] = window->sequence[place];
	window->sequence[place] = next;
}

/*
 * Prefer a message of another sender than the last one that failed, else at least
 * another message, because that sender or message may itself be the cause: of a mapping, or
 * of any.
 */
static void
prefer_another(Window *window, const Mapping *mapping, int64 refused, uint32 refused_sender)
{
	int		   *sequence = window->sequence;
	int			best = -1;

	if (!has_untaken(window) || window->candidates[sequence[window->next]].sender != refused_sender)
		return;
	for (int i = window->next; i < window->ncandidates; i++)
	{
		const WindowEntry *candidate = &window->candidates[sequence[i]];

		if (candidate->failed || (mapping && candidate->mapping != mapping))
			continue;
		if (candidate->sender != refused_sender)
		{
			best = i;
			break;
		}
		if (best < 0 && candidate->id != refused)
			best = i;
	}
	if (best > window->next)
		bring_forward(window, best);
}

/* Have a message of a sender who is not blamed for the stop be the next one.  False if there is none. */
static bool
find_other(Window *window, const WindowTake *take)
{
	for (int i = window->next; i < window->ncandidates; i++)
		if (!gate_blames(take->gate, window->candidates[window->sequence[i]].sender))
		{
			bring_forward(window, i);
			return true;
		}
	gate_no_other(take->gate, take->now);
	return false;
}

/* Return the next candidate: if its mapping has stopped, the one to try that with. */
static WindowEntry *
next_candidate(Window *window, const WindowTake *take)
{
	const Mapping *mapping = window->candidates[window->sequence[window->next]].mapping;

	if (mapping->gate.state == ACCOUNT_STOPPED && gate_allowance(&mapping->gate, take->now) > 0 &&
		(mapping->transaction != take->transaction || mapping->taken == 0))
		prefer_another(window, mapping, mapping->gate.refused, mapping->refused_sender);
	return &window->candidates[window->sequence[window->next]];
}

/* Take candidates; none are fetched after that, as the taken ones would be found again. */
int
window_take(Window *window, const WindowTake *take, int wanted, int64 *ids)
{
	int			taken = 0;
	bool		for_others = gate_is_for_others(take->gate, take->now);

	if (wanted <= 0 || *take->room <= 0)
		return 0;
	if (!has_untaken(window) || window->stale_at <= take->now)
		fetch(window, take, wanted);
	if (for_others && !find_other(window, take))
		return 0;
	if (!for_others && account_has_stopped(take->gate->state))
		prefer_another(window, NULL, take->gate->refused, take->refused_sender);
	for (; taken < wanted && *take->room > 0 && has_untaken(window); window->next++)
	{
		WindowEntry *candidate = next_candidate(window, take);
		TimestampTz when = DT_NOEND;

		if (for_others && gate_blames(take->gate, candidate->sender))
			break;

		candidate->used = true;
		window->nfailed += candidate->failed;
		if (candidate->failed || is_shunned(candidate->id, take->now))
			continue;
		if (!mapping_admits(candidate->mapping, take->transaction, take->now, &when))
		{
			window->nbarred++;
			window->barred = true;
			window->barred_until = Min(window->barred_until, when);
			continue;
		}
		candidate->taken = true;
		ids[taken++] = candidate->id;
		*take->room -= candidate->size;
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
window_forbidden(Window *window)
{
	window->claimed++;
	window->forbidden++;
}

void
window_untake(Window *window)
{
	while (window->next > window->begun)
	{
		WindowEntry *candidate = &window->candidates[window->sequence[--window->next]];

		/* What was passed by stays so. */
		if (candidate->taken)
			candidate->used = candidate->failed;
		candidate->taken = false;
	}
	window->taken = window->claimed = window->forbidden = window->nbarred = window->nfailed = 0;
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
	if (window->spent > 0)
	{
		window->head_at = Max(window->head_at, now + SPENT_FACTOR * window->spent);
		window->begin_at = Max(window->begin_at, window->head_at);
	}
}

/* Move the places past the candidates that were taken or skipped. */
static void
move_places(Window *window)
{
	for (; window->passed < window->nqueue && window->candidates[window->passed].used; window->passed++)
	{
		const WindowEntry *passed = &window->candidates[window->passed];

		if (!window->detached)
			window->places[passed->priority] = (QueuePlace) {passed->due_at, passed->id};
	}
}

/* Its place is kept at once: other candidates may be fetched before a transaction succeeds. */
bool
window_pass_by(Window *window, int64 id, int64 spent)
{
	for (int i = window->next; i < window->ncandidates; i++)
	{
		WindowEntry *candidate = &window->candidates[window->sequence[i]];

		if (candidate->id != id)
			continue;
		candidate->used = candidate->failed = true;
		window->spent += spent;
		if (!window->detached)
			pass_by(window, 1, GetCurrentTimestamp());
		move_places(window);
		return true;
	}
	return false;
}

/* Move the places, and the head with them unless a message was passed by. */
static void
advance(Window *window, TimestampTz now)
{
	/* One that was to try a mapping was not claimed: no result will come of it. */
	if (window->barred && window->claimed - window->forbidden < window->taken)
		window_bar(window, now + 5 * HEAD_DELAY);
	if (!window->detached)
		pass_by(window, window->next - window->begun - window->claimed - window->nbarred - window->nfailed, now);
	move_places(window);
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
	window->next_due = Min(Min(window->next_due, window->later_due),
						   Min(window->head_at, window->barred_until));
	window->held_due = window->least == 0 ? DT_NOEND :
		outbox_next_due(account, 0, Min(window->least - 1, MAX_PRIORITY), window->places);
}

void
window_end(Window *window, const char *account, TimestampTz now)
{
	advance(window, now);
	if (!has_untaken(window) &&
		(window->candidates != NULL || window->taken > 0 || window->nbarred > 0))
		use_up(window, account);
}
