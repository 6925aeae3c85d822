/*
 * route.h
 *		Determine the account and line of a message, and who may send it.
 */
#ifndef SMS3300_ACCOUNT_ROUTE_H
#define SMS3300_ACCOUNT_ROUTE_H

#include "account/account.h"

/* The values that select the gateway's scenario; NULL and ROUTE_NONE mean not given. */
typedef struct Route
{
	const char *line;
	const char *line2;
	int			type;
	int			template;
} Route;

/*
 * Return the account of a name.  Raises 42704 if there is none, 42809 if the name
 * is that of another wrapper's server.
 */
extern const Account *route_known_account(const char *name);

/*
 * Return the account of a name if the current role may send with it.  Raises the
 * same errors, 42501 without USAGE, and 42704 without a mapping for the role.
 */
extern const Account *route_account(const char *name);

/* The same for another role. */
extern const Account *route_account_of(const char *name, Oid role);

/* Tell whether a role may send with the account of a name. */
extern bool route_may_send(const char *name, Oid role);

/* Complete a message's own route with the defaults of its account. */
extern Route route_complete(const Route *own, const Account *account);

/* Return whether the gateway falls back from the line of a complete route to another way. */
extern bool route_has_fallback(const Route *route);

/* Return NULL if a complete route fits a scenario, else what is wrong with it. */
extern const char *route_problem(const Route *route);

/* Check a message's own route.  Raises 22023 if it fits no scenario. */
extern void route_check(const Route *own, const Account *account);

#endif							/* SMS3300_ACCOUNT_ROUTE_H */
