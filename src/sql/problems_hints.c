/*
 * problems_hints.c
 *		sms3300_problems: what to type where an account does not send, or not fast enough.
 */
#include "postgres.h"

#include <ctype.h>

#include "access/reloptions.h"
#include "catalog/pg_user_mapping.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "account/credentials.h"
#include "sql/problems.h"

/* What a reason that the gateway gave has before its code: see job_reason(). */
#define GATEWAY_ANSWERED "the gateway answered with status "

/* What the reason of a request that took too long ends with: see transfer_describe(). */
#define TIMED_OUT "the request timed out"

/* The codes of a login that is refused. */
#define CODE_WRONG_LOGIN 18
#define CODE_LOGIN_REFUSED 19

/* Return how ALTER SERVER is told of an option: SET if the server has it, else ADD. */
static const char *
alter_verb(const Account *account, const char *option)
{
	ListCell   *cell;

	foreach(cell, GetForeignServer(account->serverid)->options)
		if (strcmp(((DefElem *) lfirst(cell))->defname, option) == 0)
			return "SET";
	return "ADD";
}

/* Find whose user mapping the due messages of an account go with; false if that is not known. */
static bool
find_mapping_in_use(const Facts *facts, const AccountFacts *account, Oid *role)
{
	ListCell   *cell;

	foreach(cell, facts->senders)
	{
		const Backlog *sent_by = lfirst(cell);

		*role = get_role_oid(sent_by->sender, true);
		if (strcmp(sent_by->account, account->name) == 0 && credentials_role(account->account->serverid, role))
			return true;
	}
	return false;
}

/* Return whether the password of a user mapping is in a file. */
static bool
has_password_file(Oid server, Oid role)
{
	HeapTuple	mapping = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(role), ObjectIdGetDatum(server));
	ListCell   *cell;
	bool		isnull;
	bool		found = false;
	Datum		options;

	if (!HeapTupleIsValid(mapping))
		return false;
	options = SysCacheGetAttr(USERMAPPINGUSERSERVER, mapping, Anum_pg_user_mapping_umoptions, &isnull);
	foreach(cell, isnull ? NIL : untransformRelOptions(options))
		found |= strcmp(((DefElem *) lfirst(cell))->defname, "password_file") == 0;
	ReleaseSysCache(mapping);
	return found;
}

/* Return what to type for a login that is refused. */
static const char *
login_hint(const Facts *facts, const AccountFacts *account, const Oid *role, const char *retry)
{
	Oid			server = account->account->serverid;
	Oid			used;

	if (role == NULL && find_mapping_in_use(facts, account, &used))
		role = &used;
	if (role && has_password_file(server, *role))
		return psprintf("Correct the password file of the user mapping for %s. %s", problems_mapping(*role), retry);
	return psprintf("ALTER USER MAPPING FOR %s SERVER %s OPTIONS (SET password '...')",
					role ? problems_mapping(*role) : "...", quote_identifier(account->name));
}

const char *
problems_mapping(Oid role)
{
	const char *name = OidIsValid(role) ? GetUserNameFromId(role, true) : NULL;

	if (!OidIsValid(role))
		return "PUBLIC";
	return name ? quote_identifier(name) : psprintf("%u", role);
}

const char *
problems_stop_hint(const Facts *facts, const AccountFacts *account, const char *reason, const Oid *role)
{
	const char *server = quote_identifier(account->name);
	const char *retry = psprintf("SELECT sms3300_retry(%s) tries at once.", quote_literal_cstr(account->name));
	const char *answered = strstr(reason, GATEWAY_ANSWERED);
	int			code = answered ? (int) strtol(answered + strlen(GATEWAY_ANSWERED), NULL, 10) : -1;
	const GatewayCode *known = code >= 0 ? gateway_code_find(code) : NULL;
	char	   *remedy;

	if (code == CODE_WRONG_LOGIN || code == CODE_LOGIN_REFUSED)
		return login_hint(facts, account, role, retry);
	if (strlen(reason) >= strlen(TIMED_OUT) && strcmp(reason + strlen(reason) - strlen(TIMED_OUT), TIMED_OUT) == 0)
		return psprintf("ALTER SERVER %s OPTIONS (%s timeout '...') if %g s are not enough; or ask the gateway why it takes longer.",
						server, alter_verb(account->account, "timeout"), (double) account->account->timeout / USECS_PER_SEC);
	if (known == NULL)
		return psprintf("Correct what the detail names; the url is %s. Sending resumes by itself; %s",
						account->account->url, retry);
	remedy = pstrdup(known->remedy);
	remedy[0] = (char) toupper((unsigned char) remedy[0]);
	return psprintf("%s. %s", remedy, retry);
}

void
problems_describe_overdue(const Facts *facts, const AccountFacts *sending, Problem *problem)
{
	const WorkerStat *worker = &facts->worker;
	const Account *account = sending->account;
	int			in_flight = sending->counted.live.in_flight;
	double		seconds = (double) sending->counted.request_time / USECS_PER_SEC;
	const char *server = quote_identifier(sending->name);

	/* An error is over if something has been counted since. */
	if (worker->last_error_at > Max(sending->due.since, sending->counted.used_at))
	{
		problem->detail = psprintf("messages are due, and the last error of the worker, at %s, was: %s",
								   problems_show(worker->last_error_at), worker->last_error);
		problem->hint = "Remove what the error names. The worker tries again by itself.";
	}
	else if (account->rate > 0 && in_flight < account->max_in_flight)
	{
		problem->detail = psprintf("more messages are due than the option \"rate\" allows: %g a second", account->rate);
		problem->hint = psprintf("ALTER SERVER %s OPTIONS (SET rate '...')", server);
	}
	else if (in_flight < account->max_in_flight)
	{
		problem->detail = psprintf("messages are due, and %d of %d requests (max_in_flight) are on the wire",
								   in_flight, account->max_in_flight);
		problem->hint = psprintf("SELECT sms3300_explain(" INT64_FORMAT ") says what one of them waits for.", sending->due.id);
	}
	else
	{
		problem->detail = psprintf("more messages are due than are sent: %d of %d requests (max_in_flight) are on the wire%s",
								   in_flight, account->max_in_flight,
								   seconds > 0 ? psprintf(", and the last ones took %.2f s each", seconds) : "");
		problem->hint = psprintf("If they take long, ask the gateway; else ALTER SERVER %s OPTIONS (%s max_in_flight '...')",
								 server, alter_verb(account, "max_in_flight"));
	}
}
