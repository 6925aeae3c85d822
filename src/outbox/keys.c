/*
 * keys.c
 *		Who holds a dedup_key.
 *
 * The code that sets a final status knows nothing of keys.  A message gives its key
 * away only when another one is queued with it, which locks its row, so that two
 * sessions at once let one message in.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "outbox/keys.h"
#include "outbox/owner.h"
#include "outbox/status.h"

/* The messages that did not reach their recipients and hold a key. */
#define GIVES_KEY_AWAY \
	"o.dedup_released IS NOT TRUE" \
	" AND o.status IN ('cancelled', 'rejected', 'failed', 'expired', 'suppressed')"

/* Return whether the table has the column that tells who holds a key. */
static bool
has_keys(Oid namespace)
{
	Oid			oid = get_relname_relid(OUTBOX_TABLE, namespace);
	Relation	table = OidIsValid(oid) ? try_table_open(oid, AccessShareLock) : NULL;
	bool		has = table && columns_have(table, OUTBOX_DEDUP_RELEASED);

	if (table)
		table_close(table, NoLock);
	return has;
}

/* Return the index of the keys, opened; NULL if the table's owner has dropped it. */
static Relation
open_index(Relation table)
{
	List	   *indexes = RelationGetIndexList(table);
	ListCell   *cell;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (index->rd_index->indisunique && index->rd_index->indisvalid &&
			index->rd_index->indnkeyatts > 1 &&
			index->rd_index->indkey.values[0] == OUTBOX_SENDER &&
			index->rd_index->indkey.values[1] == OUTBOX_DEDUP_KEY)
			return index;
		index_close(index, AccessShareLock);
	}
	return NULL;
}

/* Return whether a row holds its key and can give it away. */
static bool
gives_key_away(TupleTableSlot *row)
{
	bool		isnull;
	bool		no_status;
	Datum		released = slot_getattr(row, OUTBOX_DEDUP_RELEASED, &isnull);
	Datum		status = slot_getattr(row, OUTBOX_STATUS, &no_status);

	if (no_status || (!isnull && DatumGetBool(released)))
		return false;
	switch (status_of_label(DatumGetCString(DirectFunctionCall1(enum_out, status))))
	{
		case STATUS_CANCELLED:
		case STATUS_REJECTED:
		case STATUS_FAILED:
		case STATUS_EXPIRED:
		case STATUS_SUPPRESSED:
			return true;
		default:
			return false;
	}
}

/*
 * Return whether a message can give a key away.  Most often there is none, and then
 * this saves most of the time that the statement takes.
 */
static bool
can_be_released(Relation table, Name sender, Datum key)
{
	Relation	index = open_index(table);
	TupleTableSlot *row;
	IndexScanDesc scan;
	ScanKeyData conditions[2];
	bool		found = false;

	if (index == NULL)
		return true;
	row = table_slot_create(table, NULL);
	ScanKeyEntryInitialize(&conditions[0], 0, 1, BTEqualStrategyNumber, InvalidOid,
						   index->rd_indcollation[0], F_NAMEEQ, NameGetDatum(sender));
	ScanKeyEntryInitialize(&conditions[1], 0, 2, BTEqualStrategyNumber, InvalidOid,
						   index->rd_indcollation[1], F_TEXTEQ, key);
	scan = begin_index_scan(table, index, SnapshotSelf, 2);
	index_rescan(scan, conditions, 2, NULL, 0);
	while (!found && index_getnext_slot(scan, ForwardScanDirection, row))
		found = gives_key_away(row);
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(row);
	index_close(index, AccessShareLock);
	return found;
}

static Statement release_statement = {
	.sql = "UPDATE %s AS o SET dedup_released = true"
	" WHERE o.sender = $1 AND o.dedup_key = $2 AND o.id <> $3 AND " GIVES_KEY_AWAY,
	.nargs = 3, .argtypes = {NAMEOID, TEXTOID, INT8OID}
};

void
keys_release(Relation table, Name sender, Datum key, int64 id)
{
	Datum		values[] = {NameGetDatum(sender), key, Int64GetDatum(id)};

	if (columns_have(table, OUTBOX_DEDUP_RELEASED) && can_be_released(table, sender, key))
		run_as_owner(RelationGetNamespace(table), &release_statement, values, NULL);
}

static Statement release_for_statement = {
	.sql = "UPDATE %1$s AS o SET dedup_released = true FROM %1$s AS t"
	" WHERE t.id = $1 AND o.sender = t.sender AND o.dedup_key = t.dedup_key AND o.id <> t.id"
	" AND " GIVES_KEY_AWAY,
	.nargs = 1, .argtypes = {INT8OID}
};

static Statement reclaim_statement = {
	.sql = "UPDATE %s SET dedup_released = NULL WHERE id = $1 AND dedup_released",
	.nargs = 1, .argtypes = {INT8OID}
};

void
keys_reclaim(Oid namespace, int64 id)
{
	Datum		values[] = {Int64GetDatum(id)};

	if (!has_keys(namespace))
		return;
	run_as_owner(namespace, &release_for_statement, values, NULL);
	run_as_owner(namespace, &reclaim_statement, values, NULL);
}

/* Of the messages with one key, the newest gets it. */
#define NEWEST_OF_KEY \
	"(SELECT sender, dedup_key, pg_catalog.max(id) AS id FROM %1$s" \
	" WHERE id = ANY ($1) AND dedup_key IS NOT NULL AND status NOT IN ('queued', 'sending', 'sent')" \
	" GROUP BY sender, dedup_key) AS t"

static Statement release_for_many_statement = {
	.sql = "UPDATE %1$s AS o SET dedup_released = true FROM " NEWEST_OF_KEY
	" WHERE o.sender = t.sender AND o.dedup_key = t.dedup_key AND o.id <> t.id"
	" AND " GIVES_KEY_AWAY,
	.nargs = 1, .argtypes = {INT8ARRAYOID}
};

static Statement reclaim_many_statement = {
	.sql = "UPDATE %1$s AS o SET dedup_released = NULL FROM " NEWEST_OF_KEY
	" WHERE o.id = t.id AND o.dedup_released"
	" AND NOT EXISTS (SELECT FROM %1$s AS h WHERE h.sender = o.sender AND h.dedup_key = o.dedup_key"
	"  AND h.id <> o.id AND h.dedup_released IS NOT TRUE)",
	.nargs = 1, .argtypes = {INT8ARRAYOID}
};

bool
keys_reclaim_many(Oid namespace, Datum ids)
{
	if (!has_keys(namespace))
		return false;
	run_as_owner(namespace, &release_for_many_statement, &ids, NULL);
	run_as_owner(namespace, &reclaim_many_statement, &ids, NULL);
	return true;
}
