/*
 * account.c
 *		A server becomes an account; the validator.
 */
#include "postgres.h"

#include <ctype.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/table.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "account.h"
#include "compat.h"
#include "text.h"
#include "url.h"
#include "wake.h"

#define WRAPPER_NAME "sms3300"
#define DEFAULT_URL "https://sms.3300.ir/api/wsSend.ashx"

/* The gateway's error codes as far as they are known; accounts may override. */
#define DEFAULT_TRANSIENT_CODES "15, 23, 409"
#define DEFAULT_ACCOUNT_CODES "12, 14, 16-20, 22, 29"
#define DEFAULT_REFUSED_CODES "1-4, 6, 13, 25, 27, 28, 30, 100-110"

PG_FUNCTION_INFO_V1(sms3300_fdw_validator);

/* -------------------------------------------------------------------------
 * Options of a server
 * ------------------------------------------------------------------------- */

/* Refuse an option's value, saying what would do. */
static void
invalid_value(const char *name, const char *value, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for option \"%s\": \"%s\"", name, value),
			 errdetail("Expected is %s.", expected)));
}

/* Read a whole number within bounds. */
static int
parse_int_option(const char *name, const char *value, int min, int max)
{
	char	   *end;
	long		number;

	errno = 0;
	number = strtol(value, &end, 10);
	if (errno != 0 || !isdigit((unsigned char) *value) || *end != '\0' || number < min || number > max)
		invalid_value(name, value, psprintf("a whole number from %d to %d", min, max));
	return (int) number;
}

/* Read an interval literal as microseconds, days being 24 hours and months 30 days. */
static int64
parse_duration(const char *name, const char *value, bool zero_allowed)
{
	Interval   *interval = DatumGetIntervalP(DirectFunctionCall3(interval_in,
																 CStringGetDatum(value),
																 ObjectIdGetDatum(InvalidOid),
																 Int32GetDatum(-1)));
	double		microseconds = (double) interval->time +
		((double) interval->month * DAYS_PER_MONTH + interval->day) * USECS_PER_DAY;

	if (microseconds < 0 || (microseconds == 0 && !zero_allowed) ||
		microseconds > 100.0 * DAYS_PER_YEAR * USECS_PER_DAY)
		invalid_value(name, value, zero_allowed ?
					  "an interval from 0 to 100 years" :
					  "an interval above 0, of 100 years at most");
	return (int64) microseconds;
}

/* Check the URL of the endpoint. */
static void
check_url(const char *name, const char *value)
{
	const char *problem = url_problem(value);

	if (problem)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\"", name),
				 errdetail("%s", problem),
				 errhint("Give a URL such as %s; credentials belong in a user mapping.",
						 DEFAULT_URL)));
}

/* Read a number of messages a second. */
static double
parse_rate(const char *name, const char *value)
{
	char	   *end;
	double		rate;

	errno = 0;
	rate = strtod(value, &end);
	if (errno != 0 || value[strspn(value, "0123456789.")] != '\0' || end == value || *end != '\0' ||
		rate > 1000000 || (rate > 0 && rate < 1e-6))
		invalid_value(name, value, "a number of messages a second from 0.000001 to 1000000, or 0 for no limit");
	return rate;
}

typedef enum OptionKind
{
	OPTION_URL,
	OPTION_FILE,				/* superusers only */
	OPTION_LINE,
	OPTION_INT,
	OPTION_RATE,
	OPTION_DURATION,
	OPTION_DURATION_OR_ZERO,
	OPTION_ON_UNKNOWN,
	OPTION_CODES,				/* min: the verdict; max: not used */
	OPTION_BOOL
} OptionKind;

typedef struct ServerOption
{
	const char *name;
	OptionKind	kind;
	size_t		offset;			/* in Account */
	int			min;
	int			max;
} ServerOption;

static const ServerOption server_options[] =
{
	{"url", OPTION_URL, offsetof(Account, url), 0, 0},
	{"line", OPTION_LINE, offsetof(Account, line), 0, 0},
	{"line2", OPTION_LINE, offsetof(Account, line2), 0, 0},
	{"type", OPTION_INT, offsetof(Account, type), 0, 2},
	{"template", OPTION_INT, offsetof(Account, template), 0, PG_INT32_MAX},
	{"max_in_flight", OPTION_INT, offsetof(Account, max_in_flight), 1, 100000},
	{"rate", OPTION_RATE, offsetof(Account, rate), 0, 0},
	{"timeout", OPTION_DURATION, offsetof(Account, timeout), 0, 0},
	{"connect_timeout", OPTION_DURATION, offsetof(Account, connect_timeout), 0, 0},
	{"validity", OPTION_DURATION, offsetof(Account, validity), 0, 0},
	{"max_attempts", OPTION_INT, offsetof(Account, max_attempts), 1, 1000},
	{"on_unknown", OPTION_ON_UNKNOWN, offsetof(Account, resend_unknown), 0, 0},
	{"transient_codes", OPTION_CODES, offsetof(Account, codes), VERDICT_TRANSIENT, 0},
	{"account_codes", OPTION_CODES, offsetof(Account, codes), VERDICT_ACCOUNT, 0},
	{"refused_codes", OPTION_CODES, offsetof(Account, codes), VERDICT_REJECTED, 0},
	{"paused", OPTION_BOOL, offsetof(Account, paused), 0, 0},
	{"retention", OPTION_DURATION_OR_ZERO, offsetof(Account, retention), 0, 0},
	{"redact_after", OPTION_DURATION_OR_ZERO, offsetof(Account, redact_after), 0, 0},
	{"ca_file", OPTION_FILE, offsetof(Account, ca_file), 0, 0},
};

/* Set what an option says, or refuse its value. */
static void
set_option(Account *account, const ServerOption *option, const char *value)
{
	const char *name = option->name;
	void	   *field = (char *) account + option->offset;

	switch (option->kind)
	{
		case OPTION_URL:
			check_url(name, value);
			*(char **) field = pstrdup(value);
			break;
		case OPTION_FILE:
			if (!is_absolute_path(value))
				invalid_value(name, value, "an absolute path on the server");
			*(char **) field = pstrdup(value);
			break;
		case OPTION_LINE:
			*(char **) field = line_from_text(value, (int) strlen(value), name);
			break;
		case OPTION_INT:
			*(int *) field = parse_int_option(name, value, option->min, option->max);
			break;
		case OPTION_RATE:
			*(double *) field = parse_rate(name, value);
			break;
		case OPTION_DURATION:
		case OPTION_DURATION_OR_ZERO:
			*(int64 *) field = parse_duration(name, value, option->kind == OPTION_DURATION_OR_ZERO);
			break;
		case OPTION_ON_UNKNOWN:
			if (strcmp(value, "hold") != 0 && strcmp(value, "resend") != 0)
				invalid_value(name, value, "\"hold\" or \"resend\"");
			*(bool *) field = strcmp(value, "resend") == 0;
			break;
		case OPTION_CODES:
			if (!gateway_codes_add(field, GATEWAY_MAX_RANGES, value, (GatewayVerdict) option->min))
				invalid_value(name, value, psprintf("a list of codes and ranges, such as 15, 100-110, of %d at most in all",
													GATEWAY_MAX_RANGES));
			break;
		case OPTION_BOOL:
			if (!parse_bool(value, (bool *) field))
				invalid_value(name, value, "a boolean");
			break;
	}
}

/* Find a server's option by its name; NULL if there is none. */
static const ServerOption *
find_server_option(const char *name)
{
	for (size_t i = 0; i < lengthof(server_options); i++)
		if (strcmp(server_options[i].name, name) == 0)
			return &server_options[i];
	return NULL;
}

/* Tell whether an option is in a list. */
static bool
is_given(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
		if (strcmp(lfirst_node(DefElem, cell)->defname, name) == 0)
			return true;
	return false;
}

/* Add the default meaning of error codes, unless an option gives it. */
static void
add_default_codes(Account *account, List *options, const char *option,
				  const char *codes, GatewayVerdict verdict)
{
	if (!is_given(options, option))
		gateway_codes_add(&account->codes, GATEWAY_MAX_RANGES + GATEWAY_MORE_RANGES, codes, verdict);
}

/* Say which option an error is about. */
static void
option_context(void *name)
{
	errcontext("option \"%s\"", (const char *) name);
}

/*
 * The account that a list of valid options describes, in the current context.
 * Codes that an option gives come before the defaults, and so override them.
 */
static Account *
account_from_options(List *options)
{
	Account    *account = palloc0(sizeof(Account));
	ErrorContextCallback context = {.previous = error_context_stack, .callback = option_context};
	ListCell   *cell;
	int			code;

	account->url = pstrdup(DEFAULT_URL);
	account->type = GATEWAY_NONE;
	account->template = GATEWAY_NONE;
	account->max_in_flight = 32;
	account->timeout = 30 * USECS_PER_SEC;
	account->connect_timeout = 5 * USECS_PER_SEC;
	account->validity = USECS_PER_DAY;
	account->max_attempts = 10;
	account->retention = -1;
	account->redact_after = -1;

	error_context_stack = &context;
	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);
		const ServerOption *known = find_server_option(option->defname);

		context.arg = option->defname;
		if (known)
			set_option(account, known, defGetString(option));
	}
	error_context_stack = context.previous;

	if (gateway_codes_overlap(&account->codes, &code))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("error code %d is in two classes", code),
				 errdetail("A code is in one of transient_codes, account_codes and refused_codes at most.")));
	add_default_codes(account, options, "transient_codes", DEFAULT_TRANSIENT_CODES, VERDICT_TRANSIENT);
	add_default_codes(account, options, "account_codes", DEFAULT_ACCOUNT_CODES, VERDICT_ACCOUNT);
	add_default_codes(account, options, "refused_codes", DEFAULT_REFUSED_CODES, VERDICT_REJECTED);
	return account;
}

/* -------------------------------------------------------------------------
 * The validator
 * ------------------------------------------------------------------------- */

static const char *const mapping_options[] = {"username", "password", "password_file"};

/* Tell whether a user mapping has an option of this name. */
static bool
is_mapping_option(const char *name)
{
	for (size_t i = 0; i < lengthof(mapping_options); i++)
		if (strcmp(mapping_options[i], name) == 0)
			return true;
	return false;
}

/* The names of the options valid on an object of a catalog. */
static char *
valid_options(Oid catalog)
{
	StringInfoData names;

	initStringInfo(&names);
	if (catalog == ForeignServerRelationId)
		for (size_t i = 0; i < lengthof(server_options); i++)
			appendStringInfo(&names, "%s%s", i ? ", " : "", server_options[i].name);
	else if (catalog == UserMappingRelationId)
		for (size_t i = 0; i < lengthof(mapping_options); i++)
			appendStringInfo(&names, "%s%s", i ? ", " : "", mapping_options[i]);
	return names.data;
}

/* Refuse an option that has no meaning where it was given. */
static void
refuse_option(const char *name, Oid catalog)
{
	if (catalog == ForeignServerRelationId && is_mapping_option(name))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("option \"%s\" belongs in a user mapping", name),
				 errdetail("Everybody can read the options of a server."),
				 errhint("Use CREATE USER MAPPING ... OPTIONS (%s ...).", name)));
	if (catalog == UserMappingRelationId && find_server_option(name))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("option \"%s\" belongs on the server", name),
				 errhint("Use ALTER SERVER ... OPTIONS (%s ...).", name)));

	{
		char	   *valid = valid_options(catalog);

		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("invalid option \"%s\"", name),
				 *valid ? errhint("Valid options in this context are: %s.", valid) :
				 errhint("There are no valid options in this context.")));
	}
}

/* Refuse an option that only superusers may set. */
static void
require_superuser(const char *name)
{
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set option \"%s\"", name),
				 errdetail("It names a file on the server, so only superusers may set it, or alter what has it."),
				 errhint("A superuser must make this change, or drop the option.")));
}

/* Check the options of a user mapping as a whole. */
static void
check_mapping(List *options)
{
	bool		username = false;
	bool		password = false;
	bool		password_file = false;
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);
		const char *name = option->defname;
		const char *value = defGetString(option);

		if (!is_mapping_option(name))
			refuse_option(name, UserMappingRelationId);
		if (value[0] == '\0')
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" is empty", name)));
		if (strcmp(name, "password_file") == 0)
		{
			require_superuser(name);

			/* Not shown: it may be the password, given for its file. */
			if (!is_absolute_path(value))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("option \"%s\" is no absolute path", name)));
			password_file = true;
		}
		username |= strcmp(name, "username") == 0;
		password |= strcmp(name, "password") == 0;
	}

	if (!username || password == password_file)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg("a user mapping needs a username and either a password or a password_file"),
				 errhint("Use OPTIONS (username '...', password '...').")));
}

/* Check the options of a server. */
static void
check_server(List *options)
{
	ListCell   *cell;
	Account    *account;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);
		const ServerOption *known = find_server_option(option->defname);

		if (known == NULL)
			refuse_option(option->defname, ForeignServerRelationId);
		if (known->kind == OPTION_FILE)
			require_superuser(known->name);
	}

	account = account_from_options(options);
	if (account->line2 && account->line == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"line2\" needs option \"line\""),
				 errdetail("The second line is the backup of the first.")));
	if (account->line2 && strcmp(account->line, account->line2) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"line2\" is the same as option \"line\""),
				 errhint("Give another line as the backup, or none.")));
	if (account->line2 && account->type > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"line2\" and a \"type\" other than 0 exclude each other"),
				 errdetail("Each is a backup of the line."),
				 errhint("Give only \"line2\" for a second line, or only \"type\" for Chelcheleh (1) or the service line (2).")));
}

/* Keep a statement that is refused, and may hold a password, out of the log. */
static void
hide_statement(void *arg)
{
	errhidestmt(true);
	errhidecontext(true);
}

/*
 * Validate the options of a server or user mapping, and have the worker look
 * at them once they are committed.
 */
Datum
sms3300_fdw_validator(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	ErrorContextCallback context = {.previous = error_context_stack, .callback = hide_statement};

	error_context_stack = &context;
	if (catalog == ForeignServerRelationId)
		check_server(options);
	else if (catalog == UserMappingRelationId)
		check_mapping(options);
	else if (options != NIL)
		refuse_option(linitial_node(DefElem, options)->defname, catalog);

	error_context_stack = context.previous;

	if (catalog != ForeignDataWrapperRelationId)
		wake_for_anything();
	PG_RETURN_VOID();
}

/* -------------------------------------------------------------------------
 * What the validator is not asked for
 * ------------------------------------------------------------------------- */

static object_access_hook_type prev_object_access_hook = NULL;

/* Tell whether a server is an account. */
static bool
is_account(Oid serverid)
{
	ForeignServer *server = GetForeignServerExtended(serverid, FSV_MISSING_OK);

	return server && server->fdwid == get_foreign_data_wrapper_oid(WRAPPER_NAME, true);
}

/*
 * When an account is renamed or dropped, have the worker look: messages may
 * wait for an account of the new name, and it holds on to one that has stopped.
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

/* Follow the accounts of all databases; called while the library is preloaded. */
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
static uint64 generation = 0;
static uint64 cached_generation = 0;

/* Note that a server, a mapping or a wrapper was altered. */
static void
on_invalidation(Datum arg, int cacheid, uint32 hashvalue)
{
	generation++;
}

/* Start anew where the catalogs have changed. */
static void
refresh_cache(void)
{
	if (cache_context == NULL)
	{
		cache_context = AllocSetContextCreate(TopMemoryContext, "sms3300 accounts",
											  ALLOCSET_SMALL_SIZES);
		CacheRegisterSyscacheCallback(FOREIGNDATAWRAPPEROID, on_invalidation, (Datum) 0);
		CacheRegisterSyscacheCallback(FOREIGNSERVEROID, on_invalidation, (Datum) 0);
		CacheRegisterSyscacheCallback(USERMAPPINGOID, on_invalidation, (Datum) 0);
	}
	if (cached_generation != generation)
	{
		cache = NIL;
		MemoryContextReset(cache_context);
		cached_generation = generation;
	}
}

/* Stir the identity of a version of a catalog's row into a hash. */
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

/* A number that changes when a server, or any of its mappings, is altered. */
static uint64
account_version(Oid serverid)
{
	HeapTuple	server = SearchSysCache1(FOREIGNSERVEROID, ObjectIdGetDatum(serverid));
	uint64		version = 0;
	Relation	mappings;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (HeapTupleIsValid(server))
	{
		version = stir(version, server);
		ReleaseSysCache(server);
	}

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

	version = account_version(serverid);

	caller = MemoryContextSwitchTo(cache_context);
	account = account_from_options(server->options);
	account->serverid = serverid;
	account->version = version;
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
	return generation;
}
