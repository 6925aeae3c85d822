/*
 * route.c
 *		Determine the account and line of a message, and who may send it.
 *
 * The gateway supports five scenarios: a line alone, the service line alone, and
 * a line with one of three backups (a second line, Chelcheleh or the service
 * line).  A message that fits none of them is rejected when it is queued.
 */
#include "postgres.h"

#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "account/credentials.h"
#include "account/route.h"
#include "compat.h"

/* The types that the gateway defines. */
#define TYPE_ORDINARY 0
#define TYPE_CHELCHELEH 1
#define TYPE_SERVICE_LINE 2

/* -------------------------------------------------------------------------
 * The account
 * ------------------------------------------------------------------------- */

/* Raise the error for a name that is not the name of an account. */
static void
no_account(const char *name)
{
	ForeignServer *server = GetForeignServerByName(name, true);

	if (server)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" is not an account", name),
				 errdetail("Its foreign-data wrapper is \"%s\", not \"sms3300\".",
						   GetForeignDataWrapper(server->fdwid)->fdwname),
				 errhint("Use the name of a server of the wrapper sms3300 as \"account\" or in the setting sms3300.account.")));
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("account \"%s\" does not exist", name),
			 errdetail("An account is a foreign server of the wrapper sms3300."),
			 *name ? errhint("Use CREATE SERVER %s FOREIGN DATA WRAPPER sms3300 ..., or name another account.",
							 quote_identifier(name)) :
			 errhint("Set sms3300.account to the name of an account.")));
}

const Account *
route_known_account(const char *name)
{
	const Account *account = account_find(name);

	if (account == NULL)
		no_account(name);
	if (account->unreadable)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("account \"%s\" cannot send: %s", name, account->unreadable),
				 errhint("Use ALTER SERVER %s OPTIONS (SET ...) with a valid value.",
						 quote_identifier(name))));
	return account;
}

bool
route_may_send(const char *name, Oid role)
{
	const Account *account = account_find(name);

	return account && foreign_server_aclcheck(account->serverid, role, ACL_USAGE) == ACLCHECK_OK &&
		credentials_exist(account, role);
}

const Account *
route_account_of(const char *name, Oid role)
{
	const Account *account = route_known_account(name);

	if (foreign_server_aclcheck(account->serverid, role, ACL_USAGE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for account \"%s\"", name),
				 errdetail("Role \"%s\" has no USAGE privilege on the foreign server.",
						   GetUserNameFromId(role, false)),
				 errhint("Use GRANT USAGE ON FOREIGN SERVER %s TO %s.", quote_identifier(name),
						 quote_identifier(GetUserNameFromId(role, false)))));

	if (!credentials_exist(account, role))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("account \"%s\" has no credentials for role \"%s\"", name,
						GetUserNameFromId(role, false)),
				 errdetail("There is no user mapping for the role or for PUBLIC."),
				 errhint("Use CREATE USER MAPPING FOR %s SERVER %s OPTIONS (username '...', password '...').",
						 quote_identifier(GetUserNameFromId(role, false)),
						 quote_identifier(name))));
	return account;
}

const Account *
route_account(const char *name)
{
	return route_account_of(name, GetUserId());
}

/* -------------------------------------------------------------------------
 * The line
 * ------------------------------------------------------------------------- */

/* Return whether a type is a backup for a line. */
static bool
is_backup(int type)
{
	return type == TYPE_CHELCHELEH || type == TYPE_SERVICE_LINE;
}

/*
 * Complete a message's own route with the values of its account, with three
 * exceptions:
 *
 * - A message with the type of the service line and without a line uses the
 *   service line alone.
 * - A backup in the message replaces the backup of the account.
 * - A template applies to the service line only.
 */
Route
route_complete(const Route *own, const Account *account)
{
	Route		route = *own;

	if (route.line == NULL && (own->type != TYPE_SERVICE_LINE || own->line2))
		route.line = account->line;
	if (route.line2 == NULL && route.line && account->line2 && !is_backup(own->type) &&
		strcmp(route.line, account->line2) != 0)
		route.line2 = account->line2;
	if (route.type == ROUTE_NONE && !(own->line2 && is_backup(account->type)))
		route.type = account->type;
	if (route.template == ROUTE_NONE && route.type == TYPE_SERVICE_LINE)
		route.template = account->template;
	return route;
}

bool
route_has_fallback(const Route *route)
{
	return route->line && (route->line2 || is_backup(route->type));
}

const char *
route_problem(const Route *route)
{
	if (route->line == NULL && route->line2)
		return "\"line2\" requires \"line\"";
	if (route->line == NULL && route->type != TYPE_SERVICE_LINE)
		return "message has no line";
	if (route->line2 && strcmp(route->line, route->line2) == 0)
		return "\"line2\" must differ from \"line\"";
	if (route->line2 && is_backup(route->type))
		return "\"line2\" cannot be combined with a \"type\" other than 0";
	if (route->template != ROUTE_NONE && route->type != TYPE_SERVICE_LINE)
		return "\"template\" requires \"type\" 2";
	return NULL;
}

/* Set the detail and the hint of the error for an invalid route. */
static void
explain_problem(const Route *route, const Account *account)
{
	if (route->line == NULL && route->line2)
	{
		errdetail("Line %s would be the backup of a first line.", route->line2);
		errhint("Give the first line as \"line\", or set the option \"line\" of the account.");
	}
	else if (route->line == NULL && route->type == TYPE_CHELCHELEH)
	{
		errdetail("Type 1 is a backup for a line, and neither the message nor account \"%s\" has a line.",
				  account->name);
		errhint("Give \"line\" to use Chelcheleh as its backup, or \"type\" 2 to use the service line alone.");
	}
	else if (route->line == NULL)
	{
		errdetail("Neither the message nor account \"%s\" has a line.", account->name);
		errhint("Give \"line\", set the option \"line\" of the account, or use \"type\" 2 for the service line.");
	}
	else if (route->line2 && strcmp(route->line, route->line2) == 0)
	{
		errdetail("Both are %s.", route->line);
		errhint("Use another line as the backup, or omit \"line2\".");
	}
	else if (route->line2 && is_backup(route->type))
	{
		errdetail("Both line %s and %s would be the backup of \"line\".", route->line2,
				  route->type == TYPE_CHELCHELEH ? "Chelcheleh" : "the service line");
		errhint("Use only \"line2\" for a second line as backup, or only \"type\" %d for %s.", route->type,
				route->type == TYPE_CHELCHELEH ? "Chelcheleh" : "the service line");
	}
	else
	{
		errdetail("Templates are registered for the service line.");
		errhint("Use \"type\" 2 for the service line, or omit \"template\".");
	}
}

void
route_check(const Route *own, const Account *account)
{
	Route		route = route_complete(own, account);
	const char *problem = route_problem(&route);

	if (problem)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s", problem),
				 explain_problem(&route, account)));
}
