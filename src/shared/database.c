/*
 * database.c
 *		Commands that need a database to themselves, or alter it.
 *
 * DROP DATABASE, ALTER DATABASE ... RENAME and SET TABLESPACE, and CREATE DATABASE
 * with the database as its template fail while another process is connected.  They
 * reserve the database before they begin: its worker leaves after its current
 * requests, and no other one comes until the end of the transaction.
 *
 * After any ALTER DATABASE a worker looks at it: the database may have been created,
 * or restored, without accepting connections.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

#include "compat.h"
#include "shared/database.h"
#include "shared/registry.h"

/* A command waits this long for the worker.  PostgreSQL then waits another 5 s by itself. */
#define LEAVE_TIMEOUT (10 * USECS_PER_SEC)

static ProcessUtility_hook_type prev_process_utility = NULL;

/* The databases that this transaction has reserved, and altered; of Oid. */
static List *reserved = NIL;
static List *altered = NIL;

/* Release what was reserved, also if a subtransaction fails, and tell what was altered. */
static void
at_release(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	ListCell   *cell;

	if (phase != RESOURCE_RELEASE_AFTER_LOCKS || (is_commit && !is_top_level))
		return;
	foreach(cell, reserved)
		registry_release(lfirst_oid(cell));
	reserved = NIL;
	if (!is_top_level)
		return;
	if (is_commit)
		foreach(cell, altered)
			registry_retry(lfirst_oid(cell));
	altered = NIL;
}

/* Add a database to a list that lasts as long as the transaction. */
static List *
note(List *databases, Oid database)
{
	MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);

	databases = lappend_oid(databases, database);
	MemoryContextSwitchTo(caller);
	return databases;
}

/* Return the string value of an option of a command, NULL if it is not given. */
static const char *
option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *element = lfirst(cell);

		if (strcmp(element->defname, name) == 0 && element->arg)
			return defGetString(element);
	}
	return NULL;
}

/* Return whether the current user may create databases, and from this one. */
static bool
may_copy(Oid database)
{
	HeapTuple	role = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	bool		allowed = HeapTupleIsValid(role) && HeapTupleIsValid(tuple) &&
		((Form_pg_authid) GETSTRUCT(role))->rolcreatedb &&
		((Form_pg_database) GETSTRUCT(tuple))->datistemplate;

	if (HeapTupleIsValid(role))
		ReleaseSysCache(role);
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return allowed;
}

/*
 * Return the database that a command needs to itself; InvalidOid if it needs none,
 * if there is no such database, or if the user lacks the right, which the command
 * reports.
 */
static Oid
needed_database(Node *command)
{
	const char *name = NULL;
	Oid			database;

	if (IsA(command, DropdbStmt))
		name = castNode(DropdbStmt, command)->dbname;
	else if (IsA(command, RenameStmt) && castNode(RenameStmt, command)->renameType == OBJECT_DATABASE)
		name = castNode(RenameStmt, command)->subname;
	else if (IsA(command, AlterDatabaseStmt) &&
			 option(castNode(AlterDatabaseStmt, command)->options, "tablespace"))
		name = castNode(AlterDatabaseStmt, command)->dbname;
	else if (IsA(command, CreatedbStmt))
	{
		name = option(castNode(CreatedbStmt, command)->options, "template");
		if (name == NULL)
			name = "template1";
	}

	database = name ? get_database_oid(name, true) : InvalidOid;
	if (!OidIsValid(database) || database_ownercheck(database, GetUserId()) ||
		(IsA(command, CreatedbStmt) && may_copy(database)))
		return database;
	return InvalidOid;
}

/* Return whether a command ends other sessions by itself. */
static bool
is_forced(Node *command)
{
	ListCell   *cell;

	if (IsA(command, DropdbStmt))
		foreach(cell, castNode(DropdbStmt, command)->options)
			if (strcmp(((DefElem *) lfirst(cell))->defname, "force") == 0)
				return true;
	return false;
}

/* Reserve a database, and wait for its worker to leave. */
static void
reserve(Oid database, bool wait)
{
	reserved = note(reserved, database);
	registry_reserve(database);
	if (wait)
		registry_await_leave(database, LEAVE_TIMEOUT);
}

/* Reserve the database that a command needs, run the command, and note what it altered. */
static void
on_utility(PlannedStmt *statement, const char *query, bool read_only_tree,
		   ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
		   DestReceiver *receiver, QueryCompletion *completion)
{
	Node	   *command = statement->utilityStmt;
	const char *name = IsA(command, AlterDatabaseStmt) ?
		pstrdup(castNode(AlterDatabaseStmt, command)->dbname) : NULL;
	Oid			database = needed_database(command);

	if (OidIsValid(database))
		reserve(database, !is_forced(command));

	(prev_process_utility ? prev_process_utility : standard_ProcessUtility)
		(statement, query, read_only_tree, context, params, environment, receiver, completion);

	database = name ? get_database_oid(name, true) : InvalidOid;
	if (OidIsValid(database))
		altered = note(altered, database);
}

void
database_watch(void)
{
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = on_utility;
	RegisterResourceReleaseCallback(at_release, NULL);
}
