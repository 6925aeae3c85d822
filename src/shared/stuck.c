/*
 * stuck.c
 *		Results that have come and cannot be recorded, in shared memory.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/shmem.h"

#include "shared/stuck.h"

#define MAX_STUCK 64

typedef struct SharedStuck
{
	LWLock	   *lock;
	StuckResult results[MAX_STUCK];
} SharedStuck;

static SharedStuck *shared_stuck = NULL;

Size
stuck_size(void)
{
	return MAXALIGN(sizeof(SharedStuck));
}

void
stuck_startup(LWLock *lock)
{
	bool		found;

	shared_stuck = ShmemInitStruct("sms3300 results", stuck_size(), &found);
	if (!found)
	{
		memset(shared_stuck, 0, stuck_size());
		shared_stuck->lock = lock;
	}
}

/* Return the result of a message of this database, or NULL. */
static StuckResult *
find(int64 id)
{
	for (int i = 0; i < MAX_STUCK; i++)
		if (shared_stuck->results[i].database == MyDatabaseId && shared_stuck->results[i].id == id)
			return &shared_stuck->results[i];
	return NULL;
}

/* Return a free place, or the one of the oldest result. */
static StuckResult *
spare_place(void)
{
	StuckResult *spare = &shared_stuck->results[0];

	for (int i = 0; i < MAX_STUCK && OidIsValid(spare->database); i++)
	{
		StuckResult *result = &shared_stuck->results[i];

		if (!OidIsValid(result->database) || result->since < spare->since)
			spare = result;
	}
	return spare;
}

void
stuck_put(const StuckResult *result)
{
	StuckResult *place;
	TimestampTz since = result->since;

	LWLockAcquire(shared_stuck->lock, LW_EXCLUSIVE);
	place = find(result->id);
	if (place && place->started_at == result->started_at)
		since = place->since;
	else if (place == NULL)
		place = spare_place();
	*place = *result;
	place->database = MyDatabaseId;
	place->since = since;
	LWLockRelease(shared_stuck->lock);
}

void
stuck_remove(int64 id)
{
	StuckResult *place;

	LWLockAcquire(shared_stuck->lock, LW_EXCLUSIVE);
	place = find(id);
	if (place)
		place->database = InvalidOid;
	LWLockRelease(shared_stuck->lock);
}

void
stuck_remove_unless(bool (*keep) (int64 id))
{
	LWLockAcquire(shared_stuck->lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_STUCK; i++)
		if (shared_stuck->results[i].database == MyDatabaseId && !keep(shared_stuck->results[i].id))
			shared_stuck->results[i].database = InvalidOid;
	LWLockRelease(shared_stuck->lock);
}

bool
stuck_find(int64 id, TimestampTz started_at, StuckResult *result)
{
	StuckResult *place;
	bool		found;

	if (shared_stuck == NULL)
		return false;
	LWLockAcquire(shared_stuck->lock, LW_SHARED);
	place = find(id);
	found = place && place->started_at == started_at;
	if (found)
		*result = *place;
	LWLockRelease(shared_stuck->lock);
	return found;
}

int
stuck_first(StuckResult *result)
{
	int			n = 0;

	if (shared_stuck == NULL)
		return 0;
	LWLockAcquire(shared_stuck->lock, LW_SHARED);
	for (int i = 0; i < MAX_STUCK; i++)
	{
		const StuckResult *place = &shared_stuck->results[i];

		if (place->database != MyDatabaseId)
			continue;
		if (n++ == 0 || place->since < result->since)
			*result = *place;
	}
	LWLockRelease(shared_stuck->lock);
	return n;
}
