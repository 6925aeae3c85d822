/*
 * opt_out.c
 *		sms_opt_out: who does not want messages.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "outbox/access.h"
#include "outbox/opt_out.h"
#include "outbox/statement.h"

/* -------------------------------------------------------------------------
 * Reading
 * ------------------------------------------------------------------------- */

void
opt_out_check(Relation table)
{
	TupleDesc	desc = RelationGetDescr(table);

	if (table->rd_rel->relkind != RELKIND_RELATION || desc->natts < OPT_OUT_BY ||
		TupleDescAttr(desc, OPT_OUT_MOBILE - 1)->atttypid != TEXTOID ||
		TupleDescAttr(desc, OPT_OUT_LINE - 1)->atttypid != TEXTOID ||
		TupleDescAttr(desc, OPT_OUT_BY - 1)->atttypid != NAMEOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the columns of table \"%s\" have been altered",
						RelationGetRelationName(table)),
				 errdetail("The extension depends on their order and types.")));
}

/* Return whether an index finds the rows of a mobile number. */
static bool
is_index_on_mobile(Relation index, Oid collation)
{
	Form_pg_index form = index->rd_index;

	return form->indisvalid && form->indkey.values[0] == OPT_OUT_MOBILE &&
		index->rd_opfamily[0] == TEXT_BTREE_FAM_OID && index->rd_indcollation[0] == collation &&
		heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);
}

/* Return the index on the mobile number; InvalidOid if it was dropped. */
static Oid
index_on_mobile(Relation table, Oid collation)
{
	Oid			found = InvalidOid;
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(table))
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (is_index_on_mobile(index, collation))
			found = RelationGetRelid(index);
		index_close(index, NoLock);
		if (OidIsValid(found))
			break;
	}
	return found;
}

/* Return what an entry of a recipient means for a message over a line. */
static RulesOptOut
read_entry(HeapTuple entry, TupleDesc desc, const char *line)
{
	bool		isnull;
	Datum		value = heap_getattr(entry, OPT_OUT_LINE, desc, &isnull);

	if (isnull)
		return RULES_OPTED_OUT;
	if (line && strcmp(TextDatumGetCString(value), line) == 0)
		return RULES_OPTED_OUT_OF_LINE;
	return RULES_NOT_OPTED_OUT;
}

/* Look for the entries of a recipient in the table, which is open. */
static RulesOptOut
search(Relation table, const char *mobile, const char *line)
{
	Oid			collation = TupleDescAttr(RelationGetDescr(table), OPT_OUT_MOBILE - 1)->attcollation;
	Oid			index = index_on_mobile(table, collation);
	RulesOptOut result = RULES_NOT_OPTED_OUT;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	entry;

	ScanKeyEntryInitialize(&key, 0, OPT_OUT_MOBILE, BTEqualStrategyNumber, InvalidOid, collation,
						   F_TEXTEQ, CStringGetTextDatum(mobile));
	scan = systable_beginscan(table, index, OidIsValid(index), GetActiveSnapshot(), 1, &key);
	while (result != RULES_OPTED_OUT && HeapTupleIsValid(entry = systable_getnext(scan)))
		result = Max(result, read_entry(entry, RelationGetDescr(table), line));
	systable_endscan(scan);
	return result;
}

/*
 * Find the table.  One of its name that is not of the extension is none: an older
 * version of the extension has no such table.
 */
static Oid
find_opt_outs(Oid schema)
{
	static Oid	known = InvalidOid;
	Oid			table = get_relname_relid(OPT_OUT_TABLE, schema);

	if (!OidIsValid(table) || table == known)
		return table;
	if (getExtensionOfObject(RelationRelationId, table) != get_extension_oid("sms3300", true))
		return InvalidOid;
	known = table;
	return table;
}

bool
opt_out_any(Oid schema)
{
	Oid			oid = find_opt_outs(schema);
	Relation	table = OidIsValid(oid) ? try_table_open(oid, AccessShareLock) : NULL;
	bool		any = table && RelationGetNumberOfBlocks(table) > 0;

	if (table)
		table_close(table, NoLock);
	return any;
}

RulesOptOut
opt_out_find(Oid schema, const char *mobile, const char *line)
{
	Oid			oid = find_opt_outs(schema);
	Relation	table = OidIsValid(oid) && mobile ? try_table_open(oid, AccessShareLock) : NULL;
	RulesOptOut result = RULES_NOT_OPTED_OUT;

	if (table == NULL)
		return RULES_NOT_OPTED_OUT;
	opt_out_check(table);
	if (RelationGetNumberOfBlocks(table) > 0)
		result = search(table, mobile, line);
	table_close(table, NoLock);
	return result;
}

bool
opt_out_is_locked(Oid schema)
{
	Oid			oid = find_opt_outs(schema);

	return OidIsValid(oid) && !ConditionalLockRelationOid(oid, AccessShareLock);
}

/* -------------------------------------------------------------------------
 * Recording
 * ------------------------------------------------------------------------- */

/* Insert an entry as the owner of the table. */
static void
insert_entry(const char *mobile, const char *line, int code)
{
	Oid			schema = outbox_namespace();
	Oid			table = find_opt_outs(schema);
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID};
	Datum		values[] = {
		CStringGetTextDatum(mobile), CStringGetTextDatum(line),
		CStringGetTextDatum(psprintf("%d", code))
	};
	Oid			user;
	int			context;
	int			nest_level;

	if (!OidIsValid(table))
		return;
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(outbox_owner(table), context | SECURITY_RESTRICTED_OPERATION);
	nest_level = NewGUCNestLevel();
	set_config_option("search_path", OUTBOX_SEARCH_PATH, PGC_USERSET, PGC_S_SESSION,
					  GUC_ACTION_SAVE, true, 0, false);
	if (SPI_execute_with_args(psprintf("INSERT INTO %s.%s (mobile, line, reason, by)"
									   " VALUES ($1, $2, $3, 'gateway') ON CONFLICT DO NOTHING",
									   quote_identifier(get_namespace_name(schema)), OPT_OUT_TABLE),
							  lengthof(types), types, values, NULL, false, 0) < 0)
		elog(ERROR, "could not insert into %s", OPT_OUT_TABLE);
	AtEOXact_GUC(false, nest_level);
	SetUserIdAndSecContext(user, context);
}

const char *
opt_out_record(const char *mobile, const char *line, int code)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	const char *volatile problem = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		insert_entry(mobile, line, code);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();

		/* The limit of time is for all of the transaction, which would go on without any. */
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		{
			CurrentResourceOwner = owner;
			ReThrowError(error);
		}
		problem = error->message;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return problem;
}
