/*
 * reserved.c
 *		The columns of sms_outbox that only the extension writes, in a new message.
 *
 * Every role has the privilege to name them in INSERT, because object-relational
 * mappers do so, with DEFAULT or NULL.  A trigger cannot tell a value that was given
 * from a default, and so compares the two.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "outbox/columns.h"
#include "outbox/status.h"
#include "sql/reserved.h"

/* Raise the error for a value of one of the columns. */
static void
refuse(const char *column, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_GENERATED_ALWAYS),
			 errmsg("cannot insert a non-DEFAULT value into column \"%s\"", column),
			 errdetail("%s", detail),
			 errhint("Omit \"%s\", or use DEFAULT.", column)));
}

/* Return whether a value is an empty JSON array. */
static bool
is_empty_array(Datum value)
{
	const Jsonb *json = DatumGetJsonbP(value);

	return JB_ROOT_IS_ARRAY(json) && !JB_ROOT_IS_SCALAR(json) && JB_ROOT_COUNT(json) == 0;
}

/* Return whether a column has the value of a message that is new. */
static bool
is_new(enum OutboxColumn column, Datum value, bool isnull)
{
	switch (column)
	{
		case OUTBOX_SENDER:
			return isnull ||
				namestrcmp(DatumGetName(value), GetUserNameFromId(GetUserId(), false)) == 0;
		case OUTBOX_CREATED_AT:
			return true;
		case OUTBOX_STATUS:
			return !isnull && strcmp(DatumGetCString(DirectFunctionCall1(enum_out, value)),
									 status_label(STATUS_QUEUED)) == 0;
		case OUTBOX_ATTEMPTS:
			return !isnull && DatumGetInt16(value) == 0;
		case OUTBOX_EVENTS:
			return !isnull && is_empty_array(value);
		default:
			return isnull;
	}
}

void
reserved_check(Relation table, HeapTuple tuple)
{
	TupleDesc	desc = RelationGetDescr(table);

	for (int column = OUTBOX_SENDER; column < OUTBOX_END; column++)
	{
		bool		isnull;
		Datum		value;

		if (!columns_have(table, column))
			continue;
		value = heap_getattr(tuple, column, desc, &isnull);
		if (!is_new(column, value, isnull))
			refuse(NameStr(TupleDescAttr(desc, column - 1)->attname),
				   column == OUTBOX_STATUS ?
				   "A new message is queued. A row that is restored or copied has its \"origin\"." :
				   "The extension sets it. A row that is restored or copied has its \"origin\".");
	}
}

/* Return the sequence of the ids, looked up once in a session; InvalidOid if there is none. */
static Oid
id_sequence(Relation table)
{
	static Oid	of_table = InvalidOid;
	static Oid	sequence = InvalidOid;

	if (of_table != RelationGetRelid(table) || get_rel_relkind(sequence) != RELKIND_SEQUENCE)
	{
		sequence = identity_sequence(table, OUTBOX_ID);
		of_table = RelationGetRelid(table);
	}
	return sequence;
}

/* Return the last number that a sequence gave to this session, or false if it gave none. */
static bool
last_number(Oid sequence, int64 *number)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool known = true;
	Oid			user;
	int			security_context;

	/* The caller may lack the privilege to ask. */
	GetUserIdAndSecContext(&user, &security_context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, security_context | SECURITY_LOCAL_USERID_CHANGE);
	PG_TRY();
	{
		*number = DatumGetInt64(DirectFunctionCall1(currval_oid, ObjectIdGetDatum(sequence)));
	}
	PG_CATCH();
	{
		/* Without a number the row is refused, so that the transaction ends in any case. */
		if (geterrcode() != ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		known = false;
	}
	PG_END_TRY();
	SetUserIdAndSecContext(user, security_context);
	return known;
}

int64
reserved_id(Relation table, int64 id)
{
	/* The last statement of the client that queued a message under the sequence's last number */
	static TimestampTz numbered = 0;
	Oid			sequence = id_sequence(table);
	int64		last;

	if (!OidIsValid(sequence))
		return id;
	if (last_number(sequence, &last))
	{
		if (id == last)
		{
			numbered = GetCurrentStatementStartTimestamp();
			return id;
		}

		/*
		 * What computed this row, or a trigger before this one, may have queued
		 * another message meanwhile, to which the last number was given.
		 */
		if (id < last && numbered == GetCurrentStatementStartTimestamp())
			return nextval_internal(sequence, false);
	}
	refuse("id", "The number of a message comes from its sequence.");
	return 0;					/* keep compilers quiet */
}
