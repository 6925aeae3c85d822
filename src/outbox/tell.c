/*
 * tell.c
 *		Tell listeners what became of messages, by NOTIFY.
 *
 * A payload is a JSON array with an object for each message, and as few payloads as
 * possible are sent: PostgreSQL orders the commits of all transactions that notify.
 */
#include "postgres.h"

#include "commands/async.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "outbox/tell.h"
#include "shared/clock.h"

/* The longest payload that PostgreSQL takes, in bytes. */
#define MAX_PAYLOAD (BLCKSZ - NAMEDATALEN - 128 - 1)

/* Beyond this part of its room, the queue of notifications gets no more of ours. */
#define MAX_QUEUE_USAGE 0.9

/* While the queue is full, that is logged once in this time. */
#define FULL_INTERVAL USECS_PER_MINUTE

/* What a channel is told. */
typedef struct Channel
{
	const char *name;
	StringInfoData payload;		/* without the bracket at its end; never empty */
	List	   *full;			/* payloads that are complete */
} Channel;

/* The channels that this transaction notifies, in its memory. */
static List *channels = NIL;

/* Forget the channels together with the transaction's memory. */
static void
forget(void *arg)
{
	channels = NIL;
}

/* Return what a channel is told, beginning it if necessary. */
static Channel *
find_or_add_channel(const char *name)
{
	ListCell   *cell;
	Channel    *channel;

	foreach(cell, channels)
	{
		channel = lfirst(cell);
		if (strcmp(channel->name, name) == 0)
			return channel;
	}
	if (channels == NIL)
	{
		MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));

		callback->func = forget;
		MemoryContextRegisterResetCallback(TopTransactionContext, callback);
	}
	channel = palloc0(sizeof(Channel));
	channel->name = pstrdup(name);
	initStringInfo(&channel->payload);
	channels = lappend(channels, channel);
	return channel;
}

/* Append an object to what a channel is told. */
static void
append(Channel *channel, const char *object)
{
	StringInfo	payload = &channel->payload;

	if (payload->len + strlen(", ") + strlen(object) + strlen("]") > MAX_PAYLOAD)
	{
		appendStringInfoChar(payload, ']');
		channel->full = lappend(channel->full, payload->data);
		initStringInfo(payload);
	}
	appendStringInfo(payload, "%s%s", payload->len == 0 ? "[" : ", ", object);
}

/* Note what is known of a message, as a member of its object. */
static void
tell(const char *account_name, int64 id, const char *key, const char *value)
{
	const Account *account = account_find(account_name);
	MemoryContext caller;

	if (account == NULL || account->notify == NULL)
		return;
	caller = MemoryContextSwitchTo(TopTransactionContext);
	append(find_or_add_channel(account->notify),
		   psprintf("{\"id\": " INT64_FORMAT ", \"%s\": \"%s\"}", id, key, value));
	MemoryContextSwitchTo(caller);
}

void
tell_status(const char *account, int64 id, MessageStatus status)
{
	Assert(status != STATUS_QUEUED && status != STATUS_SENDING);
	tell(account, id, "status", status_label(status));
}

void
tell_delivery(const char *account, int64 id, const char *state)
{
	tell(account, id, "delivery", state);
}

/*
 * Return whether the queue of notifications has room.  It fills up where a listener stays
 * in a transaction, and then fails the commit of those that notify: a result must not be
 * lost over that.
 */
static bool
has_room(void)
{
	static int64 tell_at = 0;	/* by clock_us() */
	int64		now = clock_us();

	if (DatumGetFloat8(OidFunctionCall0(F_PG_NOTIFICATION_QUEUE_USAGE)) < MAX_QUEUE_USAGE)
		return true;
	if (now < tell_at)
		return false;
	tell_at = now + FULL_INTERVAL;
	ereport(LOG,
			(errmsg("sms3300: the queue of notifications is nearly full, so listeners are not told of results"),
			 errhint("End the session that listens and stays in a transaction; PostgreSQL's own warning names it.")));
	return false;
}

/* Send the payloads of a channel. */
static void
send_payloads(Channel *channel)
{
	ListCell   *cell;

	foreach(cell, channel->full)
		Async_Notify(channel->name, lfirst(cell));
	appendStringInfoChar(&channel->payload, ']');
	Async_Notify(channel->name, channel->payload.data);
}

void
tell_send(void)
{
	List	   *noted = channels;
	ListCell   *cell;

	/* An error must not leave them to what follows a savepoint. */
	channels = NIL;
	if (noted == NIL || !has_room())
		return;
	foreach(cell, noted)
		send_payloads(lfirst(cell));
}
