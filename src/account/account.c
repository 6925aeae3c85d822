/*
 * account.c
 *		Look up accounts by name, in a cache that follows the catalogs.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "common/hashfn.h"
#include "foreign/foreign.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
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

/* Return the server of a user mapping, or InvalidOid. */
static Oid
server_of_mapping(Oid mapping)
{
	HeapTuple	tuple = SearchSysCache1(USERMAPPINGOID, ObjectIdGetDatum(mapping));
	Oid			serverid = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		serverid = ((Form_pg_user_mapping) GETSTRUCT(tuple))->umserver;
		ReleaseSysCache(tuple);
	}
	return serverid;
}

/*
 * Wake the worker when an account is renamed or dropped, or a mapping is dropped.
 *
 * Messages may be waiting for an account of the new name, and the worker keeps
 * the state of a stopped account under the old one.  What a stopped mapping held up is
 * sent with the one for PUBLIC.
 */
static void
on_object_access(ObjectAccessType access, Oid class, Oid object, int sub_id, void *arg)
{
	if (prev_object_access_hook)
		prev_object_access_hook(access, class, object, sub_id, arg);
	if ((access == OAT_POST_ALTER || access == OAT_DROP) &&
		class == ForeignServerRelationId && is_account(object))
		wake_for_anything();
	if (access == OAT_DROP && class == UserMappingRelationId && is_account(server_of_mapping(object)))
		wake_at_commit(GetCurrentTransactionStartTimestamp(), DT_NOEND);
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

typedef struct CacheEntry
{
	NameData	name;			/* first: the key */
	const Account *account;
} CacheEntry;

static MemoryContext cache_context = NULL;
static HTAB *cache = NULL;		/* of accounts by name */
static const Account *found_last = NULL;	/* in it, as most are asked for again */
static HTAB *mapping_summaries = NULL;	/* by server; NULL: not read yet */
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
		cache = NULL;
		mapping_summaries = NULL;
		found_last = NULL;
	}
	if (cache_context == NULL)
		cache_context = AllocSetContextCreate(TopMemoryContext, "sms3300 accounts",
											  ALLOCSET_SMALL_SIZES);
	cached_generation = catalog_generation;
	if (cache == NULL)
	{
		HASHCTL		control = {
			.keysize = NAMEDATALEN, .entrysize = sizeof(CacheEntry), .hcxt = cache_context
		};

		cache = hash_create("sms3300 accounts", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
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

uint64
account_mapping_version(Oid serverid, Oid user)
{
	HeapTuple	mapping = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(user),
										  ObjectIdGetDatum(serverid));
	uint64		version = 0;

	if (HeapTupleIsValid(mapping))
	{
		version = Max(stir(0, mapping), 1);
		ReleaseSysCache(mapping);
	}
	return version;
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

/* The user mappings of a server together. */
typedef struct MappingSummary
{
	Oid			serverid;		/* first: the key */
	int			n;
	uint64		version;		/* changes when any of them is altered */
} MappingSummary;

/* Read the mappings of all servers once, into memory of the cache. */
static void
summarize_mappings(void)
{
	HASHCTL		control = {
		.keysize = sizeof(Oid), .entrysize = sizeof(MappingSummary), .hcxt = cache_context
	};
	Relation	mappings = table_open(UserMappingRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(mappings, InvalidOid, false, NULL, 0, NULL);
	HTAB	   *table = hash_create("sms3300 mappings", 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Oid			serverid = ((Form_pg_user_mapping) GETSTRUCT(tuple))->umserver;
		bool		found;
		MappingSummary *summary = hash_search(table, &serverid, HASH_ENTER, &found);

		if (!found)
			summary->version = summary->n = 0;
		summary->n++;
		summary->version += stir(0, tuple);
	}
	systable_endscan(scan);
	table_close(mappings, AccessShareLock);
	mapping_summaries = table;
}

/* Return the mappings of a server together. */
static MappingSummary
mapping_summary(Oid serverid)
{
	MappingSummary *summary;

	if (mapping_summaries == NULL)
		summarize_mappings();
	summary = hash_search(mapping_summaries, &serverid, HASH_FIND, NULL);
	return summary ? *summary : (MappingSummary) {.serverid = serverid};
}

/* Tell whether an error is that of an option's value, or of its name. */
static bool
is_option_error(int sqlerrcode)
{
	int			category = ERRCODE_TO_CATEGORY(sqlerrcode);

	return category == ERRCODE_DATA_EXCEPTION || category == ERRCODE_FDW_ERROR ||
		category == ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION;
}

/*
 * Return the account that stored options describe.  They were valid when they were stored,
 * and may no longer be: a time zone can be missing after an upgrade of the system.  Such an
 * account is paused, and raises no error in what reads all accounts.
 */
static Account *
read_account(List *options)
{
	MemoryContext context = CurrentMemoryContext;
	Account    *account;

	/* Reading touches nothing but memory, so nothing has to be undone. */
	PG_TRY();
	{
		account = account_from_options(options);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (!is_option_error(error->sqlerrcode))
			PG_RE_THROW();
		FlushErrorState();
		account = account_from_options(NIL);
		account->paused = true;
		account->unreadable = error->message;
	}
	PG_END_TRY();
	return account;
}

const Account *
account_find(const char *name)
{
	NameData	key;
	CacheEntry *entry;
	Oid			serverid;
	ForeignServer *server;
	Account    *account;
	uint64		of_server;
	MappingSummary mappings;
	MemoryContext caller;

	refresh_cache();
	if (found_last && strcmp(found_last->name, name) == 0)
		return found_last;
	namestrcpy(&key, name);
	entry = hash_search(cache, &key, HASH_FIND, NULL);
	if (entry)
		return found_last = entry->account;

	serverid = get_foreign_server_oid(name, true);
	if (!OidIsValid(serverid))
		return NULL;
	server = GetForeignServer(serverid);
	if (server->fdwid != get_foreign_data_wrapper_oid(WRAPPER_NAME, true))
		return NULL;

	of_server = server_version(serverid);
	mappings = mapping_summary(serverid);

	caller = MemoryContextSwitchTo(cache_context);
	account = read_account(server->options);
	account->serverid = serverid;
	account->version = of_server + mappings.version;
	account->server_version = of_server;
	account->nmappings = mappings.n;
	account->name = pstrdup(name);
	MemoryContextSwitchTo(caller);
	entry = hash_search(cache, &key, HASH_ENTER, NULL);
	entry->account = account;
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
