/*
 * recent.c
 *		How many messages a number got, or may have got, lately: max_per_mobile.
 *
 * A worker keeps the last messages of all accounts in one ring, in the order of their
 * requests, with a hash table of chains through it, the newest first.  Nothing is removed
 * when it is too old: the end of a chain is where it leaves the ring or the time that
 * counts.  The ring has a largest size.  What it no longer has of an account, and still
 * counts, is looked up in the table.  A session asks the table for one number; if a
 * statement asks for more, it keeps such a ring for itself.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "account/input.h"
#include "outbox/access.h"
#include "outbox/owner.h"
#include "outbox/recent.h"

/*
 * The ring begins with the first size and doubles up to the last one, 7 MB; that is small
 * where assertions are on, so that tests have more messages.
 */
#ifdef USE_ASSERT_CHECKING
#define FIRST_SIZE 64
#define LAST_SIZE 128
#else
#define FIRST_SIZE 1024
#define LAST_SIZE (256 * 1024)
#endif

/* Rows that are read from the table at once. */
#define PAGE 1000

typedef struct RecentMessage
{
	TimestampTz at;				/* DT_NOBEGIN: it was not sent */
	Oid			serverid;		/* of its account */
	uint32		mobile;			/* its last nine digits */
	uint32		older;			/* number of the one before it in the chain */
	bool		on_wire;		/* its row may not say yet that it was sent */
} RecentMessage;

/* All that is kept; size 0: nothing yet */
static struct
{
	uint32		size;			/* of the ring and of the hash table, a power of two */
	uint32		next;			/* number of the next message; they count from 1 */
	RecentMessage *messages;	/* at the remainder of their number */
	uint32	   *newest;			/* of each chain; 0: none */
}			ring;

/* What is kept of an account. */
typedef struct RecentAccount
{
	Oid			serverid;		/* first: the key */
	int64		time;			/* as far back as its messages count */
	TimestampTz complete;		/* all of its messages after this are in the ring */
	bool		told;			/* that the table is asked */
} RecentAccount;

static HTAB *accounts = NULL;
static MemoryContext context = NULL;	/* of all this */
static bool keeping = false;	/* beyond the statement: this is a worker */

void
recent_keep(void)
{
	keeping = true;
}

/* The memory of all this is being freed. */
static void
forget_memory(void *arg)
{
	memset(&ring, 0, sizeof(ring));
	accounts = NULL;
	context = NULL;
}

/* Begin to keep messages. */
static void
open_memory(void)
{
	HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(RecentAccount)};
	MemoryContextCallback *callback;

	if (context)
		return;
	context = AllocSetContextCreate(keeping ? TopMemoryContext : TopTransactionContext,
									"sms3300 recent messages", ALLOCSET_SMALL_SIZES);
	callback = MemoryContextAllocZero(context, sizeof(MemoryContextCallback));
	callback->func = forget_memory;
	MemoryContextRegisterResetCallback(context, callback);
	control.hcxt = context;
	accounts = hash_create("sms3300 recent messages", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

void
recent_forget(void)
{
	if (context)
		MemoryContextDelete(context);
}

/* Find what is kept of an account; NULL: nothing. */
static RecentAccount *
find(Oid serverid)
{
	return accounts ? hash_search(accounts, &serverid, HASH_FIND, NULL) : NULL;
}

/* -------------------------------------------------------------------------
 * In memory
 * ------------------------------------------------------------------------- */

/* Return a canonical mobile number as a number. */
static uint32
number_of(const char *mobile)
{
	return strlen(mobile) == MOBILE_SIZE - 1 ? (uint32) strtoul(mobile + 3, NULL, 10) : 0;
}

/* Return whether a message is still in the ring. */
static bool
is_kept(uint32 number)
{
	return number != 0 && ring.next - number <= ring.size;
}

/* Return the message of a number. */
static RecentMessage *
message_at(uint32 number)
{
	return &ring.messages[number & (ring.size - 1)];
}

/* Return the chain of a mobile number of an account. */
static uint32 *
chain_of(Oid serverid, uint32 mobile)
{
	uint64		key = (uint64) serverid << 32 | mobile;

	return &ring.newest[(key * UINT64CONST(0x9E3779B97F4A7C15) >> 32) & (ring.size - 1)];
}

/* Append a message. */
static void
append(RecentMessage message)
{
	uint32	   *newest = chain_of(message.serverid, message.mobile);
	uint32		number = ring.next++;

	message.older = *newest;
	*message_at(number) = message;
	*newest = number;
}

/* Make the ring larger. */
static void
enlarge(void)
{
	uint32		former_size = ring.size;
	uint32		former_next = ring.next;
	RecentMessage *former = ring.messages;
	uint32		size = former_size == 0 ? FIRST_SIZE : 2 * former_size;
	RecentMessage *messages = MemoryContextAlloc(context, sizeof(RecentMessage) * size);
	uint32	   *newest = MemoryContextAllocZero(context, sizeof(uint32) * size);

	if (former)
		pfree(ring.newest);
	ring.messages = messages;
	ring.newest = newest;
	ring.size = size;
	ring.next = 1;
	if (former == NULL)
		return;
	for (uint32 number = former_next - Min(former_next - 1, former_size); number != former_next; number++)
		append(former[number & (former_size - 1)]);
	pfree(former);
}

/* Return whether a message may still count. */
static bool
counts(const RecentMessage *message, TimestampTz now)
{
	const RecentAccount *account = find(message->serverid);

	return account && message->at != DT_NOBEGIN && message->at > now - account->time;
}

/*
 * Add a message.  If the oldest one still counts, the ring grows; if it cannot, that one
 * is left to the table, or kept if its row does not say yet that it was sent.  If that is
 * so of all, it grows further: they are not more than are on the wire.
 */
static void
add(Oid serverid, uint32 mobile, TimestampTz at, bool on_wire)
{
	RecentMessage new = {.at = at, .serverid = serverid, .mobile = mobile, .on_wire = on_wire};

	if (ring.size == 0)
		enlarge();
	for (uint32 n = 0; ring.next > ring.size; n++)
	{
		RecentMessage oldest = *message_at(ring.next);

		if (!counts(&oldest, at))
			break;
		if (ring.size < LAST_SIZE || n == ring.size)
		{
			enlarge();
			break;
		}
		if (!oldest.on_wire)
		{
			RecentAccount *account = find(oldest.serverid);

			account->complete = Max(account->complete, oldest.at);
			break;
		}
		append(oldest);
	}
	append(new);
}

/* -------------------------------------------------------------------------
 * From the table
 * ------------------------------------------------------------------------- */

/* When the message at a place among the last ones of an account was finished. */
static Statement finished_after_statement = {
	.sql = "SELECT o.finished_at FROM ONLY %s AS o WHERE o.account = $1"
	" AND (o.message IS NULL)::integer = $2 AND o.finished_at > $3"
	" ORDER BY o.finished_at DESC OFFSET $4 LIMIT 1",
	.nargs = 4, .argtypes = {NAMEOID, INT4OID, TIMESTAMPTZOID, INT8OID}, .reads = true
};

/* The messages of a page are in the order of finished_at, which is close to that of started_at. */
static Statement finished_statement = {
	.sql = "SELECT o.mobile, o.started_at, o.status IN ('sent', 'unknown') AND o.started_at > $3"
	"  AND o.started_at <= $4, o.finished_at, o.id"
	" FROM ONLY %s AS o WHERE o.account = $1 AND (o.message IS NULL)::integer = $2"
	" AND o.finished_at >= $5 AND (o.finished_at, o.id) > ($5, $6)"
	" ORDER BY o.finished_at, o.id LIMIT $7",
	.nargs = 7, .argtypes = {NAMEOID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
		INT8OID, INT8OID}, .reads = true
};

static Statement sending_statement = {
	.sql = "SELECT o.mobile, o.started_at FROM ONLY %s AS o"
	" WHERE o.origin = $1 AND o.account = $2 AND o.due_at IS NOT NULL"
	" AND o.status = 'sending' AND o.started_at > $3 AND o.started_at <= $4",
	.nargs = 4, .argtypes = {INT8OID, NAMEOID, TIMESTAMPTZOID, TIMESTAMPTZOID}, .reads = true
};

/* How many messages a number may have got; those that are being sent, if that is asked for. */
static Statement count_statement = {
	.sql = "SELECT (SELECT pg_catalog.count(*) FROM ONLY %1$s AS o WHERE o.account = $2"
	"  AND (o.message IS NULL)::integer = ANY ('{0,1}') AND o.mobile = $3 AND o.finished_at > $4"
	"  AND o.status IN ('sent', 'unknown') AND o.started_at > $4 AND o.started_at <= $5)"
	" + (SELECT pg_catalog.count(*) FROM ONLY %1$s AS o WHERE $6 AND o.origin = $1 AND o.account = $2"
	"  AND o.due_at IS NOT NULL AND o.mobile = $3"
	"  AND o.status = 'sending' AND o.started_at > $4 AND o.started_at <= $5)",
	.nargs = 6, .argtypes = {INT8OID, NAMEOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, BOOLOID},
	.reads = true
};

/* An index helps if its first column is the number. */
static Statement indexed_statement = {
	.sql = "SELECT 1 FROM pg_catalog.pg_index AS i"
	" WHERE i.indrelid = $1 AND i.indisvalid AND i.indkey[0] = $2",
	.nargs = 2, .argtypes = {OIDOID, INT2OID}, .reads = true
};

/*
 * Return after which time the finished messages of an account fit into half of the ring: those
 * whose text was removed, or the others.
 */
static TimestampTz
fitting(Oid schema, Name account, bool redacted, TimestampTz since)
{
	Datum		values[] = {
		NameGetDatum(account), Int32GetDatum(redacted), TimestampTzGetDatum(since),
		Int64GetDatum(LAST_SIZE / 2)
	};
	TimestampTz result = since;

	SPI_connect();
	statement_run(schema, &finished_after_statement, values, NULL);
	if (SPI_processed > 0)
		result = statement_int64(0, 1);
	SPI_finish();
	return result;
}

/* Add the message of a row. */
static void
add_row(Oid serverid, uint64 row)
{
	char	   *mobile = statement_name(row, 1);

	add(serverid, number_of(mobile), statement_int64(row, 2), false);
	pfree(mobile);
}

/* Read the finished messages, those whose text was removed or the others, page by page. */
static void
read_finished(Oid schema, Oid serverid, Name account, bool redacted, TimestampTz since, TimestampTz now)
{
	TimestampTz at = since;
	int64		id = 0;
	uint64		n;

	do
	{
		Datum		values[] = {
			NameGetDatum(account), Int32GetDatum(redacted), TimestampTzGetDatum(since),
			TimestampTzGetDatum(now), TimestampTzGetDatum(at), Int64GetDatum(id), Int64GetDatum(PAGE)
		};

		SPI_connect();
		statement_run(schema, &finished_statement, values, NULL);
		n = SPI_processed;
		for (uint64 i = 0; i < n; i++)
		{
			bool		isnull;

			if (DatumGetBool(statement_value(i, 3, &isnull)) && !isnull)
				add_row(serverid, i);
			at = statement_int64(i, 4);
			id = statement_int64(i, 5);
		}
		SPI_finish();
	} while (n == PAGE);
}

/* Read what is being sent. */
static void
read_sending(Oid schema, Oid serverid, Name account, TimestampTz since, TimestampTz now)
{
	Datum		values[] = {
		Int64GetDatum(outbox_origin()), NameGetDatum(account), TimestampTzGetDatum(since),
		TimestampTzGetDatum(now)
	};

	SPI_connect();
	statement_run(schema, &sending_statement, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
		add_row(serverid, i);
	SPI_finish();
}

/* Become the table's owner, who reads by its indexes whatever the settings. */
static void
become_index_reader(Oid schema, Caller *caller)
{
	become_owner(schema, caller);
	set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	set_config_option("enable_bitmapscan", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/* Read the messages of an account that fit into the ring. */
static void
read_messages(RecentAccount *kept, Oid schema, const char *name, TimestampTz now)
{
	TimestampTz since = now - kept->time;
	NameData	account;
	Caller		caller;

	namestrcpy(&account, name);
	become_index_reader(schema, &caller);
	kept->complete = Max(fitting(schema, &account, false, since), fitting(schema, &account, true, since));
	read_finished(schema, kept->serverid, &account, false, kept->complete, now);
	read_finished(schema, kept->serverid, &account, true, kept->complete, now);
	read_sending(schema, kept->serverid, &account, since, now);
	become_caller(&caller);
}

/* Ask the table how many messages a number may have got after a time, up to another. */
static int
ask_table(Oid schema, const Account *account, const char *mobile, TimestampTz after, TimestampTz until,
		  bool sending)
{
	NameData	name = {""};
	Datum		values[] = {
		Int64GetDatum(outbox_origin()), NameGetDatum(&name), CStringGetTextDatum(mobile),
		TimestampTzGetDatum(after), TimestampTzGetDatum(until), BoolGetDatum(sending)
	};
	Caller		caller;
	int			n;

	namestrcpy(&name, account->name);
	become_index_reader(schema, &caller);
	SPI_connect();
	statement_run(schema, &count_statement, values, NULL);
	n = (int) statement_int64(0, 1);
	SPI_finish();
	become_caller(&caller);
	return n;
}

/* Log once that the table is asked about each number without an index for it. */
static void
tell_unindexed(RecentAccount *kept, Oid schema, const Account *account)
{
	Datum		values[] = {
		ObjectIdGetDatum(get_relname_relid(OUTBOX_TABLE, schema)), Int16GetDatum(OUTBOX_MOBILE)
	};
	bool		indexed;

	if (kept->told || !keeping)
		return;
	kept->told = true;
	SPI_connect();
	statement_run(schema, &indexed_statement, values, NULL);
	indexed = SPI_processed > 0;
	SPI_finish();
	if (!indexed)
		ereport(LOG,
				(errmsg("sms3300: account \"%s\" sends more messages within the time of max_per_mobile than are kept in memory",
						account->name),
				 errdetail("The table is read for each further message, which is slow without an index on the recipient."),
				 errhint("CREATE INDEX ON %s (mobile, finished_at)",
						 quote_qualified_identifier(get_namespace_name(schema), OUTBOX_TABLE))));
}

/* -------------------------------------------------------------------------
 * By account
 * ------------------------------------------------------------------------- */

/* Return whether a session's statement asks for the first time; nothing outlives the last one. */
static bool
asks_first(void)
{
	static TimestampTz statement = 0;
	bool		first = statement != GetCurrentStatementStartTimestamp();

	if (first)
		recent_forget();
	statement = GetCurrentStatementStartTimestamp();
	return first;
}

/* Forget the messages of an account. */
static void
forget_account(Oid serverid)
{
	hash_search(accounts, &serverid, HASH_REMOVE, NULL);
	if (ring.size == 0)
		return;
	for (uint32 number = ring.next - Min(ring.next - 1, ring.size); number != ring.next; number++)
		if (message_at(number)->serverid == serverid)
			message_at(number)->at = DT_NOBEGIN;
}

void
recent_prepare(Oid schema, const Account *account, TimestampTz now)
{
	RecentAccount *kept;
	RecentAccount read = {.serverid = account->serverid, .time = account->max_per_mobile.time};

	if (account->max_per_mobile.n == 0)
		return;
	open_memory();
	kept = find(account->serverid);
	if (kept && kept->time >= account->max_per_mobile.time)
		return;
	forget_account(account->serverid);
	kept = hash_search(accounts, &account->serverid, HASH_ENTER, NULL);
	*kept = read;
	kept->complete = DT_NOEND;	/* until everything has been read */
	PG_TRY();
	{
		read_messages(kept, schema, account->name, now);
	}
	PG_CATCH();
	{
		forget_account(account->serverid);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* Count the messages of a number in the ring, at a time or on the wire. */
static int
count_kept(Oid serverid, uint32 mobile, TimestampTz after, TimestampTz until, bool on_wire)
{
	int			n = 0;

	if (ring.size == 0)
		return 0;
	for (uint32 number = *chain_of(serverid, mobile); is_kept(number);)
	{
		const RecentMessage *message = message_at(number);

		if (message->serverid == serverid && message->mobile == mobile &&
			message->at > after && message->at <= until && (message->on_wire || !on_wire))
			n++;
		number = message->older;
	}
	return n;
}

int
recent_count(Oid schema, const Account *account, const char *mobile, TimestampTz now)
{
	TimestampTz since = now - account->max_per_mobile.time;
	TimestampTz complete;
	RecentAccount *kept;
	uint32		number;
	int			n;

	if (account->max_per_mobile.n == 0 || mobile == NULL)
		return 0;
	if (!keeping && asks_first())
		return ask_table(schema, account, mobile, since, now, true);
	recent_prepare(schema, account, now);
	kept = find(account->serverid);
	number = number_of(mobile);
	n = count_kept(account->serverid, number, since, now, false);
	if (n >= account->max_per_mobile.n || kept->complete <= since)
		return n;
	tell_unindexed(kept, schema, account);

	/* What another clock has told may be later than now. */
	complete = Min(kept->complete, now);
	return ask_table(schema, account, mobile, since, complete, false) +
		count_kept(account->serverid, number, since, complete, true) +
		count_kept(account->serverid, number, complete, now, false);
}

void
recent_add(const Account *account, const char *mobile, TimestampTz at)
{
	if (account->max_per_mobile.n == 0 || mobile == NULL || find(account->serverid) == NULL)
		return;
	add(account->serverid, number_of(mobile), at, true);
}

void
recent_settle(Oid serverid, const char *mobile, TimestampTz at, bool sent)
{
	uint32		wanted;

	if (find(serverid) == NULL || ring.size == 0)
		return;
	wanted = number_of(mobile);
	for (uint32 number = *chain_of(serverid, wanted); is_kept(number);)
	{
		RecentMessage *message = message_at(number);

		if (message->serverid == serverid && message->mobile == wanted && message->at == at &&
			message->on_wire)
		{
			message->on_wire = false;
			if (!sent)
				message->at = DT_NOBEGIN;
			return;
		}
		number = message->older;
	}
}
