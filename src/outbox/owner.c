/*
 * owner.c
 *		Run statements on sms_outbox with the rights of its owner.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_constraint.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "outbox/access.h"
#include "outbox/owner.h"

/* Return the name of a constraint if it is one of a table, else NULL. */
static RangeVar *
constraint_name(Oid constraint, Oid table)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	Form_pg_constraint form;
	RangeVar   *name = NULL;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	form = (Form_pg_constraint) GETSTRUCT(tuple);
	if (form->conrelid == table)
		name = makeRangeVar(get_namespace_name(form->connamespace),
							pstrdup(NameStr(form->conname)), -1);
	ReleaseSysCache(tuple);
	return name;
}

/* Return the deferrable constraints of a table, or those of them that are initially deferred. */
static List *
deferrable_constraints(Oid table, bool initially_deferred)
{
	Relation	relation = table_open(table, AccessShareLock);
	/* Copied, because the lookups below may rebuild the relation's cache entry. */
	const TriggerDesc *triggers = CopyTriggerDesc(relation->trigdesc);
	List	   *names = NIL;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];
		RangeVar   *name;

		if (!trigger->tgdeferrable || (initially_deferred && !trigger->tginitdeferred))
			continue;
		name = constraint_name(trigger->tgconstraint, table);
		if (name)
			names = lappend(names, name);
	}
	table_close(relation, NoLock);
	return names;
}

/*
 * Set the constraints of a table to be checked after each statement, or as they
 * were created.  PostgreSQL refuses to defer a trigger in a restricted operation,
 * because it would run later with the rights of the session's role.  This itself is
 * done as that role: what other tables' constraints of the same names have deferred
 * runs now.
 */
static void
set_constraints(Oid table, bool immediate)
{
	ConstraintsSetStmt set = {.type = T_ConstraintsSetStmt, .deferred = !immediate};

	set.constraints = deferrable_constraints(table, !immediate);
	if (set.constraints)
		AfterTriggerSetState(&set);
}

/* Return the table in a schema; raise an error if there is none. */
static Oid
find_table(Oid namespace)
{
	Oid			table = get_relname_relid(OUTBOX_TABLE, namespace);

	if (!OidIsValid(table))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s\" does not exist", OUTBOX_TABLE)));
	return table;
}

void
become_owner_of(Oid table, Caller *caller)
{
	GetUserIdAndSecContext(&caller->user, &caller->security_context);
	SetUserIdAndSecContext(outbox_owner(table), caller->security_context |
						   SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	caller->nest_level = NewGUCNestLevel();
	set_config_option("search_path", OUTBOX_SEARCH_PATH, PGC_USERSET, PGC_S_SESSION,
					  GUC_ACTION_SAVE, true, 0, false);
}

void
become_owner(Oid namespace, Caller *caller)
{
	become_owner_of(find_table(namespace), caller);
}

void
become_reader(Oid namespace, Caller *caller)
{
	Oid			table = find_table(namespace);

	caller->nest_level = 0;
	if ((check_enable_rls(table, InvalidOid, true) != RLS_ENABLED ||
		 has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_DATA)) &&
		pg_class_aclcheck(table, GetUserId(), ACL_SELECT) == ACLCHECK_OK)
		become_owner(namespace, caller);
}

void
become_caller(const Caller *caller)
{
	if (caller->nest_level == 0)
		return;
	AtEOXact_GUC(false, caller->nest_level);
	SetUserIdAndSecContext(caller->user, caller->security_context);
}

int64
run_for_each(Oid namespace, Statement *statement, Datum *values, void (*each) (uint64 row))
{
	Oid			table = find_table(namespace);
	Caller		caller;
	uint64		nrows;

	set_constraints(table, true);
	become_owner(namespace, &caller);
	SPI_connect();
	statement_run(namespace, statement, values, NULL);
	nrows = SPI_processed;
	for (uint64 row = 0; row < nrows; row++)
		each(row);
	SPI_finish();
	become_caller(&caller);
	set_constraints(table, false);
	return (int64) nrows;
}

int64
run_as_owner(Oid namespace, Statement *statement, Datum *values, bool *isnull)
{
	Oid			table = find_table(namespace);
	Caller		caller;
	bool		null = false;
	int64		result;

	if (!statement->reads)
		set_constraints(table, true);
	become_owner(namespace, &caller);
	SPI_connect();
	statement_run(namespace, statement, values, NULL);
	if (SPI_tuptable == NULL)
		result = (int64) SPI_processed;
	else
	{
		Datum		value = SPI_processed > 0 ? statement_value(0, 1, &null) : (Datum) 0;

		result = null ? 0 : DatumGetInt64(value);
	}
	SPI_finish();
	become_caller(&caller);
	if (!statement->reads)
		set_constraints(table, false);
	if (isnull)
		*isnull = null;
	return result;
}
