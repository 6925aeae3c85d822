/*
 * locks.c
 *		Who holds the locks that sending waits for, on sms_outbox, its rows and sms_opt_out.
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
#include "outbox/opt_out.h"
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

/* Whose a session is, what it is doing, and since when its transaction lasts. */
#define SESSION \
	"pg_catalog.concat_ws(', ', 'role ' OPERATOR(pg_catalog.||) a.usename::pg_catalog.text," \
	" CASE WHEN a.application_name OPERATOR(pg_catalog.<>) '' THEN pg_catalog.concat('application ', a.application_name) END," \
	" a.state, CASE WHEN a.xact_start IS NOT NULL" \
	"  THEN pg_catalog.concat('transaction begun at ', pg_catalog.date_trunc('second', a.xact_start)) END)"

/*
 * What the holders are joined with: a prepared transaction has no process, and the
 * lock of a transaction has no table.
 */
#define HOLDER \
	"SELECT l.pid, x.gid, a.query, coalesce(x.prepared, a.xact_start), c.relname::pg_catalog.text," \
	" CASE WHEN a.pid IS NOT NULL THEN " SESSION " END" \
	" FROM pg_catalog.pg_locks AS l" \
	" LEFT JOIN pg_catalog.pg_class AS c" \
	"  ON l.locktype OPERATOR(pg_catalog.=) 'relation' AND c.oid OPERATOR(pg_catalog.=) l.relation" \
	" LEFT JOIN pg_catalog.pg_prepared_xacts AS x" \
	"  ON l.pid IS NULL AND EXISTS (SELECT FROM pg_catalog.pg_locks AS t" \
	"   WHERE t.pid IS NULL AND t.locktype OPERATOR(pg_catalog.=) 'transactionid'" \
	"   AND t.virtualtransaction OPERATOR(pg_catalog.=) l.virtualtransaction" \
	"   AND t.transactionid OPERATOR(pg_catalog.=) x.transaction)" \
	" LEFT JOIN pg_catalog.pg_stat_activity AS a" \
	"  ON a.pid OPERATOR(pg_catalog.=) l.pid AND a.query OPERATOR(pg_catalog.<>) '<insufficient privilege>'" \
	" WHERE coalesce(l.pid, 0) OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()"

/* The oid of this database. */
#define THIS_DATABASE \
	"(SELECT d.oid FROM pg_catalog.pg_database AS d" \
	" WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())"

/* Return a string of the first row of a result in a memory context, NULL if it is null. */
static char *
first_string(MemoryContext context, int column)
{
	char	   *value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column);

	return value ? MemoryContextStrdup(context, value) : NULL;
}

/*
 * Run a query for holders of a lock, on a table or on a row; the first one is it.
 * False if there is none.
 */
static bool
find_holder(const char *query, int nargs, Oid *types, Datum *values, LockHolder *holder)
{
	MemoryContext caller = CurrentMemoryContext;
	bool		had_snapshot = ActiveSnapshotSet();
	bool		found;

	memset(holder, 0, sizeof(LockHolder));

	if (!had_snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	found = SPI_execute_with_args(query, nargs, types, values, NULL, true, 1) == SPI_OK_SELECT &&
		SPI_processed > 0;
	if (found)
	{
		char	   *pid = first_string(caller, 1);
		bool		isnull;
		Datum		since = statement_value(0, 4, &isnull);

		holder->pid = pid ? pg_strtoint32(pid) : 0;
		holder->gid = first_string(caller, 2);
		holder->query = first_string(caller, 3);
		holder->since = isnull ? 0 : DatumGetTimestampTz(since);
		holder->table = first_string(caller, 5);
		holder->session = first_string(caller, 6);
	}
	SPI_finish();
	if (!had_snapshot)
		PopActiveSnapshot();
	return found;
}

/*
 * The modes are those that conflict with writing sms_outbox and reading sms_opt_out.  A
 * session that waits for such a lock is in the way, too, if nobody has it.
 */
LockHolder
locks_find_table_holder(Oid namespace)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(namespace)};
	LockHolder	holder;

	find_holder(HOLDER
				" AND l.database OPERATOR(pg_catalog.=) " THIS_DATABASE
				" AND c.relnamespace OPERATOR(pg_catalog.=) $1"
				" AND (c.relname OPERATOR(pg_catalog.=) '" OUTBOX_TABLE "'"
				"   AND l.mode OPERATOR(pg_catalog.=) ANY ('{ShareLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}')"
				"  OR c.relname OPERATOR(pg_catalog.=) '" OPT_OUT_TABLE "'"
				"   AND l.mode OPERATOR(pg_catalog.=) 'AccessExclusiveLock')"
				" ORDER BY l.granted DESC, c.relname DESC, l.pid LIMIT 1",
				lengthof(types), types, values, &holder);
	if (holder.table == NULL)
		holder.table = OUTBOX_TABLE;
	return holder;
}

LockHolder
locks_find_row_holder(TransactionId xid)
{
	Oid			types[] = {XIDOID};
	Datum		values[] = {TransactionIdGetDatum(xid)};
	LockHolder	holder;

	find_holder(HOLDER
				" AND l.granted AND l.locktype OPERATOR(pg_catalog.=) 'transactionid'"
				" AND l.transactionid OPERATOR(pg_catalog.=) $1"
				" AND l.mode OPERATOR(pg_catalog.=) 'ExclusiveLock' LIMIT 1",
				lengthof(types), types, values, &holder);
	return holder;
}

/* The locks of a table, or of a row of it. */
#define OF_TABLE(locks, table) \
	locks ".database OPERATOR(pg_catalog.=) " THIS_DATABASE \
	" AND " locks ".relation OPERATOR(pg_catalog.=) (SELECT r.oid FROM pg_catalog.pg_class AS r" \
	"  WHERE r.relnamespace OPERATOR(pg_catalog.=) $1 AND r.relname OPERATOR(pg_catalog.=) '" table "')"

/*
 * A session that waits for a row has a lock on the tuple, and waits for the end of a
 * transaction.  The first one that is in the way is a prepared transaction if it is 0.
 * Those who write sms_opt_out wait for each other, which is in nobody's way unless the
 * worker waits behind them.
 */
bool
locks_find_waiter(Oid namespace, TimestampTz before, bool records_opt_outs, LockHolder *holder)
{
	Oid			types[] = {OIDOID, TIMESTAMPTZOID, BOOLOID};
	Datum		values[] = {
		ObjectIdGetDatum(namespace), TimestampTzGetDatum(before), BoolGetDatum(records_opt_outs)
	};

	return find_holder("SELECT CASE WHEN b.pid OPERATOR(pg_catalog.<>) 0 THEN b.pid END, NULL, a.query, w.waitstart,"
					   " (SELECT c.relname::pg_catalog.text FROM pg_catalog.pg_class AS c"
					   "  WHERE w.locktype OPERATOR(pg_catalog.=) 'relation' AND c.oid OPERATOR(pg_catalog.=) w.relation),"
					   " CASE WHEN a.pid IS NOT NULL THEN " SESSION " END"
					   " FROM pg_catalog.pg_locks AS w"
					   " CROSS JOIN LATERAL (SELECT (pg_catalog.pg_blocking_pids(w.pid))[1] AS pid) AS b"
					   " LEFT JOIN pg_catalog.pg_stat_activity AS a"
					   "  ON a.pid OPERATOR(pg_catalog.=) b.pid AND a.query OPERATOR(pg_catalog.<>) '<insufficient privilege>'"
					   " WHERE NOT w.granted AND w.waitstart OPERATOR(pg_catalog.<=) $2"
					   " AND (w.locktype OPERATOR(pg_catalog.=) 'relation' AND " OF_TABLE("w", OUTBOX_TABLE)
					   "  OR w.locktype OPERATOR(pg_catalog.=) 'relation' AND " OF_TABLE("w", OPT_OUT_TABLE)
					   "   AND EXISTS (SELECT FROM pg_catalog.pg_locks AS s"
					   "    WHERE s.locktype OPERATOR(pg_catalog.=) 'relation' AND " OF_TABLE("s", OPT_OUT_TABLE)
					   "    AND (s.mode OPERATOR(pg_catalog.=) 'AccessExclusiveLock' OR $3"
					   "     AND s.mode OPERATOR(pg_catalog.=) ANY ('{ShareLock,ShareRowExclusiveLock,ExclusiveLock}')))"
					   "  OR w.locktype OPERATOR(pg_catalog.=) 'transactionid'"
					   "   AND EXISTS (SELECT FROM pg_catalog.pg_locks AS t"
					   "    WHERE t.pid OPERATOR(pg_catalog.=) w.pid AND t.locktype OPERATOR(pg_catalog.=) 'tuple'"
					   "    AND " OF_TABLE("t", OUTBOX_TABLE) "))"
					   " ORDER BY w.waitstart LIMIT 1",
					   lengthof(types), types, values, holder);
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
