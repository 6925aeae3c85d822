/*
 * compat.h
 *		What differs between PostgreSQL 14 and 19, and between libcurl versions.
 *
 * This is the only file that looks at PG_VERSION_NUM or LIBCURL_VERSION_NUM.
 */
#ifndef SMS3300_COMPAT_H
#define SMS3300_COMPAT_H

#ifndef FRONTEND
#include "access/genam.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_foreign_server.h"
#include "executor/executor.h"
#include "foreign/foreign.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/snapshot.h"
#include "utils/wait_event.h"
#if PG_VERSION_NUM >= 150000
#include "common/pg_prng.h"
#endif
#if PG_VERSION_NUM >= 160000
#include "parser/parse_relation.h"
#include "varatt.h"
#endif
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif
#if PG_VERSION_NUM >= 190000
#include "utils/lsyscache.h"	/* get_database_name() */
#else
#include "commands/dbcommands.h"
#endif
#endif

/* 18 lets a module say its name and version. */
#ifdef PG_MODULE_MAGIC_EXT
#define MODULE_MAGIC(name_, version_) PG_MODULE_MAGIC_EXT(.name = (name_), .version = (version_))
#else
#define MODULE_MAGIC(name_, version_) PG_MODULE_MAGIC
#endif

#ifndef FRONTEND

/* 15 reserves a prefix of setting names; before, it only warned. */
#if PG_VERSION_NUM < 150000
#define MarkGUCPrefixReserved(prefix) EmitWarningsOnPlaceholders(prefix)
#endif

/* 15 asks for shared memory in a hook of its own. */
#if PG_VERSION_NUM >= 150000
#define HAVE_SHMEM_REQUEST_HOOK
#endif

/* 16 replaced the aclcheck and ownercheck functions of each kind of object by one each. */
static inline bool
foreign_server_ownercheck(Oid serverid, Oid roleid)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(ForeignServerRelationId, serverid, roleid);
#else
	return pg_foreign_server_ownercheck(serverid, roleid);
#endif
}

static inline AclResult
foreign_server_aclcheck(Oid serverid, Oid roleid, AclMode mode)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ForeignServerRelationId, serverid, roleid, mode);
#else
	return pg_foreign_server_aclcheck(serverid, roleid, mode);
#endif
}

static inline bool
database_ownercheck(Oid database, Oid roleid)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(DatabaseRelationId, database, roleid);
#else
	return pg_database_ownercheck(database, roleid);
#endif
}

/* 17 ties wait event sets to resource owners; ours lives as long as the process. */
static inline WaitEventSet *
create_wait_event_set(MemoryContext context, int nevents)
{
#if PG_VERSION_NUM >= 170000
	(void) context;
	return CreateWaitEventSet(NULL, nevents);
#else
	return CreateWaitEventSet(context, nevents);
#endif
}

/* 17 lets extensions name what they wait for. */
static inline uint32
wait_event_named(const char *name)
{
#if PG_VERSION_NUM >= 170000
	return WaitEventExtensionNew(name);
#else
	(void) name;
	return PG_WAIT_EXTENSION;
#endif
}

/* Return the sequence of an identity column, InvalidOid if it is none.  17 takes the table itself. */
static inline Oid
identity_sequence(Relation table, AttrNumber column)
{
#if PG_VERSION_NUM >= 170000
	return getIdentitySequence(table, column, true);
#else
	return getIdentitySequence(RelationGetRelid(table), column, true);
#endif
}

/* 15 has random numbers of its own, in [0, 1). */
static inline double
random_fraction(void)
{
#if PG_VERSION_NUM >= 150000
	return pg_prng_double(&pg_global_prng_state);
#else
	return (double) random() / ((double) MAX_RANDOM_VALUE + 1);
#endif
}

/* Make a table the range table's only entry.  18 wants to know what was not pruned. */
static inline void
init_range_table(EState *estate, Relation table)
{
	RangeTblEntry *entry = makeNode(RangeTblEntry);
#if PG_VERSION_NUM >= 160000
	List	   *permissions = NIL;
#endif

	entry->rtekind = RTE_RELATION;
	entry->relid = RelationGetRelid(table);
	entry->relkind = table->rd_rel->relkind;
	entry->rellockmode = RowExclusiveLock;
#if PG_VERSION_NUM >= 160000
	addRTEPermissionInfo(&permissions, entry);
#endif
#if PG_VERSION_NUM >= 180000
	ExecInitRangeTable(estate, list_make1(entry), permissions, bms_make_singleton(1));
#elif PG_VERSION_NUM >= 160000
	ExecInitRangeTable(estate, list_make1(entry), permissions);
#else
	ExecInitRangeTable(estate, list_make1(entry));
#endif
}

/* Say which columns of that table are updated.  16 keeps them apart from its entry. */
static inline void
set_updated_columns(EState *estate, Bitmapset *columns)
{
#if PG_VERSION_NUM >= 160000
	linitial_node(RTEPermissionInfo, estate->es_rteperminfos)->updatedCols = columns;
#else
	exec_rt_fetch(1, estate)->updatedCols = columns;
#endif
}

/* 16 lets rows be checked again in several tables; here nothing is planned, and so nothing is. */
static inline void
init_epq_state(EPQState *epq, EState *estate)
{
#if PG_VERSION_NUM >= 160000
	EvalPlanQualInit(epq, estate, NULL, NIL, -1, NIL);
#else
	EvalPlanQualInit(epq, estate, NULL, NIL, -1);
#endif
}

/* 18 counts what a scan does, for EXPLAIN; 19 takes flags. */
static inline IndexScanDesc
begin_index_scan(Relation table, Relation index, Snapshot snapshot, int nkeys)
{
#if PG_VERSION_NUM >= 190000
	return index_beginscan(table, index, snapshot, NULL, nkeys, 0, 0);
#elif PG_VERSION_NUM >= 180000
	return index_beginscan(table, index, snapshot, NULL, nkeys, 0);
#else
	return index_beginscan(table, index, snapshot, nkeys, 0);
#endif
}

/* A jsonb that is being built.  19 keeps the result with the state. */
#if PG_VERSION_NUM >= 190000
typedef JsonbInState JsonbBuild;
#else
typedef struct JsonbBuild
{
	JsonbParseState *state;
	JsonbValue *result;			/* once the last token was added */
} JsonbBuild;
#endif

/* Add a token, and its value if it has one. */
static inline void
add_to_jsonb(JsonbBuild *build, JsonbIteratorToken token, JsonbValue *value)
{
#if PG_VERSION_NUM >= 190000
	pushJsonbValue(build, token, value);
#else
	build->result = pushJsonbValue(&build->state, token, value);
#endif
}

#endif							/* !FRONTEND */

/* 16 lets the actions of a JSON parse end it; 17 lets the caller hold the lexer. */
#if PG_VERSION_NUM >= 160000
#define JSON_ACTION_RESULT JsonParseErrorType
#define JSON_ACTION_DONE return JSON_SUCCESS
#else
#define JSON_ACTION_RESULT void
#define JSON_ACTION_DONE return
#endif

#if PG_VERSION_NUM >= 170000
#define json_lexer(text, len) makeJsonLexContextCstringLen(NULL, (text), (len), PG_UTF8, true)
#else
#define json_lexer(text, len) makeJsonLexContextCstringLen((text), (int) (len), PG_UTF8, true)
#endif

/* 7.85 takes protocols by name. */
#ifdef LIBCURL_VERSION_NUM
#if LIBCURL_VERSION_NUM >= 0x075500
#define curl_allow_http_only(easy) \
	curl_easy_setopt((easy), CURLOPT_PROTOCOLS_STR, "http,https")
#else
#define curl_allow_http_only(easy) \
	curl_easy_setopt((easy), CURLOPT_PROTOCOLS, (long) (CURLPROTO_HTTP | CURLPROTO_HTTPS))
#endif

/*
 * 7.80 asks before it sends a request, and so can be kept from sending it again
 * on another connection.  An older one must not reuse connections: only where
 * one was reused it sends again.  That it begins to send is seen from the
 * time that it notes, which from 8.22 on is there without a connection, too.
 */
#if LIBCURL_VERSION_NUM >= 0x075000
#define curl_ask_before_request(easy, function, arg) \
	(curl_easy_setopt((easy), CURLOPT_PREREQFUNCTION, (function)), \
	 curl_easy_setopt((easy), CURLOPT_PREREQDATA, (arg)))
#define curl_has_begun(easy) false
#define CURL_REUSES_CONNECTIONS true
#else
#define CURL_REUSES_CONNECTIONS false
#define CURL_PREREQFUNC_OK 0
#define CURL_PREREQFUNC_ABORT 1
#define curl_ask_before_request(easy, function, arg) \
	((void) (function))

static inline bool
curl_has_begun(CURL *easy)
{
	curl_off_t	begun = 0;

	curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &begun);
	return begun != 0;
}
#endif

/* 7.80 can be told not to use a connection that was opened so many seconds ago. */
#if LIBCURL_VERSION_NUM >= 0x075000
#define curl_limit_lifetime(easy, seconds) \
	curl_easy_setopt((easy), CURLOPT_MAXLIFETIME_CONN, (long) (seconds))
#else
#define curl_limit_lifetime(easy, seconds) ((void) 0)
#endif

/*
 * 7.87 need not wait for the thread of a name that does not resolve when it gives
 * a transfer up, and keeps certificates for a day: a file that was changed would
 * not be read.
 */
#if LIBCURL_VERSION_NUM >= 0x075700
#define CURL_JOINS_RESOLVER false
#define curl_no_resolver_join(easy) curl_easy_setopt((easy), CURLOPT_QUICK_EXIT, 1L)
#define curl_no_ca_cache(easy) curl_easy_setopt((easy), CURLOPT_CA_CACHE_TIMEOUT, 0L)
#else
#define CURL_JOINS_RESOLVER true
#define curl_no_resolver_join(easy) ((void) 0)
#define curl_no_ca_cache(easy) ((void) 0)
#endif

/*
 * Have libcurl parse no file of certificates.  From 8.21 on it parses its default
 * one unless it is given another, for which any certificate will do.  The library
 * may be newer than its header here; without the option it does so in vain.
 */
static inline bool
curl_read_no_certificates(CURL *easy, const char *certificate)
{
#if LIBCURL_VERSION_NUM >= 0x074d00
	if (certificate && curl_version_info(CURLVERSION_NOW)->version_num >= 0x081500)
	{
		struct curl_blob blob = {.data = unconstify(char *, certificate),
			.len = strlen(certificate),.flags = CURL_BLOB_COPY};

		return curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob) == CURLE_OK;
	}
#endif
	return curl_easy_setopt(easy, CURLOPT_CAINFO, NULL) == CURLE_OK;
}

/* From 8.7 on a handle keeps what it has sent until it is used again, the password too. */
#define CURL_KEEPS_REQUEST (LIBCURL_VERSION_NUM >= 0x080700)

/*
 * From 8.22 on libcurl looks only once a second whether a connection is still
 * alive, and otherwise sends on a dead one; so it is told to keep none.  The
 * library may be newer than its header here; one before 8.16 refuses the option,
 * and looks each time.
 */
#define curl_close_idle(multi) \
	curl_multi_setopt((multi), (CURLMoption) (CURLOPTTYPE_LONG + 17), 1L << 1)
#endif							/* LIBCURL_VERSION_NUM */

#endif							/* SMS3300_COMPAT_H */
