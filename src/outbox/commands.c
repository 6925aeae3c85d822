/*
 * commands.c
 *		What people do to messages that exist.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "account/account.h"
#include "outbox/access.h"
#include "outbox/commands.h"
#include "outbox/keys.h"
#include "outbox/owner.h"
#include "outbox/statement.h"
#include "outbox/tell.h"
#include "shared/wake.h"

/* -------------------------------------------------------------------------
 * Who may
 * ------------------------------------------------------------------------- */

static Statement target_statement = {
	.sql = "SELECT account, sender, message IS NULL AND finished_at IS NOT NULL"
	" FROM %s WHERE id OPERATOR(pg_catalog.=) $1",
	.nargs = 1, .argtypes = {INT8OID}
};

bool
target_find(Oid namespace, int64 id, Target *target)
{
	Datum		values[] = {Int64GetDatum(id)};
	MemoryContext caller = CurrentMemoryContext;
	bool		found;
	Caller		reader;

	become_reader(namespace, &reader);
	SPI_connect();
	statement_run(namespace, &target_statement, values, NULL);
	found = SPI_processed > 0;
	if (found)
	{
		bool		isnull;

		target->account = MemoryContextStrdup(caller, statement_name(0, 1));
		target->sender = MemoryContextStrdup(caller, statement_name(0, 2));
		target->redacted = DatumGetBool(statement_value(0, 3, &isnull));
	}
	SPI_finish();
	become_caller(&reader);
	return found;
}

bool
commands_all(Oid namespace)
{
	Oid			table = get_relname_relid(OUTBOX_TABLE, namespace);

	return superuser() ||
		(OidIsValid(table) && has_privs_of_role(GetUserId(), outbox_owner(table)));
}

void
target_require(Oid namespace, int64 id, const Target *target)
{
	if (commands_all(namespace) ||
		strcmp(GetUserNameFromId(GetUserId(), false), target->sender) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for message " INT64_FORMAT, id),
			 errdetail("Role \"%s\" queued it.", target->sender),
			 errhint("Only that role, the owner of %s and superusers may do this. A member of that role can use SET ROLE.",
					 OUTBOX_TABLE)));
}

/* Return the name of the current role as an argument. */
static Datum
current_role_name(NameData *name)
{
	namestrcpy(name, GetUserNameFromId(GetUserId(), false));
	return NameGetDatum(name);
}

static Statement targets_statement = {
	.sql = "SELECT o.account, o.sender, pg_catalog.array_agg(o.id)"
	" FROM pg_catalog.unnest($1) AS u (id) JOIN %s AS o ON o.id OPERATOR(pg_catalog.=) u.id"
	" WHERE $2 OR o.sender OPERATOR(pg_catalog.=) $3 GROUP BY o.account, o.sender",
	.nargs = 3, .argtypes = {INT8ARRAYOID, BOOLOID, NAMEOID}
};

/* Read a row of the last result as targets, in memory of the caller. */
static Targets *
read_targets(uint64 row, MemoryContext context)
{
	MemoryContext former = MemoryContextSwitchTo(context);
	Targets    *targets = palloc(sizeof(Targets));
	bool		isnull;

	targets->account = statement_name(row, 1);
	targets->sender = statement_name(row, 2);
	targets->ids = DatumGetArrayTypePCopy(statement_value(row, 3, &isnull));
	MemoryContextSwitchTo(former);
	return targets;
}

List *
targets_find(Oid namespace, Datum ids)
{
	NameData	role;
	Datum		values[] = {
		ids, BoolGetDatum(commands_all(namespace)), current_role_name(&role)
	};
	MemoryContext caller = CurrentMemoryContext;
	List	   *found = NIL;
	Caller		reader;

	become_reader(namespace, &reader);
	SPI_connect();
	statement_run(namespace, &targets_statement, values, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		Targets    *targets = read_targets(row, caller);

		MemoryContextSwitchTo(caller);
		found = lappend(found, targets);
	}
	SPI_finish();
	become_caller(&reader);
	return found;
}

/* Compare two ids, for qsort(). */
static int
compare_ids(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y;
}

/*
 * Return the ids of all targets as an argument.  They are in order, so that two
 * sessions that command the same messages rather wait for each other than deadlock.
 */
static Datum
ids_of(List *found)
{
	int64	   *ids = NULL;
	int			nids = 0;
	ListCell   *cell;

	foreach(cell, found)
	{
		Datum	   *elements;
		int			nelements;

		deconstruct_array(((const Targets *) lfirst(cell))->ids, INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
						  TYPALIGN_DOUBLE, &elements, NULL, &nelements);
		ids = ids ? repalloc(ids, sizeof(int64) * (nids + nelements)) :
			palloc(sizeof(int64) * nelements);
		for (int i = 0; i < nelements; i++)
			ids[nids++] = DatumGetInt64(elements[i]);
	}
	if (nids > 0)
		qsort(ids, nids, sizeof(int64), compare_ids);
	return statement_id_array(ids, nids);
}

/* -------------------------------------------------------------------------
 * What they did
 * ------------------------------------------------------------------------- */

/*
 * Append what a person did to the events; "by" and "note" are SQL.  The object is made
 * once for all rows of a statement.
 */
#define APPEND_ACTION(action, by, note) \
	"%2$s = " STATEMENT_APPEND_EVENT("(SELECT pg_catalog.jsonb_build_object('at', pg_catalog.clock_timestamp()," \
									 " 'by', " by ", 'action', '" action "', 'note', " note "))")

#define CANCEL(by) \
	"UPDATE %1$s AS o SET status = 'cancelled', due_at = NULL," \
	" finished_at = pg_catalog.clock_timestamp(), " APPEND_ACTION("cancel", by, "NULL")

static Statement cancel_statement = {
	.sql = CANCEL("$2") " WHERE id = $1 AND status = 'queued' RETURNING o.account, o.id",
	.nargs = 2, .argtypes = {INT8OID, NAMEOID}
};

/* Wake the worker at commit for the account of a row that a statement returned, and no other. */
static void
wake_for_row(uint64 row, TimestampTz expires)
{
	const Account *account = account_find(statement_name(row, 1));

	wake_for_account(account ? account->serverid : InvalidOid, GetCurrentTransactionStartTimestamp(),
					 expires);
}

/*
 * Tell listeners of a message that was cancelled, and the worker, which schedules the deletion
 * and the redaction of finished messages.
 */
static void
tell_cancelled(uint64 row)
{
	tell_status(statement_name(row, 1), statement_int64(row, 2), STATUS_CANCELLED);
	wake_for_row(row, DT_NOEND);
}

bool
outbox_cancel(Oid namespace, int64 id)
{
	NameData	by;
	Datum		values[] = {Int64GetDatum(id), current_role_name(&by)};

	return run_for_each(namespace, &cancel_statement, values, tell_cancelled) > 0;
}

static Statement cancel_many_statement = {
	.sql = CANCEL("$2") " FROM pg_catalog.unnest($1) AS u (id)"
	" WHERE o.id = u.id AND o.status = 'queued' RETURNING o.account, o.id",
	.nargs = 2, .argtypes = {INT8ARRAYOID, NAMEOID}
};

int64
outbox_cancel_many(Oid namespace, List *found)
{
	NameData	by;
	Datum		values[] = {ids_of(found), current_role_name(&by)};

	return run_for_each(namespace, &cancel_many_statement, values, tell_cancelled);
}

/* An expired message gets its original validity again. */
#define REQUEUE(origin, by) \
	"UPDATE %1$s AS o SET status = 'queued', attempts = 0, finished_at = NULL, origin = " origin "," \
	" due_at = greatest(send_after, pg_catalog.now())," \
	" send_before = CASE WHEN pg_catalog.isfinite(send_before)" \
	"  AND send_before < pg_catalog.now() + '1000 years' THEN" \
	"  greatest(send_before, pg_catalog.now() + (send_before - send_after))" \
	"  ELSE send_before END, " APPEND_ACTION("resend", by, "NULL")

#define MAY_BE_REQUEUED "message IS NOT NULL AND status NOT IN ('queued', 'sending', 'sent')"

static Statement requeue_statement = {
	.sql = REQUEUE("$2", "$3") " WHERE id = $1 AND " MAY_BE_REQUEUED " RETURNING o.account",
	.nargs = 3, .argtypes = {INT8OID, INT8OID, NAMEOID}
};

/* Tell the worker of a message that is queued again: it is due from now on.  When it expires is looked up. */
static void
tell_requeued(uint64 row)
{
	wake_for_row(row, GetCurrentTransactionStartTimestamp());
}

bool
outbox_requeue(Oid namespace, int64 id)
{
	NameData	by;
	Datum		values[] = {
		Int64GetDatum(id), Int64GetDatum(outbox_origin()), current_role_name(&by)
	};

	keys_reclaim(namespace, id);
	return run_for_each(namespace, &requeue_statement, values, tell_requeued) > 0;
}

#define REQUEUE_MANY \
	REQUEUE("$2", "$3") " FROM pg_catalog.unnest($1) AS u (id)" \
	" WHERE o.id = u.id AND " MAY_BE_REQUEUED

static Statement requeue_many_statement = {
	.sql = REQUEUE_MANY " RETURNING o.account",
	.nargs = 3, .argtypes = {INT8ARRAYOID, INT8OID, NAMEOID}
};

/* Messages whose key is held by another one are passed over. */
static Statement requeue_many_holders_statement = {
	.sql = REQUEUE_MANY " AND dedup_released IS NOT TRUE RETURNING o.account",
	.nargs = 3, .argtypes = {INT8ARRAYOID, INT8OID, NAMEOID}
};

int64
outbox_requeue_many(Oid namespace, List *found)
{
	NameData	by;
	Datum		values[] = {ids_of(found), Int64GetDatum(outbox_origin()), current_role_name(&by)};

	return run_for_each(namespace, keys_reclaim_many(namespace, values[0]) ?
						&requeue_many_holders_statement : &requeue_many_statement, values, tell_requeued);
}

/* Only an unknown message is settled; when it was sent, if it was, stays in "finished_at". */
static Statement resolve_statement = {
	.sql = "UPDATE %1$s AS o SET"
	" status = CASE WHEN $2 THEN 'sent' WHEN o.status = 'unknown' THEN 'failed' ELSE o.status END,"
	" error = CASE WHEN NOT $2 THEN"
	"  pg_catalog.concat_ws(': ', pg_catalog.format('not sent, according to %%I', $4), nullif($3, '')) END, "
	APPEND_ACTION("resolve", "$4", "nullif($3, '')")
	" WHERE id = $1 AND status = 'unknown'",
	.nargs = 4, .argtypes = {INT8OID, BOOLOID, TEXTOID, NAMEOID}
};

bool
outbox_resolve(Oid namespace, int64 id, bool was_sent, const char *note)
{
	NameData	by;
	Datum		values[] = {
		Int64GetDatum(id), BoolGetDatum(was_sent), CStringGetTextDatum(note), current_role_name(&by)
	};

	return run_as_owner(namespace, &resolve_statement, values, NULL) > 0;
}

static Statement adopt_statement = {
	.sql = "UPDATE %1$s AS o SET origin = $1,"
	" status = CASE status WHEN 'sending' THEN 'unknown' ELSE status END,"
	" finished_at = CASE status WHEN 'sending' THEN pg_catalog.now() END,"
	" error = CASE status WHEN 'sending'"
	"  THEN 'it was being sent when this copy of the row was made' ELSE error END,"
	" due_at = CASE status WHEN 'queued' THEN due_at END, " APPEND_ACTION("adopt", "$2", "NULL")
	" WHERE origin <> $1 AND due_at IS NOT NULL",
	.nargs = 2, .argtypes = {INT8OID, NAMEOID}
};

int64
outbox_adopt(Oid namespace)
{
	NameData	by;
	Datum		values[] = {Int64GetDatum(outbox_origin()), current_role_name(&by)};

	return run_as_owner(namespace, &adopt_statement, values, NULL);
}
