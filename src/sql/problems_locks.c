/*
 * problems_locks.c
 *		sms3300_problems: locks that keep messages from being sent.
 */
#include "postgres.h"

#include <ctype.h>

#include "mb/pg_wchar.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "outbox/columns.h"
#include "outbox/locks.h"
#include "sql/problems.h"

/* For how long a lock may last before it is a problem. */
#define LOCK_PATIENCE (10 * USECS_PER_SEC)

/* A query is cut to this. */
#define QUERY_SIZE 200

/* Return the beginning of a query on one line. */
static const char *
one_line(const char *query)
{
	char	   *line = pnstrdup(query, pg_mbcliplen(query, (int) strlen(query), QUERY_SIZE));
	size_t		len = strlen(line);

	for (char *c = line; *c; c++)
		if (iscntrl((unsigned char) *c))
			*c = ' ';
	while (len > 0 && strchr(" ;", line[len - 1]))
		line[--len] = '\0';
	return line;
}

/* Describe who holds a lock. */
static const char *
describe_lock(const char *what, const LockHolder *holder)
{
	return psprintf("%s is locked by %s%s%s%s", what, locks_name_holder(holder),
					holder->session ? psprintf(" (%s)", one_line(holder->session)) : "",
					holder->query ? ", whose last query is: " : "", holder->query ? one_line(holder->query) : "");
}

/* Return what ends a lock. */
static const char *
end_lock(const LockHolder *holder)
{
	if (holder->gid)
		return psprintf("ROLLBACK PREPARED %s; or COMMIT PREPARED", quote_literal_cstr(holder->gid));
	if (holder->pid == 0)
		return psprintf("SELECT * FROM pg_locks WHERE relation = '%s'::regclass", holder->table ? holder->table : OUTBOX_TABLE);
	return psprintf("SELECT pg_terminate_backend(%d)", holder->pid);
}

/* Return whether a lock has lasted long enough to be a problem. */
static bool
has_lasted(const Facts *facts, TimestampTz since)
{
	return since != 0 && since <= facts->now - LOCK_PATIENCE;
}

/* Return whether the worker writes sms_opt_out. */
static bool
records_opt_outs(const Facts *facts)
{
	ListCell   *cell;

	foreach(cell, facts->accounts)
	{
		const AccountFacts *account = lfirst(cell);

		if (account->account && account->account->record_opt_outs)
			return true;
	}
	return false;
}

/* Find a session that has waited long enough for a lock to be a problem. */
static bool
find_waiter(const Facts *facts, LockHolder *holder)
{
	return locks_find_waiter(facts->namespace, facts->now - LOCK_PATIENCE, records_opt_outs(facts), holder);
}

/*
 * table_locked: it is a warning at first if the table cannot be read, so that nobody takes
 * the lack of other rows for a sign that all is well.
 */
static void
add_table_locked(Facts *facts, TimestampTz since)
{
	LockHolder	holder = locks_find_table_holder(facts->namespace);
	LockHolder	waited;

	if (since == 0)
		since = holder.since;
	if (!has_lasted(facts, since) && find_waiter(facts, &waited) && waited.table)
		since = waited.since;
	problems_add(facts, (Problem) {
		has_lasted(facts, since), "table_locked", NULL, since, facts->readable ? facts->due : -1,
		describe_lock(holder.table, &holder), end_lock(&holder)
	});
	problems_explain_all(facts);
}

void
problems_check_locks(Facts *facts)
{
	const Obstruction *obstruction = &facts->worker.obstruction;
	bool		of_worker = has_lasted(facts, obstruction->since);
	LockHolder	holder;

	if (!facts->readable || (of_worker && obstruction->message == 0))
		add_table_locked(facts, obstruction->message == 0 ? obstruction->since : 0);
	else if (of_worker && TransactionIdIsInProgress(obstruction->xid))
	{
		holder = locks_find_row_holder(obstruction->xid);
		problems_add(facts, (Problem) {
			false, "row_locked", NULL, obstruction->since, 1,
			describe_lock(psprintf("message " INT64_FORMAT, obstruction->message), &holder), end_lock(&holder)
		});
	}
	else if (find_waiter(facts, &holder))
		problems_add(facts, (Problem) {
			holder.table != NULL, holder.table ? "table_locked" : "row_locked", NULL, holder.since, -1,
			psprintf("%s, and another session waits for it",
					 describe_lock(holder.table ? holder.table : "a message", &holder)), end_lock(&holder)
		});
}
