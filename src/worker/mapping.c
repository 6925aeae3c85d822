/*
 * mapping.c
 *		The user mappings of an account, as the worker knows them.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "account/account.h"
#include "account/credentials.h"
#include "shared/mappings.h"
#include "worker/mapping.h"

/* A role can make and drop a mapping of its own again and again.  See also queue.c. */
#define REOPEN_PAUSE (10 * USECS_PER_SEC)

/* The mapping that is used for a sender. */
typedef struct SenderKey
{
	Mappings   *mappings;		/* the account's */
	NameData	sender;
} SenderKey;

typedef struct SenderEntry
{
	SenderKey	key;			/* first */
	Mapping    *mapping;
} SenderEntry;

/* Those of all accounts, since a table for each would take 16 kB; NULL: none is known. */
static HTAB *senders = NULL;

void
mappings_init(Mappings *mappings)
{
	dlist_init(&mappings->list);
	dlist_init(&mappings->active);
	mappings->serverid = InvalidOid;
}

/* Forget which mapping is used for whom, in every account: what changes one may change all. */
static void
forget_senders(void)
{
	if (senders)
		hash_destroy(senders);
	senders = NULL;
}

/* Open a mapping.  Returns whether there is one, and it had stopped. */
static bool
open_mapping(Mappings *mappings, Mapping *mapping)
{
	mapping_changed(mappings, mapping, 0);
	return gate_set(&mapping->gate, ACCOUNT_OPEN) && mapping->version != 0;
}

/* Open a mapping that was altered, but not more often than at a pace; else it is tried then. */
static void
follow(Mappings *mappings, Mapping *mapping, TimestampTz now, bool *opened)
{
	if (mapping->reopen_at > now && mapping->reopen_at <= now + REOPEN_PAUSE)
	{
		if (mapping->gate.state == ACCOUNT_STOPPED)
			mapping->gate.probe_at = Min(mapping->gate.probe_at, mapping->reopen_at);
		return;
	}
	mapping->reopen_at = now + REOPEN_PAUSE;
	*opened |= open_mapping(mappings, mapping);
}

bool
mappings_refresh(Mappings *mappings, Oid serverid, TimestampTz now)
{
	dlist_iter	iter;
	bool		opened = false;

	forget_senders();
	mappings->serverid = serverid;
	dlist_foreach(iter, &mappings->list)
	{
		Mapping    *mapping = dlist_container(Mapping, node, iter.cur);
		uint64		version = account_mapping_version(serverid, mapping->user);

		if (version != mapping->version)
			follow(mappings, mapping, now, &opened);
		mapping->version = version;
	}
	return opened;
}

bool
mappings_open(Mappings *mappings)
{
	dlist_iter	iter;
	bool		opened = false;

	dlist_foreach(iter, &mappings->list)
		opened |= open_mapping(mappings, dlist_container(Mapping, node, iter.cur));
	return opened;
}

/* Return the mapping of a user, creating it if necessary. */
static Mapping *
find_or_add(Mappings *mappings, Oid user)
{
	const char *name = OidIsValid(user) ? GetUserNameFromId(user, true) : NULL;
	dlist_iter	iter;
	Mapping    *mapping;

	dlist_foreach(iter, &mappings->list)
	{
		mapping = dlist_container(Mapping, node, iter.cur);
		if (mapping->user == user)
			return mapping;
	}
	mapping = MemoryContextAllocZero(TopMemoryContext, sizeof(Mapping));
	mapping->user = user;
	namestrcpy(&mapping->name, name ? name : "");
	mapping->version = account_mapping_version(mappings->serverid, user);
	dlist_push_tail(&mappings->list, &mapping->node);
	return mapping;
}

/* Look up the mapping that is used for a sender. */
static Mapping *
look_up_mapping(Mappings *mappings, const char *sender)
{
	Oid			user = get_role_oid(sender, true);

	credentials_role(mappings->serverid, &user);
	return find_or_add(mappings, user);
}

Mapping *
mapping_of(Mappings *mappings, const char *sender)
{
	SenderKey	key = {.mappings = mappings};
	SenderEntry *entry;
	Mapping    *mapping;

	if (senders == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(SenderKey), .entrysize = sizeof(SenderEntry)};

		senders = hash_create("sms3300 senders", 64, &control, HASH_ELEM | HASH_BLOBS);
	}
	namestrcpy(&key.sender, sender);
	entry = hash_search(senders, &key, HASH_FIND, NULL);
	if (entry)
		return entry->mapping;
	mapping = look_up_mapping(mappings, sender);
	entry = hash_search(senders, &key, HASH_ENTER, NULL);
	entry->mapping = mapping;
	return mapping;
}

void
mapping_changed(Mappings *mappings, Mapping *mapping, int in_flight)
{
	mapping->in_flight += in_flight;
	if (!mapping->active)
		dlist_push_tail(&mappings->active, &mapping->active_node);
	mapping->active = true;
}

bool
mapping_admits(Mapping *mapping, uint32 transaction, TimestampTz now, TimestampTz *when)
{
	if (mapping->gate.state == ACCOUNT_OPEN)
		return true;
	if (mapping->transaction != transaction)
		mapping->taken = 0;
	mapping->transaction = transaction;
	if (mapping->taken < gate_allowance(&mapping->gate, now))
	{
		mapping->taken++;
		return true;
	}

	/* One that is taken tells by its result when the others may go. */
	if (mapping->taken == 0)
		*when = Min(*when, gate_next(&mapping->gate));
	return false;
}

Mapping *
mappings_next_probe(Mappings *mappings)
{
	dlist_iter	iter;
	Mapping    *first = NULL;

	dlist_foreach(iter, &mappings->active)
	{
		Mapping    *mapping = dlist_container(Mapping, active_node, iter.cur);

		if (mapping->version != 0 && account_has_stopped(mapping->gate.state) &&
			(first == NULL || mapping->gate.probe_at < first->gate.probe_at))
			first = mapping;
	}
	return first;
}

int
mappings_probing(Mappings *mappings)
{
	dlist_iter	iter;
	int			n = 0;

	dlist_foreach(iter, &mappings->active)
	{
		Mapping    *mapping = dlist_container(Mapping, active_node, iter.cur);

		if (account_has_stopped(mapping->gate.state))
			n += mapping->in_flight;
	}
	return n;
}

/* What is open and has nothing on the wire is active no longer. */
void
mappings_publish(Mappings *mappings, bool *begun)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &mappings->active)
	{
		Mapping    *mapping = dlist_container(Mapping, active_node, iter.cur);
		LiveState	now = gate_live(&mapping->gate, mapping->in_flight);

		if (!gate_live_equal(&now, &mapping->published))
		{
			if (!*begun)
				counters_begin();
			*begun = true;
			mappings_set(mappings->serverid, mapping->user, &now, mapping->gate.reason);
			mapping->published = now;
		}
		if (now.in_flight == 0 && now.state == ACCOUNT_OPEN)
		{
			dlist_delete(&mapping->active_node);
			mapping->active = false;
		}
	}
}

void
mappings_set_back(Mappings *mappings, TimestampTz now)
{
	dlist_iter	iter;

	dlist_foreach(iter, &mappings->list)
		gate_set_back(&dlist_container(Mapping, node, iter.cur)->gate, now);
}

void
mappings_free(Mappings *mappings)
{
	dlist_mutable_iter iter;

	forget_senders();
	dlist_foreach_modify(iter, &mappings->list)
		pfree(dlist_container(Mapping, node, iter.cur));
	dlist_init(&mappings->list);
}
