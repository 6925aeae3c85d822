/*
 * route.c
 *		By which account and line a message goes, and who may send it.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "compat.h"
#include "route.h"

/* The type that sends with Negin Rayaneh's service line. */
#define TYPE_SERVICE_LINE 2

const Account *
route_known_account(const char *name)
{
	const Account *account = account_find(name);

	if (account == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("account \"%s\" does not exist", name),
				 errdetail("An account is a foreign server of the wrapper sms3300."),
				 errhint("Use CREATE SERVER %s FOREIGN DATA WRAPPER sms3300 ..., or name another account.",
						 quote_identifier(name))));
	return account;
}

const Account *
route_account(const char *name)
{
	const Account *account = route_known_account(name);
	AclResult	acl;

	acl = foreign_server_aclcheck(account->serverid, GetUserId(), ACL_USAGE);
	if (acl != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for account \"%s\"", name),
				 errdetail("Role \"%s\" has no USAGE privilege on the foreign server.",
						   GetUserNameFromId(GetUserId(), false)),
				 errhint("Use GRANT USAGE ON FOREIGN SERVER %s TO ....",
						 quote_identifier(name))));

	if (!account_has_mapping(account, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("account \"%s\" has no credentials for role \"%s\"", name,
						GetUserNameFromId(GetUserId(), false)),
				 errdetail("There is no user mapping for the role, nor for PUBLIC."),
				 errhint("Use CREATE USER MAPPING FOR ... SERVER %s OPTIONS (username '...', password '...').",
						 quote_identifier(name))));
	return account;
}

/*
 * Each parameter that a message does not give comes from the account, with one
 * exception: a message that itself asks for the service line and names no line
 * goes by the service line alone.
 */
Route
route_complete(const Route *own, const Account *account)
{
	Route		route = *own;

	if (own->type != TYPE_SERVICE_LINE || own->line || own->line2)
	{
		if (route.line == NULL)
			route.line = account->line;
		if (route.line2 == NULL)
			route.line2 = account->line2;
	}
	if (route.type == GATEWAY_NONE)
		route.type = account->type;
	if (route.template == GATEWAY_NONE)
		route.template = account->template;
	return route;
}

const char *
route_problem(const Route *route)
{
	if (route->line == NULL && route->line2)
		return "\"line2\" needs \"line\"";
	if (route->line == NULL && route->type != TYPE_SERVICE_LINE)
		return "a message needs a line";
	return NULL;
}

void
route_check(const Route *own, const Account *account)
{
	Route		route = route_complete(own, account);
	const char *problem = route_problem(&route);

	if (problem == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", problem),
			 route.line2 ?
			 errdetail("The second line, %s, is the backup of a first one.", route.line2) :
			 route.type != GATEWAY_NONE ?
			 errdetail("Type %d is the backup of a line, and neither the message nor account \"%s\" gives one.",
					   route.type, account->name) :
			 errdetail("Neither the message nor account \"%s\" gives one.", account->name),
			 errhint("Give \"line\", set it for the account, or use type 2 for the service line.")));
}
