/*
 * route.h
 *		By which account and line a message goes, and who may send it.
 */
#ifndef SMS3300_ACCOUNT_ROUTE_H
#define SMS3300_ACCOUNT_ROUTE_H

#include "account/account.h"

/* What decides the gateway's scenario; NULL and ROUTE_NONE: not given. */
typedef struct Route
{
	const char *line;
	const char *line2;
	int			type;
	int			template;
} Route;

/* The account of a name; errors: 42704 if there is none, 42809 if it is a server of another wrapper. */
extern const Account *route_known_account(const char *name);

/*
 * The account that the current role wants to send by; errors: as above, 42704
 * without a mapping for the role, 42501 without USAGE.
 */
extern const Account *route_account(const char *name);

/* Complete a message's own route by the account's defaults. */
extern Route route_complete(const Route *own, const Account *account);

/* Why no scenario has a complete route, NULL if one has. */
extern const char *route_problem(const Route *route);

/* Check a message's own route; error: 22023 if no scenario has it. */
extern void route_check(const Route *own, const Account *account);

#endif							/* SMS3300_ACCOUNT_ROUTE_H */
