/*
 * commands.c
 *		What people do to messages that exist.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "outbox/access.h"
#include "outbox/commands.h"
#include "outbox/owner.h"
#include "outbox/statement.h"

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

/* -------------------------------------------------------------------------
 * What they did
 * ------------------------------------------------------------------------- */

/*
 * Append what a person did to the events; "by" is the parameter with that person's
 * role.  The object is made once for all rows of a statement.
 */
#define APPEND_ACTION(action, by) \
	"%2$s = " STATEMENT_APPEND_EVENT("(SELECT pg_catalog.jsonb_build_object('at', pg_catalog.clock_timestamp()," \
									 " 'by', " by ", 'action', " action ", 'note', NULL))")

/* Return the name of the current role as an argument. */
static Datum
current_role_name(NameData *name)
{
	namestrcpy(name, GetUserNameFromId(GetUserId(), false));
	return NameGetDatum(name);
}

static Statement cancel_statement = {
	.sql = "UPDATE %1$s AS o SET status = 'cancelled', due_at = NULL,"
	" finished_at = pg_catalog.clock_timestamp(), " APPEND_ACTION("'cancel'", "$2")
	" WHERE id = $1 AND status = 'queued'",
	.nargs = 2, .argtypes = {INT8OID, NAMEOID}
};

bool
outbox_cancel(Oid namespace, int64 id)
{
	NameData	by;
	Datum		values[] = {Int64GetDatum(id), current_role_name(&by)};

	return run_as_owner(namespace, &cancel_statement, values, NULL) > 0;
}

/* An expired message gets its original validity again. */
static Statement requeue_statement = {
	.sql = "UPDATE %1$s AS o SET status = 'queued', attempts = 0, finished_at = NULL, origin = $2,"
	" due_at = greatest(send_after, pg_catalog.now()),"
	" send_before = CASE WHEN pg_catalog.isfinite(send_before) THEN"
	"  greatest(send_before, pg_catalog.now() + (send_before - send_after))"
	"  ELSE send_before END, " APPEND_ACTION("'resend'", "$3")
	" WHERE id = $1 AND message IS NOT NULL AND status NOT IN ('queued', 'sending', 'sent')",
	.nargs = 3, .argtypes = {INT8OID, INT8OID, NAMEOID}
};

bool
outbox_requeue(Oid namespace, int64 id)
{
	NameData	by;
	Datum		values[] = {
		Int64GetDatum(id), Int64GetDatum(outbox_origin()), current_role_name(&by)
	};

	return run_as_owner(namespace, &requeue_statement, values, NULL) > 0;
}

static Statement adopt_statement = {
	.sql = "UPDATE %1$s AS o SET origin = $1,"
	" status = CASE status WHEN 'sending' THEN 'unknown' ELSE status END,"
	" finished_at = CASE status WHEN 'sending' THEN pg_catalog.now() END,"
	" error = CASE status WHEN 'sending'"
	"  THEN 'it was being sent when this copy of the row was made' ELSE error END,"
	" due_at = CASE status WHEN 'queued' THEN due_at END, " APPEND_ACTION("'adopt'", "$2")
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
