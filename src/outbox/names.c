/*
 * names.c
 *		Protect the names of accounts for which messages wait.
 *
 * A message names its account.  When a server is renamed or dropped, its messages
 * stay queued, and an account that takes the name later sends them.  Their texts
 * must not go to any role that may create a server, and so to any URL.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_type.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "account/account.h"
#include "outbox/access.h"
#include "outbox/names.h"
#include "outbox/owner.h"

static object_access_hook_type prev_object_access_hook = NULL;

/* Read the name of an account as the current command has left it; false if it is not one. */
static bool
read_name(Oid serverid, NameData *name)
{
	Relation	servers = table_open(ForeignServerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		is_account = false;

	ScanKeyInit(&key, Anum_pg_foreign_server_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(serverid));
	scan = systable_beginscan(servers, ForeignServerOidIndexId, true, SnapshotSelf, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_foreign_server server = (Form_pg_foreign_server) GETSTRUCT(tuple);

		*name = server->srvname;
		is_account = server->srvfdw == account_wrapper();
	}
	systable_endscan(scan);
	table_close(servers, AccessShareLock);
	return is_account;
}

static Statement waiting_statement = {
	.sql = "SELECT pg_catalog.count(*) FROM"
	" ((SELECT FROM %1$s AS o WHERE o.origin = $1 AND o.account = $2 AND o.due_at IS NOT NULL LIMIT 1)"
	" UNION ALL (SELECT FROM %1$s AS o"
	"  WHERE o.origin <> $1 AND o.account = $2 AND o.due_at IS NOT NULL LIMIT 1)) AS q",
	.nargs = 2, .argtypes = {INT8OID, NAMEOID}, .reads = true
};

/* Refuse a name for which messages wait, unless to those who may read and send them all. */
static void
check_name(Name name)
{
	Oid			namespace;
	Oid			table;
	Datum		values[] = {Int64GetDatum(outbox_origin()), NameGetDatum(name)};

	if (superuser() || extension_find(&namespace) == EXTENSION_MISSING)
		return;
	table = get_relname_relid(OUTBOX_TABLE, namespace);
	if (!OidIsValid(table) || has_privs_of_role(GetUserId(), outbox_owner(table)) ||
		run_as_owner(namespace, &waiting_statement, values, NULL) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to use \"%s\" as the name of an account", NameStr(*name)),
			 errdetail("Messages are waiting for an account of this name."),
			 errhint("Use another name, or have a superuser or the owner of %s do this.",
					 OUTBOX_TABLE)));
}

/* Check the name of a new or renamed account. */
static void
on_object_access(ObjectAccessType access, Oid class, Oid object, int sub_id, void *arg)
{
	NameData	name;

	if (prev_object_access_hook)
		prev_object_access_hook(access, class, object, sub_id, arg);
	if (class != ForeignServerRelationId ||
		(access != OAT_POST_CREATE && access != OAT_POST_ALTER) || !read_name(object, &name))
		return;
	if (access == OAT_POST_ALTER)
	{
		ForeignServer *former = GetForeignServerExtended(object, FSV_MISSING_OK);

		if (former == NULL || strcmp(former->servername, NameStr(name)) != 0)
			check_name(&name);
	}
	else
		check_name(&name);
}

void
names_watch(void)
{
	prev_object_access_hook = object_access_hook;
	object_access_hook = on_object_access;
}
