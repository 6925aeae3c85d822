/*
 * row.c
 *		Rows of sms_outbox, which the worker reads and writes one by one.
 *
 * A claim and a result each write a new version of one row whose id is known.
 * They are written as logical replication writes the changes that it applies:
 * the row is found by the primary key and locked, and ExecSimpleRelationUpdate()
 * does the rest: row triggers, constraints, generated columns and indexes.
 * Statement triggers are fired here, as COPY does.
 *
 * What only a statement could do (rules, row security, transition tables) is
 * refused, rather than left out silently.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/multixact.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/procarray.h"
#include "rewrite/prs2lock.h"
#include "rewrite/rewriteDefine.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "outbox/access.h"
#include "outbox/row.h"
#include "outbox/statement.h"
#include "shared/registry.h"

struct Rows
{
	Relation	table;
	EState	   *estate;
	EPQState	epq;			/* nothing is planned; the executor wants one */
	ResultRelInfo *target;
	TupleTableSlot *found;		/* the row as it is in the table */
	TupleTableSlot *changed;	/* and as it is to be */
	Oid		   *statuses;		/* those that were looked up; InvalidOid: not yet */

	/* From rows_open() to rows_close() */
	bool		writes;
	IndexScanDesc scan;			/* of the primary key */
	LockTupleMode lock_mode;
};

/*
 * What one transaction works with, from its first rows_open() on: results and
 * claims share it, as starting the executor costs more than writing a row.
 */
static Rows *started = NULL;

/* Describe the first rule that an UPDATE of the table would apply; NULL if there is none. */
static const char *
update_rule(Relation table)
{
	for (int i = 0; table->rd_rules && i < table->rd_rules->numLocks; i++)
	{
		const RewriteRule *rule = table->rd_rules->rules[i];

		if (rule->event == CMD_UPDATE && rule->enabled != RULE_DISABLED)
			return getObjectDescription(&(ObjectAddress) {RewriteRelationId, rule->ruleId, 0}, false);
	}
	return NULL;
}

/* Return the first trigger on UPDATE with a transition table; NULL if there is none. */
static const char *
transition_trigger(Relation table)
{
	const TriggerDesc *triggers = table->trigdesc;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		if (TRIGGER_FOR_UPDATE(trigger->tgtype) && trigger->tgenabled != TRIGGER_DISABLED &&
			(trigger->tgoldtable || trigger->tgnewtable))
			return trigger->tgname;
	}
	return NULL;
}

void
rows_check(void)
{
	Relation	table = table_open(outbox_table(), NoLock);
	const char *name = RelationGetRelationName(table);
	const char *problem;

	if (pg_class_aclcheck(RelationGetRelid(table), GetUserId(), ACL_UPDATE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table %s: its owner, \"%s\", has no UPDATE privilege",
						name, GetUserNameFromId(GetUserId(), false)),
				 errhint("The extension writes with the rights of the table's owner.")));
	if ((problem = update_rule(table)) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s is for UPDATE, which is not supported", problem),
				 errhint("Use a trigger instead.")));
	if ((problem = transition_trigger(table)) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("trigger \"%s\" on %s has a transition table, which is not supported",
						problem, name),
				 errhint("Use a row trigger instead.")));
	if (check_enable_rls(RelationGetRelid(table), InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("row-level security of %s is forced on its owner, which is not supported", name),
				 errhint("Use ALTER TABLE ... NO FORCE ROW LEVEL SECURITY.")));
	table_close(table, NoLock);
}

/* Return the index of the primary key, among those that are open. */
static Relation
primary_key(const ResultRelInfo *target)
{
	for (int i = 0; i < target->ri_NumIndices; i++)
	{
		Relation	index = target->ri_IndexRelationDescs[i];

		if (index->rd_index->indisprimary && index->rd_index->indisvalid &&
			index->rd_index->indnkeyatts == 1 && index->rd_index->indkey.values[0] == OUTBOX_ID)
			return index;
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the primary key of %s is no longer \"id\"",
					RelationGetRelationName(target->ri_RelationDesc)),
			 errhint("Use ALTER TABLE ... ADD PRIMARY KEY (id).")));
	return NULL;				/* keep compilers quiet */
}

/* Columns, as the executor has them. */
static Bitmapset *
column_set(const enum OutboxColumn *columns, int ncolumns)
{
	Bitmapset  *set = NULL;

	for (int i = 0; i < ncolumns; i++)
		set = bms_add_member(set, (int) columns[i] - FirstLowInvalidHeapAttributeNumber);
	return set;
}

/* With the transaction or subtransaction, however it ends, its memory goes. */
static void
forget(void *arg)
{
	started = NULL;
}

/* Make what the executor needs to work on the table, in memory of the (sub)transaction. */
static void
start_executor(void)
{
	MemoryContext caller = MemoryContextSwitchTo(CurTransactionContext);
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));
	Rows	   *rows = palloc0(sizeof(Rows));

	rows->table = table_open(outbox_table(), NoLock);
	columns_check(rows->table);
	rows->estate = CreateExecutorState();
	init_range_table(rows->estate, rows->table);
	rows->target = makeNode(ResultRelInfo);
	InitResultRelInfo(rows->target, rows->table, 1, NULL, 0);
	rows->estate->es_opened_result_relations = list_make1(rows->target);
	ExecOpenIndices(rows->target, false);
	init_epq_state(&rows->epq, rows->estate);
	rows->found = table_slot_create(rows->table, &rows->estate->es_tupleTable);
	rows->changed = ExecInitExtraTupleSlot(rows->estate, RelationGetDescr(rows->table), &TTSOpsVirtual);
	rows->statuses = palloc0(sizeof(Oid) * NUM_MESSAGE_STATUSES);
	callback->func = forget;
	MemoryContextRegisterResetCallback(CurTransactionContext, callback);
	started = rows;
	MemoryContextSwitchTo(caller);
}

void
rows_end(void)
{
	Rows	   *rows = started;

	if (rows == NULL)
		return;
	EvalPlanQualEnd(&rows->epq);
	ExecResetTupleTable(rows->estate->es_tupleTable, false);
	ExecCloseIndices(rows->target);
	FreeExecutorState(rows->estate);
	table_close(rows->table, NoLock);
	started = NULL;
}

void
rows_start(void)
{
	if (started != NULL)
		return;
	start_executor();
	(void) primary_key(started->target);
}

Rows *
rows_open(const enum OutboxColumn *columns, int ncolumns)
{
	Rows	   *rows;

	rows_start();
	rows = started;
	rows->writes = ncolumns > 0;
	set_updated_columns(rows->estate, column_set(columns, ncolumns));
	rows->lock_mode = ExecUpdateLockMode(rows->estate, rows->target);
	if (rows->writes)
	{
		AfterTriggerBeginQuery();
		ExecBSUpdateTriggers(rows->estate, rows->target);
	}
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	rows->estate->es_snapshot = GetActiveSnapshot();
	rows->estate->es_output_cid = GetCurrentCommandId(rows->writes);
	rows->scan = begin_index_scan(rows->table, primary_key(rows->target), GetActiveSnapshot(), 1);
	return rows;
}

/* Tell whether a trigger runs where the columns are written. */
static bool
trigger_runs(const Trigger *trigger, const Bitmapset *written)
{
	if (!TRIGGER_FOR_UPDATE(trigger->tgtype) || trigger->tgenabled == TRIGGER_DISABLED)
		return false;
	for (int i = 0; i < trigger->tgnattr; i++)
		if (bms_is_member(trigger->tgattr[i] - FirstLowInvalidHeapAttributeNumber, written))
			return true;
	return trigger->tgnattr == 0;
}

/* Tell whether any trigger has run. */
static bool
triggers_ran(Rows *rows)
{
	const TriggerDesc *triggers = rows->target->ri_TrigDesc;
	const Bitmapset *written = ExecGetAllUpdatedCols(rows->target, rows->estate);

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
		if (trigger_runs(&triggers->triggers[i], written))
			return true;
	return false;
}

bool
rows_close(Rows *rows)
{
	const TupleConstr *constraints = RelationGetDescr(rows->table)->constr;
	bool		ran = rows->writes && triggers_ran(rows);

	index_endscan(rows->scan);
	ExecClearTuple(rows->found);
	ExecClearTuple(rows->changed);
	if (rows->writes)
	{
		ExecASUpdateTriggers(rows->estate, rows->target, NULL);
		AfterTriggerEndQuery(rows->estate);
	}
	PopActiveSnapshot();
	CommandCounterIncrement();

	/* The executor remembers which of them depend on the columns that were written. */
	if (constraints && constraints->has_generated_stored)
		rows_end();
	return ran;
}

/* Return the enum type of a column. */
static Oid
enum_type(const Rows *rows, enum OutboxColumn column)
{
	return TupleDescAttr(RelationGetDescr(rows->table), column - 1)->atttypid;
}

/* Return the value that a label stands for in an enum type; InvalidOid if it lacks it. */
static Oid
find_label(Oid type, const char *label)
{
	return GetSysCacheOid2(ENUMTYPOIDNAME, Anum_pg_enum_oid, ObjectIdGetDatum(type),
						   CStringGetDatum(label));
}

/* Return the value that a label stands for in a column of an enum type. */
static Oid
label_value(const Rows *rows, enum OutboxColumn column, const char *label)
{
	Oid			type = enum_type(rows, column);
	Oid			value = find_label(type, label);

	if (!OidIsValid(value))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("type %s has no label \"%s\"", format_type_be(type), label)));
	return value;
}

Oid
rows_status(const Rows *rows, MessageStatus wanted)
{
	Oid		   *known = &rows->statuses[wanted];

	if (!OidIsValid(*known))
		*known = label_value(rows, OUTBOX_STATUS, status_label(wanted));
	return *known;
}

bool
rows_have_status(const Rows *rows, MessageStatus wanted)
{
	return OidIsValid(find_label(enum_type(rows, OUTBOX_STATUS), status_label(wanted)));
}

/* Take over the values of the row that was found; what was in dropped columns goes. */
static void
copy_values(Rows *rows)
{
	TupleDesc	description = RelationGetDescr(rows->table);

	slot_getallattrs(rows->found);
	ExecClearTuple(rows->changed);
	for (int i = 0; i < description->natts; i++)
	{
		bool		dropped = TupleDescAttr(description, i)->attisdropped;

		rows->changed->tts_values[i] = dropped ? (Datum) 0 : rows->found->tts_values[i];
		rows->changed->tts_isnull[i] = dropped || rows->found->tts_isnull[i];
	}
	ExecStoreVirtualTuple(rows->changed);
}

bool
row_find(Rows *rows, int64 id)
{
	ScanKeyData condition;

	CHECK_FOR_INTERRUPTS();
	ScanKeyInit(&condition, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(id));
	index_rescan(rows->scan, &condition, 1, NULL, 0);
	if (!index_getnext_slot(rows->scan, ForwardScanDirection, rows->found))
		return false;
	copy_values(rows);
	return true;
}

/* Return a transaction that has locked a tuple and runs, or InvalidTransactionId. */
static TransactionId
find_locker(HeapTupleHeader tuple)
{
	TransactionId xmax = HeapTupleHeaderGetRawXmax(tuple);
	MultiXactMember *members;
	int			nmembers;

	if ((tuple->t_infomask & HEAP_XMAX_IS_MULTI) == 0)
		return TransactionIdIsNormal(xmax) ? xmax : InvalidTransactionId;
	nmembers = GetMultiXactIdMembers(xmax, &members, false, HEAP_XMAX_IS_LOCKED_ONLY(tuple->t_infomask));
	for (int i = 0; i < nmembers; i++)
		if (members[i].status != MultiXactStatusForKeyShare && TransactionIdIsInProgress(members[i].xid))
			return members[i].xid;
	return InvalidTransactionId;
}

/* Tell those who look which transaction has locked the row. */
static void
note_locker(const Rows *rows)
{
	HeapTuple	tuple = ExecFetchSlotHeapTuple(rows->found, false, NULL);
	TransactionId locker = find_locker(tuple->t_data);
	bool		isnull;

	if (TransactionIdIsValid(locker))
		registry_worker_row_locked(DatumGetInt64(row_value(rows, OUTBOX_ID, &isnull)), locker);
}

RowLock
row_lock(Rows *rows, LockWaitPolicy policy)
{
	ItemPointerData place = rows->found->tts_tid;
	TM_FailureData failure;
	TM_Result	result;

	result = table_tuple_lock(rows->table, &place, rows->estate->es_snapshot, rows->found,
							  rows->estate->es_output_cid, rows->lock_mode, policy,
							  TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
	if (result == TM_WouldBlock)
	{
		note_locker(rows);
		return ROW_LOCKED_BY_OTHERS;
	}
	if (result != TM_Ok)
		return ROW_GONE;
	copy_values(rows);
	return ROW_LOCKED;
}

Datum
row_value(const Rows *rows, enum OutboxColumn column, bool *isnull)
{
	*isnull = rows->changed->tts_isnull[column - 1];
	return rows->changed->tts_values[column - 1];
}

Oid
row_status(const Rows *rows)
{
	bool		isnull;
	Datum		value = row_value(rows, OUTBOX_STATUS, &isnull);

	return isnull ? InvalidOid : DatumGetObjectId(value);
}

bool
row_has_label(const Rows *rows, enum OutboxColumn column, const char *label)
{
	bool		isnull;
	Datum		value = row_value(rows, column, &isnull);

	return !isnull && DatumGetObjectId(value) == label_value(rows, column, label);
}

Size
row_size(const Rows *rows, enum OutboxColumn column)
{
	bool		isnull;
	Datum		value = row_value(rows, column, &isnull);

	return isnull ? 0 : toast_raw_datum_size(value) - VARHDRSZ;
}

char *
row_string(const Rows *rows, enum OutboxColumn column)
{
	bool		isnull;
	Datum		value = row_value(rows, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

char *
row_name(const Rows *rows, enum OutboxColumn column)
{
	bool		isnull;
	Datum		value = row_value(rows, column, &isnull);

	return pstrdup(isnull ? "" : NameStr(*DatumGetName(value)));
}

int
row_number(const Rows *rows, enum OutboxColumn column, Oid type)
{
	bool		isnull;
	Datum		value = row_value(rows, column, &isnull);

	if (isnull)
		return NULL_NUMBER;
	return type == INT2OID ? DatumGetInt16(value) : DatumGetInt32(value);
}

TimestampTz
row_time(const Rows *rows, enum OutboxColumn column, TimestampTz null)
{
	bool		isnull;
	Datum		value = row_value(rows, column, &isnull);

	return isnull ? null : DatumGetTimestampTz(value);
}

void
row_set(Rows *rows, enum OutboxColumn column, Datum value)
{
	rows->changed->tts_values[column - 1] = value;
	rows->changed->tts_isnull[column - 1] = false;
}

void
row_set_null(Rows *rows, enum OutboxColumn column)
{
	rows->changed->tts_values[column - 1] = (Datum) 0;
	rows->changed->tts_isnull[column - 1] = true;
}

void
row_set_string(Rows *rows, enum OutboxColumn column, const char *value)
{
	if (value)
		row_set(rows, column, CStringGetTextDatum(value));
	else
		row_set_null(rows, column);
}

void
row_set_label(Rows *rows, enum OutboxColumn column, const char *label)
{
	row_set(rows, column, ObjectIdGetDatum(label_value(rows, column, label)));
}

void
row_write(Rows *rows)
{
	/* The executor does not know of it, but a constraint may. */
	rows->changed->tts_tableOid = RelationGetRelid(rows->table);
	ExecSimpleRelationUpdate(rows->target, rows->estate, &rows->epq, rows->found, rows->changed);
	ResetPerTupleExprContext(rows->estate);
}
