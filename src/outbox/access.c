/*
 * access.c
 *		The worker's access to sms_outbox, and the extension that it belongs to.
 *
 * The worker's statements run as the table's owner in a security-restricted
 * operation, because they fire triggers that users put on the table; nothing but
 * pg_catalog is in its search_path.
 *
 * A server runs one library, the one that was installed when it started; each
 * of its databases has the version of the extension that CREATE EXTENSION or
 * ALTER EXTENSION UPDATE gave it.  A library serves its own version and all
 * earlier ones.  What a later one means, it cannot know.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "outbox/access.h"
#include "outbox/opt_out.h"
#include "outbox/statement.h"

/* Between outbox_open and outbox_close */
static Oid	namespace = InvalidOid;
static Oid	saved_user;
static int	saved_security_context;
static int	saved_nest_level;
static Oid	table = InvalidOid;	/* stays, to find it again */

/* Compare versions: numbers with dots between them. */
static int
compare_versions(const char *a, const char *b)
{
	while (*a || *b)
	{
		char	   *rest_of_a;
		char	   *rest_of_b;
		unsigned long x = strtoul(a, &rest_of_a, 10);
		unsigned long y = strtoul(b, &rest_of_b, 10);

		if (x != y)
			return x < y ? -1 : 1;
		if (rest_of_a == a && rest_of_b == b)
			return strcmp(a, b);
		a = rest_of_a + (*rest_of_a == '.');
		b = rest_of_b + (*rest_of_b == '.');
	}
	return 0;
}

/* Look the extension up: its schema and its version. */
static ExtensionAge
look_up_extension(Oid *namespace, const char **version)
{
	ExtensionAge age = EXTENSION_MISSING;
	Relation	extensions;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	*version = NULL;
	extensions = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("sms3300"));
	scan = systable_beginscan(extensions, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_pg_extension_extversion,
										 RelationGetDescr(extensions), &isnull);
		int			order;

		*namespace = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
		*version = TextDatumGetCString(value);
		order = compare_versions(*version, SMS3300_VERSION);
		age = order < 0 ? EXTENSION_OLDER : order > 0 ? EXTENSION_NEWER : EXTENSION_CURRENT;
	}
	systable_endscan(scan);
	table_close(extensions, AccessShareLock);
	return age;
}

/* Find the extension's schema. */
ExtensionAge
extension_find(Oid *namespace)
{
	const char *version;

	return look_up_extension(namespace, &version);
}

/* If the extension is of the age given, say which versions there are; NULL: it is not. */
const char *
extension_mismatch(ExtensionAge age)
{
	Oid			namespace;
	const char *version;

	if (look_up_extension(&namespace, &version) != age || age == EXTENSION_MISSING)
		return NULL;
	return psprintf("the extension has version %s but the loaded library has version %s",
					version, SMS3300_VERSION);
}

int64
outbox_origin(void)
{
	static int64 origin = 0;

	if (origin == 0)
	{
		struct
		{
			uint64		system;
			uint64		database;
		}			key = {GetSystemIdentifier(), MyDatabaseId};

		origin = (int64) hash_bytes_extended((const unsigned char *) &key, sizeof(key), 0);
	}
	return origin;
}

Oid
outbox_owner(Oid table)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * Find the table.  One that has been renamed, or moved to another schema, since this
 * process used it is found all the same, as requests on the wire await their results.
 */
static Oid
find_table(Oid namespace, bool *moved)
{
	Oid			found = get_relname_relid(OUTBOX_TABLE, namespace);

	*moved = !OidIsValid(found) && OidIsValid(table) &&
		getExtensionOfObject(RelationRelationId, table) == get_extension_oid("sms3300", true);
	return *moved ? table : found;
}

/*
 * Begin to work on the table in the current transaction.  Never waits for a
 * lock: who holds one, such as DROP EXTENSION, may hold it for long.  The same
 * applies to the lock on sms_opt_out, without which no message may be claimed.
 *
 * Deferred triggers are made immediate, because at the commit they would run
 * with the worker's rights; and what a trigger sets is undone at the end.
 */
OutboxAccess
outbox_open(void)
{
	Oid			found = InvalidOid;
	ExtensionAge age = extension_find(&found);
	Oid			owner;
	bool		moved;
	ConstraintsSetStmt immediate = {.type = T_ConstraintsSetStmt};

	table = OidIsValid(found) ? find_table(found, &moved) : InvalidOid;
	if (!OidIsValid(table))
		return OUTBOX_MISSING;
	if (!ConditionalLockRelationOid(table, RowExclusiveLock) || opt_out_is_locked(found))
		return OUTBOX_LOCKED;
	owner = outbox_owner(table);
	if (!OidIsValid(owner))
		return OUTBOX_MISSING;

	GetUserIdAndSecContext(&saved_user, &saved_security_context);
	SetUserIdAndSecContext(owner, saved_security_context | SECURITY_RESTRICTED_OPERATION);
	saved_nest_level = NewGUCNestLevel();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	AfterTriggerSetState(&immediate);
	namespace = found;
	return moved ? OUTBOX_MOVED : age == EXTENSION_NEWER ? OUTBOX_NEWER : OUTBOX_OPEN;
}

/* End the work on the table, before the transaction commits. */
void
outbox_close(void)
{
	SPI_finish();
	PopActiveSnapshot();
	AtEOXact_GUC(false, saved_nest_level);
	SetUserIdAndSecContext(saved_user, saved_security_context);
}

/* The schema of the table that is open. */
Oid
outbox_namespace(void)
{
	return namespace;
}

/* The table that is open. */
Oid
outbox_table(void)
{
	return table;
}
