/*
 * locks.c
 *		Who holds the locks on sms_outbox that others wait for.
 *
 * Found in pg_locks, as a person would do it, which names prepared transactions too
 * and is the same in all versions.  Nothing here opens the table.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "outbox/columns.h"
#include "outbox/locks.h"
#include "outbox/statement.h"

bool
locks_take_for_reading(Oid namespace)
{
	Oid			oid = get_relname_relid(OUTBOX_TABLE, namespace);
	Relation	table;
	ListCell   *cell;
	bool		taken = true;

	if (!OidIsValid(oid) || !ConditionalLockRelationOid(oid, AccessShareLock))
		return false;
	table = try_table_open(oid, NoLock);
	if (table == NULL)
		return false;
	foreach(cell, RelationGetIndexList(table))
		taken = taken && ConditionalLockRelationOid(lfirst_oid(cell), AccessShareLock);
	table_close(table, NoLock);
	return taken;
}

/* What the holders are joined with: a prepared transaction has no process. */
#define HOLDER \
	"SELECT l.pid, x.gid, a.query" \
	" FROM pg_catalog.pg_locks AS l" \
	" LEFT JOIN pg_catalog.pg_prepared_xacts AS x" \
	"  ON l.pid IS NULL AND EXISTS (SELECT FROM pg_catalog.pg_locks AS t" \
	"   WHERE t.pid IS NULL AND t.locktype OPERATOR(pg_catalog.=) 'transactionid'" \
	"   AND t.virtualtransaction OPERATOR(pg_catalog.=) l.virtualtransaction" \
	"   AND t.transactionid OPERATOR(pg_catalog.=) x.transaction)" \
	" LEFT JOIN pg_catalog.pg_stat_activity AS a" \
	"  ON a.pid OPERATOR(pg_catalog.=) l.pid AND a.query OPERATOR(pg_catalog.<>) '<insufficient privilege>'" \
	" WHERE l.granted AND coalesce(l.pid, 0) OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()"

/* Run a query for holders; the first one is it. */
static LockHolder
find_holder(const char *query, Oid type, Datum value)
{
	LockHolder	holder = {0};
	MemoryContext caller = CurrentMemoryContext;
	bool		had_snapshot = ActiveSnapshotSet();

	if (!had_snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	if (SPI_execute_with_args(query, 1, &type, &value, NULL, true, 1) == SPI_OK_SELECT &&
		SPI_processed > 0)
	{
		HeapTuple	tuple = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		char	   *pid = SPI_getvalue(tuple, desc, 1);
		char	   *gid = SPI_getvalue(tuple, desc, 2);
		char	   *text = SPI_getvalue(tuple, desc, 3);

		holder.pid = pid ? pg_strtoint32(pid) : 0;
		holder.gid = gid ? MemoryContextStrdup(caller, gid) : NULL;
		holder.query = text ? MemoryContextStrdup(caller, text) : NULL;
	}
	SPI_finish();
	if (!had_snapshot)
		PopActiveSnapshot();
	return holder;
}

/* The modes that conflict with the one that writing takes. */
LockHolder
locks_find_table_holder(Oid namespace)
{
	return find_holder(HOLDER
					   " AND l.locktype OPERATOR(pg_catalog.=) 'relation'"
					   " AND l.database OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database AS d"
					   "  WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())"
					   " AND l.relation OPERATOR(pg_catalog.=) $1"
					   " AND l.mode OPERATOR(pg_catalog.=) ANY ('{ShareLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}')"
					   " ORDER BY l.pid LIMIT 1",
					   OIDOID, ObjectIdGetDatum(get_relname_relid(OUTBOX_TABLE, namespace)));
}

LockHolder
locks_find_row_holder(TransactionId xid)
{
	return find_holder(HOLDER
					   " AND l.locktype OPERATOR(pg_catalog.=) 'transactionid'"
					   " AND l.transactionid OPERATOR(pg_catalog.=) $1"
					   " AND l.mode OPERATOR(pg_catalog.=) 'ExclusiveLock' LIMIT 1",
					   XIDOID, TransactionIdGetDatum(xid));
}

const char *
locks_name_holder(const LockHolder *holder)
{
	if (holder->gid)
		return psprintf("prepared transaction \"%s\"", holder->gid);
	if (holder->pid != 0)
		return psprintf("process %d", holder->pid);
	return "another session";
}
