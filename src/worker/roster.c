/*
 * roster.c
 *		The queues of all accounts: those that are awake, and those that sleep.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "shared/registry.h"
#include "worker/reopen.h"
#include "worker/roster.h"

static dlist_head awake = DLIST_STATIC_INIT(awake);
static dlist_head asleep = DLIST_STATIC_INIT(asleep);

/* No queue that sleeps is to wake before. */
static TimestampTz first_wake = DT_NOEND;

/* All queues by name. */
typedef struct QueueEntry
{
	NameData	name;			/* first: the key */
	AccountQueue *queue;
} QueueEntry;

static HTAB *by_name = NULL;

/* Those whose account exists, by its server. */
typedef struct ServerEntry
{
	Oid			server;			/* first: the key */
	AccountQueue *queue;
} ServerEntry;

static HTAB *by_server = NULL;

/* Create the hash tables. */
static void
create_tables(void)
{
	HASHCTL		names = {.keysize = NAMEDATALEN, .entrysize = sizeof(QueueEntry)};
	HASHCTL		servers = {.keysize = sizeof(Oid), .entrysize = sizeof(ServerEntry)};

	by_server = hash_create("sms3300 servers", 64, &servers, HASH_ELEM | HASH_BLOBS);
	by_name = hash_create("sms3300 queues", 64, &names, HASH_ELEM | HASH_BLOBS);
}

/* Wake a queue.  What it knows of a transaction is of an earlier one. */
static void
wake(AccountQueue *queue)
{
	if (!queue->sleeps)
		return;
	dlist_delete(&queue->node);
	dlist_push_tail(&awake, &queue->node);
	queue->sleeps = false;
	window_begin(&queue->window, false);
}

/* Create the queue of an account. */
static AccountQueue *
create(const char *name)
{
	AccountQueue *queue = MemoryContextAllocZero(TopMemoryContext, sizeof(AccountQueue));

	strlcpy(queue->name, name, NAMEDATALEN);
	window_init(&queue->window);
	mappings_init(&queue->mappings);
	queue->retention.tidy_at = DT_NOEND;
	reopen_init(queue);
	pace_hold(&queue->pace, registry_started_at());
	dlist_push_tail(&awake, &queue->node);
	return queue;
}

AccountQueue *
queue_find_or_add(const char *name)
{
	NameData	key;
	QueueEntry *entry;
	AccountQueue *queue;

	if (by_name == NULL)
		create_tables();
	namestrcpy(&key, name);
	entry = hash_search(by_name, &key, HASH_FIND, NULL);
	if (entry)
	{
		wake(entry->queue);
		return entry->queue;
	}
	queue = create(name);
	entry = hash_search(by_name, &key, HASH_ENTER, NULL);
	entry->queue = queue;
	return queue;
}

dlist_head *
roster_awake(void)
{
	return &awake;
}

/* Wake the queues that sleep until a time or less; return when the next one is to wake. */
static TimestampTz
wake_until(TimestampTz now)
{
	dlist_mutable_iter iter;
	TimestampTz next = DT_NOEND;

	dlist_foreach_modify(iter, &asleep)
	{
		AccountQueue *queue = dlist_container(AccountQueue, node, iter.cur);

		if (queue->wake_at <= now)
			wake(queue);
		else
			next = Min(next, queue->wake_at);
	}
	return next;
}

void
roster_wake_all(void)
{
	first_wake = wake_until(DT_NOEND);
}

AccountQueue *
roster_wake(Oid server)
{
	ServerEntry *entry = by_server ? hash_search(by_server, &server, HASH_FIND, NULL) : NULL;

	if (entry == NULL)
		return NULL;
	wake(entry->queue);
	return entry->queue;
}

TimestampTz
roster_wake_due(TimestampTz now)
{
	if (first_wake <= now)
		first_wake = wake_until(now);
	return first_wake;
}

void
roster_sleep(AccountQueue *queue, TimestampTz until)
{
	Assert(!queue->sleeps && queue->nholds == 0);
	dlist_delete(&queue->node);
	dlist_push_tail(&asleep, &queue->node);
	queue->sleeps = true;
	queue->wake_at = until;
	first_wake = Min(first_wake, until);
}

/* Forget which queue is that of a server. */
static void
forget_server(const AccountQueue *queue)
{
	ServerEntry *entry = hash_search(by_server, &queue->serverid, HASH_FIND, NULL);

	if (entry && entry->queue == queue)
		hash_search(by_server, &queue->serverid, HASH_REMOVE, NULL);
}

void
roster_note_server(AccountQueue *queue, Oid server)
{
	ServerEntry *entry;

	if (queue->serverid != server)
		forget_server(queue);
	queue->serverid = server;
	entry = hash_search(by_server, &server, HASH_ENTER, NULL);
	entry->queue = queue;
}

void
roster_remove(AccountQueue *queue)
{
	Assert(!queue->sleeps);
	forget_server(queue);
	hash_search(by_name, queue->name, HASH_REMOVE, NULL);
	dlist_delete(&queue->node);
}
