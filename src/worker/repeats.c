/*
 * repeats.c
 *		What lasts is logged once, then at most once a minute.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/timestamp.h"

#include "shared/clock.h"
#include "worker/repeats.h"

#define INTERVAL USECS_PER_MINUTE

/* Kinds that are remembered; the one that has been silent for longest is replaced. */
#define MAX_KINDS 64

typedef struct Kind
{
	uint64		what;			/* hashed */
	int64		begun_at;		/* when the first of this minute was logged, by clock_us(); 0: free */
	int64		last_at;
	int			times;			/* logged in this minute */
} Kind;

static Kind kinds[MAX_KINDS];

/* Return the entry of a kind, taking one if necessary. */
static Kind *
find_or_take(uint64 what)
{
	Kind	   *oldest = &kinds[0];

	for (int i = 0; i < MAX_KINDS; i++)
	{
		if (kinds[i].begun_at != 0 && kinds[i].what == what)
			return &kinds[i];
		if (kinds[i].last_at < oldest->last_at)
			oldest = &kinds[i];
	}
	*oldest = (Kind) {.what = what};
	return oldest;
}

bool
repeats_log(const char *what, int few)
{
	int64		now = clock_us();
	Kind	   *kind = find_or_take(hash_bytes_extended((const unsigned char *) what,
														 (int) strlen(what), 0));

	kind->last_at = now;
	if (kind->begun_at == 0 || kind->begun_at + INTERVAL <= now)
	{
		/* What has lasted for a minute is no longer news. */
		bool		lasts = kind->begun_at != 0 && kind->begun_at + 2 * INTERVAL > now;

		kind->begun_at = now;
		kind->times = lasts ? few : 1;
		return true;
	}
	if (kind->times >= few)
		return false;
	kind->times++;
	return true;
}
