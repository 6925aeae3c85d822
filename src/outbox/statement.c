/*
 * statement.c
 *		Prepared statements on sms_outbox, and the values that they return.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "outbox/statement.h"

/* The plans are for the table in one schema, of one name, with one name of its events. */
static uint64 plan_generation = 0;
static Oid	plans_namespace = InvalidOid;
static NameData plans_schema;
static NameData plans_events;

/* Begin a new generation of plans if the schema is another, or a name has changed. */
static void
use_names(Oid namespace, const char *schema, const char *events)
{
	if (plans_namespace == namespace && strcmp(NameStr(plans_schema), schema) == 0 &&
		strcmp(NameStr(plans_events), events) == 0)
		return;
	namestrcpy(&plans_schema, schema);
	namestrcpy(&plans_events, events);
	plans_namespace = namespace;
	plan_generation++;
}

/*
 * Begin to use the table in a schema, which stays as it is until the commit.
 * Refuse one that is not what the statements take it for.
 */
static void
use_table(Oid namespace)
{
	char	   *schema = get_namespace_name(namespace);
	Oid			oid = get_relname_relid(OUTBOX_TABLE, namespace);
	Relation	table = OidIsValid(oid) ? try_table_open(oid, AccessShareLock) : NULL;

	if (schema == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_SCHEMA),
				 errmsg("the schema of the extension no longer exists")));
	if (table == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s\" does not exist", OUTBOX_TABLE)));
	columns_check(table);
	use_names(namespace, schema, columns_events_name(table));
	table_close(table, NoLock);
}

/* A plan lives while it is a statement's, or is being executed. */
struct StatementPlan
{
	SPIPlanPtr	plan;
	uint64		generation;
	int			uses;
};

/* Let go of a plan, and free it if nothing else uses it. */
static void
release_plan(StatementPlan *plan)
{
	if (--plan->uses > 0)
		return;
	SPI_freeplan(plan->plan);
	pfree(plan);
}

/*
 * Prepare a statement for the table in use, in place of what it was before: %1$s
 * becomes the table, %2$s its column "events".
 */
static void
statement_prepare(Statement *statement)
{
	const char *schema = quote_identifier(NameStr(plans_schema));
	StatementPlan *prepared = MemoryContextAllocZero(TopMemoryContext, sizeof(StatementPlan));
	StatementPlan *former = statement->plan;
	SPIPlanPtr	plan = SPI_prepare(psprintf(statement->sql, psprintf("%s." OUTBOX_TABLE, schema),
											NameStr(plans_events)),
								   statement->nargs, statement->argtypes);

	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare \"%s\": %s", statement->sql,
			 SPI_result_code_string(SPI_result));
	prepared->plan = plan;
	prepared->generation = plan_generation;
	prepared->uses = 1;
	statement->plan = prepared;
	if (former)
		release_plan(former);
}

/*
 * Execute a statement's plan.  What the statement fires may run the same statement
 * again, and replace its plan.
 */
static int
execute(Statement *statement, Datum *values, const char *nulls)
{
	StatementPlan *volatile plan = statement->plan;
	int			code;

	plan->uses++;
	PG_TRY();
	{
		code = SPI_execute_plan(plan->plan, values, nulls, statement->reads, 0);
	}
	PG_CATCH();
	{
		release_plan(plan);
		PG_RE_THROW();
	}
	PG_END_TRY();
	release_plan(plan);
	return code;
}

void
statement_run(Oid namespace, Statement *statement, Datum *values, const char *nulls)
{
	MemoryContext caller = CurrentMemoryContext;
	int			code;

	use_table(namespace);
	if (statement->plan == NULL || statement->plan->generation != plan_generation)
		statement_prepare(statement);
	code = execute(statement, values, nulls);
	if (code < 0)
		elog(ERROR, "could not execute \"%s\": %s", statement->sql,
			 SPI_result_code_string(code));
	MemoryContextSwitchTo(caller);
}

Datum
statement_value(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

int64
statement_int64(uint64 row, int column)
{
	bool		isnull;

	return DatumGetInt64(statement_value(row, column, &isnull));
}

Datum
statement_name_datum(const char *text)
{
	Name		name = palloc0(sizeof(NameData));

	namestrcpy(name, text);
	return NameGetDatum(name);
}

Datum
statement_id_array(const int64 *ids, int n)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		values[i] = Int64GetDatum(ids[i]);
	return PointerGetDatum(construct_array(values, n, INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

int
statement_number(uint64 row, int column, Oid type)
{
	bool		isnull;
	Datum		value = statement_value(row, column, &isnull);

	if (isnull)
		return NULL_NUMBER;
	return type == INT2OID ? DatumGetInt16(value) : DatumGetInt32(value);
}

char *
statement_string(uint64 row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

char *
statement_name(uint64 row, int column)
{
	char	   *name = statement_string(row, column);

	return name ? name : pstrdup("");
}
