/*
 * shunned.c
 *		Messages that are skipped for a while.
 *
 * They cannot be claimed or expired because a trigger or a constraint fails for
 * them.  Each waits for its own time only.  Beyond as many as are remembered, they are
 * passed by, too, and tried again when the queue is read from its head, at a pace.
 */
#include "postgres.h"

#include "utils/hsearch.h"

#include "worker/pace.h"
#include "worker/shunned.h"

/* The first time that a message is skipped for; it doubles. */
#define FIRST_SHUN_TIME USECS_PER_SEC

/* The longest time, and more: see pace_backoff(). */
#define MAX_SHUN_TIME (10 * USECS_PER_MINUTE)

/* An entry is kept for this long after its time, to know how often its message has failed. */
#define KEEP_TIME (10 * USECS_PER_MINUTE)

/* So many are remembered; few where assertions are on, so that tests have more. */
#ifdef USE_ASSERT_CHECKING
#define MAX_SHUNNED 1000
#else
#define MAX_SHUNNED 100000
#endif

typedef struct Shunned
{
	int64		id;				/* first: the key */
	TimestampTz until;
	int			times;
} Shunned;

static HTAB *shunned = NULL;

/* Remove the entries that are no longer needed. */
static void
clean_up(TimestampTz now)
{
	HASH_SEQ_STATUS scan;
	Shunned    *entry;

	hash_seq_init(&scan, shunned);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (entry->until + KEEP_TIME <= now)
			hash_search(shunned, &entry->id, HASH_REMOVE, NULL);
}

/* Return whether there is room for another entry. */
static bool
has_room(TimestampTz now)
{
	static TimestampTz cleaned_at = 0;

	if (hash_get_num_entries(shunned) < MAX_SHUNNED)
		return true;
	if (cleaned_at + USECS_PER_MINUTE > now && cleaned_at <= now)
		return false;
	cleaned_at = now;
	clean_up(now);
	return hash_get_num_entries(shunned) < MAX_SHUNNED;
}

bool
shun(int64 id, TimestampTz now)
{
	Shunned    *entry;
	bool		found;

	if (shunned == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(int64), .entrysize = sizeof(Shunned)};

		shunned = hash_create("sms3300 shunned", 64, &control, HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(shunned, &id, HASH_FIND, NULL);
	if (entry == NULL && !has_room(now))
		return false;
	entry = hash_search(shunned, &id, HASH_ENTER, &found);
	if (!found)
		entry->times = 0;
	entry->times++;
	entry->until = now + pace_backoff(FIRST_SHUN_TIME, entry->times);
	return true;
}

bool
is_shunned(int64 id, TimestampTz now)
{
	const Shunned *entry = shunned ? hash_search(shunned, &id, HASH_FIND, NULL) : NULL;

	/* A time that is further ahead than it can be was told by another clock. */
	return entry && entry->until > now && entry->until - now <= MAX_SHUN_TIME;
}
