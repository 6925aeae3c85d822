/*
 * mappings.c
 *		Current state of user mappings, in shared memory.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "shared/mappings.h"

#define MAX_MAPPINGS 512

static MappingState *slots = NULL;

Size
mappings_size(void)
{
	return MAXALIGN(MAX_MAPPINGS * sizeof(MappingState));
}

void
mappings_startup(void)
{
	bool		found;

	slots = ShmemInitStruct("sms3300 mappings", mappings_size(), &found);
	if (!found)
		memset(slots, 0, mappings_size());
}

/* Tell whether a slot is that of a mapping. */
static bool
is_of(const MappingState *slot, Oid server, Oid user)
{
	return slot->database == MyDatabaseId && slot->server == server && slot->user == user;
}

/*
 * Return the slot of a mapping, or with "take" a free one if it has none; or NULL.  That of
 * the mapping that was looked for last is tried first.
 */
static MappingState *
find(Oid server, Oid user, bool take)
{
	static int	last = 0;
	MappingState *free = NULL;

	if (is_of(&slots[last], server, user))
		return &slots[last];
	for (int i = 0; i < MAX_MAPPINGS; i++)
	{
		MappingState *slot = &slots[i];

		if (is_of(slot, server, user))
		{
			last = i;
			return slot;
		}
		if (free == NULL && !OidIsValid(slot->database))
			free = slot;
	}
	return take ? free : NULL;
}

void
mappings_set(Oid server, Oid user, const LiveState *live, const char *reason)
{
	bool		kept = live->in_flight > 0 || live->state != ACCOUNT_OPEN;
	MappingState *slot = find(server, user, kept);

	if (slot == NULL)
		return;
	if (account_has_stopped(live->state) &&
		!(OidIsValid(slot->database) && account_has_stopped(slot->live.state)))
		slot->stopped_at = GetCurrentTimestamp();
	slot->database = kept ? MyDatabaseId : InvalidOid;
	slot->server = server;
	slot->user = user;
	slot->live = *live;
	strlcpy(slot->reason, reason, COUNTERS_REASON_SIZE);
}

void
mappings_forget(void)
{
	for (int i = 0; i < MAX_MAPPINGS; i++)
		if (slots[i].database == MyDatabaseId)
			slots[i].database = InvalidOid;
}

bool
mappings_read(Oid server, Oid user, MappingState *copy)
{
	MappingState *slot;

	counters_lock_shared();
	slot = find(server, user, false);
	if (slot)
		*copy = *slot;
	counters_end();
	return slot != NULL;
}

int
mappings_stopped(Oid server, MappingState *first)
{
	int			n = 0;

	counters_lock_shared();
	for (int i = 0; i < MAX_MAPPINGS; i++)
	{
		const MappingState *slot = &slots[i];

		if (!is_of(slot, server, slot->user) || !account_has_stopped(slot->live.state))
			continue;
		if (n++ == 0 || slot->live.probe_at < first->live.probe_at)
			*first = *slot;
	}
	counters_end();
	return n;
}
