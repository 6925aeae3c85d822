/*
 * account.c
 *		Look up accounts by name, in a cache that follows the catalogs.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "common/hashfn.h"
#include "foreign/foreign.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "account/account.h"
#include "account/options.h"
#include "compat.h"
#include "shared/wake.h"

#define WRAPPER_NAME "sms3300"
char	   *account_default_name = NULL;

/* -------------------------------------------------------------------------
 * Changes that do not reach the validator
 * ------------------------------------------------------------------------- */

static object_access_hook_type prev_object_access_hook = NULL;

Oid
account_wrapper(void)
{
	return get_foreign_data_wrapper_oid(WRAPPER_NAME, true);
}

/* Return whether a server is an account. */
static bool
is_account(Oid serverid)
{
	ForeignServer *server = GetForeignServerExtended(serverid, FSV_MISSING_OK);

	return server && server->fdwid == get_foreign_data_wrapper_oid(WRAPPER_NAME, true);
}

/*
 * Wake the worker when an account is renamed or dropped.
 *
 * Messages may be waiting for an account of the new name, and the worker keeps
 * the state of a stopped account under the old one.
 */
static void
on_object_access(ObjectAccessType access, Oid class, Oid object, int sub_id, void *arg)
{
	if (prev_object_access_hook)
		prev_object_access_hook(access, class, object, sub_id, arg);
	if ((access == OAT_POST_ALTER || access == OAT_DROP) &&
		class == ForeignServerRelationId && is_account(object))
		wake_for_anything();
}

/* Install the hook that sees accounts being renamed and dropped. */
void
account_watch(void)
{
	prev_object_access_hook = object_access_hook;
	object_access_hook = on_object_access;
}

/* -------------------------------------------------------------------------
 * Accounts by name
 * ------------------------------------------------------------------------- */

static MemoryContext cache_context = NULL;
static List *cache = NIL;		/* of Account */
static uint64 catalog_generation = 0;
static uint64 cached_generation = 0;

/* Note that a server, a user mapping or a wrapper was altered. */
static void
on_invalidation(Datum arg, int cacheid, uint32 hashvalue)
{
	catalog_generation++;
}

/* Begin to follow the catalogs. */
static void
follow_catalogs(void)
{
	static bool following = false;

	if (following)
		return;
	CacheRegisterSyscacheCallback(FOREIGNDATAWRAPPEROID, on_invalidation, (Datum) 0);
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, on_invalidation, (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, on_invalidation, (Datum) 0);
	following = true;
}

/*
 * Empty the cache if the catalogs have changed.  What it contained stays until the
 * end of the transaction, because callers may still use it: a user's policy, for
 * one, can alter an account while a message of that account is explained.
 */
static void
refresh_cache(void)
{
	follow_catalogs();
	if (cache_context && cached_generation != catalog_generation)
	{
		if (cache && TopTransactionContext)
			MemoryContextSetParent(cache_context, TopTransactionContext);
		else
			MemoryContextDelete(cache_context);
		cache_context = NULL;
		cache = NIL;
	}
	if (cache_context == NULL)
		cache_context = AllocSetContextCreate(TopMemoryContext, "sms3300 accounts",
											  ALLOCSET_SMALL_SIZES);
	cached_generation = catalog_generation;
}

/* Mix the identity of a catalog tuple into a hash. */
static uint64
stir(uint64 hash, HeapTuple tuple)
{
	uint64		key[] = {
		HeapTupleHeaderGetRawXmin(tuple->t_data),
		ItemPointerGetBlockNumber(&tuple->t_self),
		ItemPointerGetOffsetNumber(&tuple->t_self)
	};

	return hash_bytes_extended((const unsigned char *) key, sizeof(key), hash);
}

/* Return a number that changes when a server is altered. */
static uint64
server_version(Oid serverid)
{
	HeapTuple	server = SearchSysCache1(FOREIGNSERVEROID, ObjectIdGetDatum(serverid));
	uint64		version = 0;

	if (HeapTupleIsValid(server))
	{
		version = stir(version, server);
		ReleaseSysCache(server);
	}
	return version;
}

/* Return a number that changes when a server of a version or any of its mappings is altered. */
static uint64
account_version(Oid serverid, uint64 version)
{
	Relation	mappings;
	SysScanDesc scan;
	HeapTuple	tuple;

	mappings = table_open(UserMappingRelationId, AccessShareLock);
	scan = systable_beginscan(mappings, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		if (((Form_pg_user_mapping) GETSTRUCT(tuple))->umserver == serverid)
			version = stir(version, tuple);
	systable_endscan(scan);
	table_close(mappings, AccessShareLock);
	return version;
}

const Account *
account_find(const char *name)
{
	ListCell   *cell;
	Oid			serverid;
	ForeignServer *server;
	Account    *account;
	uint64		of_server;
	uint64		version;
	MemoryContext caller;

	refresh_cache();
	foreach(cell, cache)
	{
		account = lfirst(cell);
		if (strcmp(account->name, name) == 0)
			return account;
	}

	serverid = get_foreign_server_oid(name, true);
	if (!OidIsValid(serverid))
		return NULL;
	server = GetForeignServer(serverid);
	if (server->fdwid != get_foreign_data_wrapper_oid(WRAPPER_NAME, true))
		return NULL;

	of_server = server_version(serverid);
	version = account_version(serverid, of_server);

	caller = MemoryContextSwitchTo(cache_context);
	account = account_from_options(server->options);
	account->serverid = serverid;
	account->version = version;
	account->server_version = of_server;
	account->name = pstrdup(name);
	cache = lappend(cache, account);
	MemoryContextSwitchTo(caller);
	return account;
}

List *
account_names(void)
{
	List	   *names = NIL;
	Oid			wrapper = get_foreign_data_wrapper_oid(WRAPPER_NAME, true);
	Relation	servers;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!OidIsValid(wrapper))
		return NIL;

	servers = table_open(ForeignServerRelationId, AccessShareLock);
	scan = systable_beginscan(servers, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_foreign_server server = (Form_pg_foreign_server) GETSTRUCT(tuple);

		if (server->srvfdw == wrapper)
			names = lappend(names, pstrdup(NameStr(server->srvname)));
	}
	systable_endscan(scan);
	table_close(servers, AccessShareLock);
	return names;
}

uint64
account_generation(void)
{
	refresh_cache();
	return catalog_generation;
}
