/*
 * validator.c
 *		Validate the options of servers and user mappings.
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "access/xact.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"

#include "account/options.h"
#include "compat.h"
#include "shared/wake.h"

PG_FUNCTION_INFO_V1(sms3300_fdw_validator);

static const char *const mapping_options[] = {"username", "password", "password_file"};

/* The longest values of options, in bytes */
#define MAX_MAPPING_VALUE 1024
#define MAX_SERVER_VALUE (64 * 1024)

/* Return whether user mappings have an option of this name. */
static bool
is_mapping_option(const char *name)
{
	for (size_t i = 0; i < lengthof(mapping_options); i++)
		if (strcmp(mapping_options[i], name) == 0)
			return true;
	return false;
}

/* Return the names of the valid options of an object of a catalog. */
static char *
valid_options(Oid catalog)
{
	StringInfoData names;

	initStringInfo(&names);
	if (catalog == ForeignServerRelationId)
		for (int i = 0; i < num_server_options; i++)
			appendStringInfo(&names, "%s%s", i ? ", " : "", server_options[i].name);
	else if (catalog == UserMappingRelationId)
		for (size_t i = 0; i < lengthof(mapping_options); i++)
			appendStringInfo(&names, "%s%s", i ? ", " : "", mapping_options[i]);
	return names.data;
}

/* Reject an option that is not valid for an object of a catalog. */
static void
refuse_option(const char *name, Oid catalog)
{
	if (catalog == ForeignServerRelationId && is_mapping_option(name))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("option \"%s\" belongs in a user mapping", name),
				 errdetail("Any role can read the options of a server."),
				 errhint("Use CREATE USER MAPPING ... OPTIONS (%s ...).", name)));
	if (catalog == UserMappingRelationId && server_option_find(name))
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

/* Raise an error unless the current user is a superuser. */
static void
require_superuser(const char *name)
{
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set option \"%s\"", name),
				 errdetail("The option names a file on the server. Only superusers may set it or alter an object that has it."),
				 errhint("Have a superuser make this change or drop the option.")));
}

/*
 * Raise an error for a value that is too long.  The worker has copies of it for each
 * request, and any role that may send sets those of its own mapping.
 */
static void
require_size(const char *name, const char *value, int max)
{
	if (strlen(value) > (size_t) max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the value of option \"%s\" is too long", name),
				 errdetail("It has %zu bytes, and at most %d are allowed.", strlen(value), max)));
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
					 errmsg("option \"%s\" must not be empty", name)));
		require_size(name, value, MAX_MAPPING_VALUE);
		if (strcmp(name, "password_file") == 0)
		{
			require_superuser(name);

			/* Do not show the value: it may be the password itself, given by mistake. */
			if (!is_absolute_path(value))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("option \"%s\" must be an absolute path", name)));
			password_file = true;
		}
		username |= strcmp(name, "username") == 0;
		password |= strcmp(name, "password") == 0;
	}

	/* A dump by a role that may not see the options is restored like this. */
	if (options == NIL)
		ereport(WARNING,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg("the user mapping has no credentials, so nothing is sent with it"),
				 errhint("Use ALTER USER MAPPING ... OPTIONS (ADD username '...', ADD password '...').")));
	else if (!username || password == password_file)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg("user mapping requires \"username\" and either \"password\" or \"password_file\""),
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
		const ServerOption *known = server_option_find(option->defname);

		if (known == NULL)
			refuse_option(option->defname, ForeignServerRelationId);
		if (known->kind == OPTION_FILE)
			require_superuser(known->name);
		require_size(known->name, defGetString(option), MAX_SERVER_VALUE);
	}

	account = account_from_options(options);
	if (account->line2 && account->line == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"line2\" requires option \"line\""),
				 errdetail("The second line is the backup of the first.")));
	if (account->line2 && strcmp(account->line, account->line2) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"line2\" must differ from option \"line\""),
				 errhint("Use another line as the backup, or omit \"line2\".")));
	if (account->line2 && account->type > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"line2\" cannot be combined with a \"type\" other than 0"),
				 errdetail("Each of them is a backup of the line."),
				 errhint("Use only \"line2\" for a second line, or only \"type\" for Chelcheleh (1) or the service line (2).")));
}

/* Keep a rejected statement, which may contain a password, out of the log. */
static void
hide_statement(void *arg)
{
	errhidestmt(true);
	errhidecontext(true);
}

/* Validate the options of a server or user mapping, and wake the worker at commit. */
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

	/* The account that a mapping belongs to is opened, but nothing else is looked at again. */
	if (catalog == ForeignServerRelationId)
		wake_for_anything();
	else if (catalog == UserMappingRelationId)
		wake_at_commit(GetCurrentTransactionStartTimestamp(), DT_NOEND);
	PG_RETURN_VOID();
}
