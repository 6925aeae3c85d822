/*
 * recent.c
 *		How many messages a number got, or may have got, lately: max_per_mobile.
 *
 * The messages of an account are a ring in the order of their requests, and a hash
 * table of chains through it, the newest first.  A message takes 16 bytes.  Nothing is
 * removed when it is too old: the end of a chain is where it leaves the ring or the
 * time that counts.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "port/pg_bitutils.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "account/input.h"
#include "outbox/access.h"
#include "outbox/owner.h"
#include "outbox/recent.h"

/* The ring begins with this size and doubles up to the other one, 16 MB. */
#define FIRST_SIZE 1024
#define LAST_SIZE (1024 * 1024)

/* Rows that are read from the table at once. */
#define PAGE 1000

typedef struct RecentMessage
{
	TimestampTz at;				/* DT_NOBEGIN: it was not sent */
	uint32		mobile;			/* its last nine digits */
	uint32		older;			/* number of the one before it in the chain */
} RecentMessage;

typedef struct Recent
{
	Oid			serverid;
	int64		time;			/* as far back as it was read */
	MemoryContext context;
	uint32		size;			/* of the ring and of the hash table, a power of two */
	uint32		next;			/* number of the next message; they count from 1 */
	RecentMessage *messages;	/* at the remainder of their number */
	uint32	   *newest;			/* of each chain; 0: none */
	struct Recent *others;
} Recent;

static Recent *recents = NULL;
static bool keeping = false;

void
recent_keep(void)
{
	keeping = true;
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
is_kept(const Recent *recent, uint32 number)
{
	return number != 0 && recent->next - number <= recent->size;
}

/* Return the chain of a number. */
static uint32 *
chain_of(const Recent *recent, uint32 mobile)
{
	return &recent->newest[(mobile * UINT64CONST(0x9E3779B97F4A7C15) >> 32) & (recent->size - 1)];
}

/* Append a message. */
static void
append(Recent *recent, uint32 mobile, TimestampTz at)
{
	uint32	   *newest = chain_of(recent, mobile);
	uint32		number = recent->next++;

	recent->messages[number & (recent->size - 1)] = (RecentMessage) {at, mobile, *newest};
	*newest = number;
}

/* Make a ring of a size, with the messages of another one. */
static void
resize(Recent *recent, uint32 size)
{
	Recent		former = *recent;

	recent->size = size;
	recent->next = 1;
	recent->messages = MemoryContextAllocHuge(recent->context, sizeof(RecentMessage) * size);
	recent->newest = MemoryContextAllocExtended(recent->context, sizeof(uint32) * size,
												MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint32 number = 1; number < former.next; number++)
	{
		const RecentMessage *message = &former.messages[number & (former.size - 1)];

		if (is_kept(&former, number))
			append(recent, message->mobile, message->at);
	}
	if (former.messages)
	{
		pfree(former.messages);
		pfree(former.newest);
	}
}

/* Add a message, at a time that is not before that of the others. */
static void
add(Recent *recent, uint32 mobile, TimestampTz at)
{
	if (recent->next > recent->size && recent->size < LAST_SIZE)
	{
		const RecentMessage *oldest = &recent->messages[recent->next & (recent->size - 1)];

		/* If the oldest one still counts, there is not enough room. */
		if (oldest->at > at - recent->time)
			resize(recent, recent->size * 2);
	}
	append(recent, mobile, at);
}

/* -------------------------------------------------------------------------
 * From the table
 * ------------------------------------------------------------------------- */

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

/* Add the message of a row. */
static void
add_row(Recent *recent, uint64 row)
{
	char	   *mobile = statement_name(row, 1);

	add(recent, number_of(mobile), statement_int64(row, 2));
	pfree(mobile);
}

/* Read the finished messages, those whose text was removed or the others, page by page. */
static void
read_finished(Recent *recent, Oid schema, Name account, bool redacted, TimestampTz now)
{
	TimestampTz since = now - recent->time;
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
				add_row(recent, i);
			at = statement_int64(i, 4);
			id = statement_int64(i, 5);
		}
		SPI_finish();
	} while (n == PAGE);
}

/* Read what is being sent. */
static void
read_sending(Recent *recent, Oid schema, Name account, TimestampTz now)
{
	Datum		values[] = {
		Int64GetDatum(outbox_origin()), NameGetDatum(account),
		TimestampTzGetDatum(now - recent->time), TimestampTzGetDatum(now)
	};

	SPI_connect();
	statement_run(schema, &sending_statement, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
		add_row(recent, i);
	SPI_finish();
}

/* Read the messages of an account as the table's owner, by its indexes whatever the settings. */
static void
read_messages(Recent *recent, Oid schema, const char *name, TimestampTz now)
{
	NameData	account;
	Caller		caller;

	namestrcpy(&account, name);
	become_owner(schema, &caller);
	set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	set_config_option("enable_bitmapscan", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	read_finished(recent, schema, &account, false, now);
	read_finished(recent, schema, &account, true, now);
	read_sending(recent, schema, &account, now);
	become_caller(&caller);
}

/* -------------------------------------------------------------------------
 * By account
 * ------------------------------------------------------------------------- */

/* Take the messages of an account out of the list: their memory is being freed. */
static void
unlink_recent(void *arg)
{
	for (Recent **place = &recents; *place; place = &(*place)->others)
	{
		if (*place == arg)
		{
			*place = (*place)->others;
			break;
		}
	}
}

/* Find what is known of an account; NULL: nothing. */
static Recent *
find(Oid serverid)
{
	Recent	   *recent = recents;

	while (recent && recent->serverid != serverid)
		recent = recent->others;
	return recent;
}

void
recent_forget(void)
{
	while (recents)
		MemoryContextDelete(recents->context);
}

/* In a session, what was read does not outlive the statement. */
static void
forget_former_statements(void)
{
	static TimestampTz statement = 0;

	if (!keeping && statement != GetCurrentStatementStartTimestamp())
		recent_forget();
	statement = GetCurrentStatementStartTimestamp();
}

/* Create an empty ring for an account. */
static Recent *
create(const Account *account)
{
	MemoryContext context = AllocSetContextCreate(TopTransactionContext, "sms3300 recent messages",
												  ALLOCSET_SMALL_SIZES);
	Recent	   *recent = MemoryContextAllocZero(context, sizeof(Recent));
	MemoryContextCallback *callback = MemoryContextAllocZero(context, sizeof(MemoryContextCallback));

	recent->context = context;
	recent->serverid = account->serverid;
	recent->time = account->max_per_mobile.time;
	resize(recent, FIRST_SIZE);
	callback->func = unlink_recent;
	callback->arg = recent;
	MemoryContextRegisterResetCallback(context, callback);
	return recent;
}

void
recent_prepare(Oid schema, const Account *account, TimestampTz now)
{
	Recent	   *recent;

	if (account->max_per_mobile.n == 0)
		return;
	forget_former_statements();
	recent = find(account->serverid);
	if (recent && recent->time >= account->max_per_mobile.time)
		return;
	if (recent)
		MemoryContextDelete(recent->context);
	recent = create(account);
	read_messages(recent, schema, account->name, now);
	if (keeping)
		MemoryContextSetParent(recent->context, TopMemoryContext);
	recent->others = recents;
	recents = recent;
}

int
recent_count(Oid schema, const Account *account, const char *mobile, TimestampTz now)
{
	Recent	   *recent;
	uint32		wanted;
	int			n = 0;

	if (account->max_per_mobile.n == 0 || mobile == NULL)
		return 0;
	recent_prepare(schema, account, now);
	recent = find(account->serverid);
	wanted = number_of(mobile);
	for (uint32 number = *chain_of(recent, wanted); is_kept(recent, number);)
	{
		const RecentMessage *message = &recent->messages[number & (recent->size - 1)];

		if (message->mobile == wanted && message->at > now - account->max_per_mobile.time &&
			message->at <= now)
			n++;
		number = message->older;
	}
	return n;
}

void
recent_add(const Account *account, const char *mobile, TimestampTz at)
{
	Recent	   *recent = find(account->serverid);

	if (recent && account->max_per_mobile.n > 0 && mobile)
		add(recent, number_of(mobile), at);
}

void
recent_remove(Oid serverid, const char *mobile, TimestampTz at)
{
	Recent	   *recent = find(serverid);
	uint32		wanted = number_of(mobile);

	if (recent == NULL)
		return;
	for (uint32 number = *chain_of(recent, wanted); is_kept(recent, number);)
	{
		RecentMessage *message = &recent->messages[number & (recent->size - 1)];

		if (message->mobile == wanted && message->at == at)
		{
			message->at = DT_NOBEGIN;
			return;
		}
		number = message->older;
	}
}
