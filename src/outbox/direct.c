/*
 * direct.c
 *		Rows of sms_outbox, written without a statement.
 *
 * A claim and a result are each a new version of one row whose number is known:
 * that needs no plan, and no executor to run one.  Rows are written here as they
 * are where a subscription applies changes, with the table's constraints and its
 * indexes, and without waiting for anybody.
 *
 * That is only so where nothing of a user's has to run as well: triggers, rules
 * and the like are the business of statements, which are used else, and for
 * whatever could not be done here.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "outbox/direct.h"
#include "outbox/statement.h"

/* The columns that are written, or would be by a statement. */
static const int written[] = {
	OUTBOX_STATUS, OUTBOX_ATTEMPTS, OUTBOX_DUE_AT, OUTBOX_STARTED_AT, OUTBOX_FINISHED_AT,
	OUTBOX_HTTP_STATUS, OUTBOX_API_STATUS, OUTBOX_MESSAGE_ID, OUTBOX_SENT_LINE,
	OUTBOX_RESPONSE, OUTBOX_ERROR, OUTBOX_ERRORS
};

/* Of the table, between the first direct_begin() of a transaction and direct_close() */
static Relation table = NULL;
static EState *estate;
static ResultRelInfo *target;
static Oid	key;				/* the index on id */
static BlockNumber nblocks;		/* at least so many */
static TupleTableSlot *found;	/* the row as it is */
static TupleTableSlot *changed; /* and as it is to be */

/* The columns that are written, as the executor has them. */
static Bitmapset *
written_columns(void)
{
	Bitmapset  *columns = NULL;

	for (size_t i = 0; i < lengthof(written); i++)
		columns = bms_add_member(columns, written[i] - FirstLowInvalidHeapAttributeNumber);
	return columns;
}

/*
 * Tell whether a trigger runs where the columns are written; one for columns of a
 * user's may, as they can be generated from those.
 */
static bool
runs(const Trigger *trigger)
{
	if (!TRIGGER_FOR_UPDATE(trigger->tgtype) || trigger->tgenabled == TRIGGER_DISABLED)
		return false;
	for (int i = 0; i < trigger->tgnattr; i++)
	{
		if (trigger->tgattr[i] > OUTBOX_ORIGIN)
			return true;
		for (size_t j = 0; j < lengthof(written); j++)
			if (trigger->tgattr[i] == written[j])
				return true;
	}
	return trigger->tgnattr == 0;
}

/* Tell whether any trigger runs where the columns are written, but those of a key that is referred to. */
static bool
runs_triggers(Relation relation)
{
	const TriggerDesc *triggers = relation->trigdesc;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
		if (runs(&triggers->triggers[i]) &&
			RI_FKey_trigger_type(triggers->triggers[i].tgfoid) != RI_TRIGGER_PK)
			return true;
	return false;
}

/* Tell whether one of the columns is in a key, which others may refer to. */
static bool
changes_key(Relation relation)
{
	return bms_overlap(RelationGetIndexAttrBitmap(relation, INDEX_ATTR_BITMAP_KEY),
					   written_columns());
}

/* Tell whether an index finds a row by its id. */
static bool
is_key(Relation index)
{
	return index->rd_index->indisprimary && index->rd_index->indisvalid &&
		index->rd_index->indnkeyatts == 1 && index->rd_index->indkey.values[0] == OUTBOX_ID;
}

bool
direct_possible(Relation relation)
{
	const TupleConstr *constraints = RelationGetDescr(relation)->constr;

	return relation->rd_rel->relam == HEAP_TABLE_AM_OID && relation->rd_rules == NULL &&
		!relation->rd_rel->relhassubclass && !relation->rd_rel->relispartition &&
		!relation->rd_rel->relforcerowsecurity &&
		!(constraints && constraints->has_generated_stored) &&
		!runs_triggers(relation) && !changes_key(relation);
}

/* Open the table and its indexes. */
static void
open_table(Oid oid)
{
	Relation	relation = table_open(oid, NoLock);

	columns_check(relation);
	CheckCmdReplicaIdentity(relation, CMD_UPDATE);
	estate = CreateExecutorState();
	init_range_table(estate, relation, written_columns());
	target = makeNode(ResultRelInfo);
	InitResultRelInfo(target, relation, 1, NULL, 0);
	ExecOpenIndices(target, false);
	nblocks = RelationGetNumberOfBlocks(relation);
	key = InvalidOid;
	for (int i = 0; i < target->ri_NumIndices; i++)
		if (is_key(target->ri_IndexRelationDescs[i]))
			key = RelationGetRelid(target->ri_IndexRelationDescs[i]);
	found = table_slot_create(relation, NULL);
	changed = table_slot_create(relation, NULL);
	table = relation;
}

/* Begin to read and write rows; what this transaction did before is seen. */
void
direct_begin(Oid oid)
{
	if (table == NULL)
		open_table(oid);
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
}

/* End reading and writing rows, until the next time. */
void
direct_end(void)
{
	ExecClearTuple(found);
	ExecClearTuple(changed);
	PopActiveSnapshot();
	CommandCounterIncrement();
}

/* Close the table, if it was opened. */
void
direct_close(void)
{
	if (table == NULL)
		return;
	ExecDropSingleTupleTableSlot(found);
	ExecDropSingleTupleTableSlot(changed);
	ExecCloseIndices(target);
	FreeExecutorState(estate);
	table_close(table, NoLock);
	table = NULL;
}

/* Forget the table: the transaction has failed, and closed it. */
void
direct_forget(void)
{
	table = NULL;
}

/* Make room on a page, as an index scan does: the row's next version goes there, too, if it can. */
static void
prune(BlockNumber block)
{
	Buffer		buffer = ReadBuffer(table, block);

	heap_page_prune_opt(table, buffer);
	ReleaseBuffer(buffer);
}

/* Tell whether the table has a block; it may have grown since that was asked for. */
static bool
has_block(BlockNumber block)
{
	if (block >= nblocks)
		nblocks = RelationGetNumberOfBlocks(table);
	return block < nblocks;
}

/*
 * Read the row at a place; false if there is none, or not the one of this id: the
 * table may have been truncated, or written anew, since it was seen there.
 */
static bool
read_row(int64 id, ItemPointer place)
{
	bool		isnull;

	ExecClearTuple(found);
	if (!ItemPointerIsValid(place) || !has_block(ItemPointerGetBlockNumber(place)))
		return false;
	prune(ItemPointerGetBlockNumber(place));
	return table_tuple_fetch_row_version(table, place, GetActiveSnapshot(), found) &&
		DatumGetInt64(slot_getattr(found, OUTBOX_ID, &isnull)) == id;
}

/* Look for the place of a row in the index on id; false if there is none. */
static bool
direct_look_up(int64 id, ItemPointer place)
{
	ScanKeyData condition;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!OidIsValid(key))
		return false;
	ScanKeyInit(&condition, OUTBOX_ID, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(id));
	scan = systable_beginscan(table, key, true, GetActiveSnapshot(), 1, &condition);
	tuple = systable_getnext(scan);
	if (tuple)
		*place = tuple->t_self;
	systable_endscan(scan);
	return tuple != NULL;
}

/* Find a row, which may be at a place: where it once was.  False if it is not to be seen. */
bool
direct_find(int64 id, ItemPointer place)
{
	ItemPointerData other;

	CHECK_FOR_INTERRUPTS();
	if (!read_row(id, place) && !(direct_look_up(id, &other) && read_row(id, &other)))
		return false;
	slot_getallattrs(found);
	ExecClearTuple(changed);
	memcpy(changed->tts_values, found->tts_values, sizeof(Datum) * found->tts_nvalid);
	memcpy(changed->tts_isnull, found->tts_isnull, sizeof(bool) * found->tts_nvalid);
	return true;
}

/* A value of the row that was found. */
Datum
direct_value(enum OutboxColumn column, bool *isnull)
{
	*isnull = found->tts_isnull[column - 1];
	return found->tts_values[column - 1];
}

/* A text of the row that was found, NULL if it is null. */
char *
direct_string(enum OutboxColumn column)
{
	bool		isnull;
	Datum		value = direct_value(column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* A name of the row that was found; empty if it is null, which its owner has seen to. */
char *
direct_name(enum OutboxColumn column)
{
	bool		isnull;
	Datum		value = direct_value(column, &isnull);

	return pstrdup(isnull ? "" : NameStr(*DatumGetName(value)));
}

/* A small number of the row that was found, NULL_NUMBER if it is null. */
int
direct_number(enum OutboxColumn column, Oid type)
{
	bool		isnull;
	Datum		value = direct_value(column, &isnull);

	if (isnull)
		return NULL_NUMBER;
	return type == INT2OID ? DatumGetInt16(value) : DatumGetInt32(value);
}

/* A time of the row that was found, or what stands for null. */
TimestampTz
direct_time(enum OutboxColumn column, TimestampTz null)
{
	bool		isnull;
	Datum		value = direct_value(column, &isnull);

	return isnull ? null : DatumGetTimestampTz(value);
}

/* The status of a label. */
Oid
direct_status(const char *label)
{
	Oid			type = TupleDescAttr(RelationGetDescr(table), OUTBOX_STATUS - 1)->atttypid;
	Oid			status = GetSysCacheOid2(ENUMTYPOIDNAME, Anum_pg_enum_oid, ObjectIdGetDatum(type),
										 CStringGetDatum(label));

	if (!OidIsValid(status))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the type of status has no \"%s\"", label)));
	return status;
}

/* Set a value of the row that was found. */
void
direct_set(enum OutboxColumn column, Datum value, bool isnull)
{
	changed->tts_values[column - 1] = value;
	changed->tts_isnull[column - 1] = isnull;
}

/* Set a text of the row that was found; NULL is null. */
void
direct_set_string(enum OutboxColumn column, const char *value)
{
	direct_set(column, value ? CStringGetTextDatum(value) : (Datum) 0, value == NULL);
}

/*
 * Tell whether somebody has the row that was found locked, or is changing it.  An
 * update that does not wait would say so, but heaps do not support that.
 */
static bool
is_being_modified(void)
{
	BufferHeapTupleTableSlot *row = (BufferHeapTupleTableSlot *) found;
	TM_Result	result;

	LockBuffer(row->buffer, BUFFER_LOCK_SHARE);
	result = HeapTupleSatisfiesUpdate(row->base.tuple, GetCurrentCommandId(false), row->buffer);
	LockBuffer(row->buffer, BUFFER_LOCK_UNLOCK);
	return result == TM_BeingModified;
}

/* Lock the row that was found; false if somebody else has it locked, or has changed it meanwhile. */
static bool
lock_row(void)
{
	TM_FailureData failure;

	return table_tuple_lock(table, &found->tts_tid, GetActiveSnapshot(), found,
							GetCurrentCommandId(true), LockTupleNoKeyExclusive, LockWaitSkip, 0,
							&failure) == TM_Ok;
}

/*
 * Write the row that was found, with what was set; where to.  False if somebody
 * else has it locked, or it has been changed meanwhile.  Who only keeps its key from
 * being changed is not in the way, but has to be told apart.
 */
bool
direct_write(ItemPointer place)
{
	TM_Result	result = TM_BeingModified;

	ExecStoreVirtualTuple(changed);
	changed->tts_tableOid = RelationGetRelid(table);
	if (RelationGetDescr(table)->constr)
		ExecConstraints(target, changed, estate);
	ExecMaterializeSlot(changed);
	if (!is_being_modified() || lock_row())
		result = update_row(target, estate, &found->tts_tid, changed);
	ResetPerTupleExprContext(estate);
	*place = changed->tts_tid;
	return result == TM_Ok;
}
