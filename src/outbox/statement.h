/*
 * statement.h
 *		Prepared statements on sms_outbox, and the values that they return.
 */
#ifndef SMS3300_OUTBOX_STATEMENT_H
#define SMS3300_OUTBOX_STATEMENT_H

#include "executor/spi.h"

#include "outbox/columns.h"

/* What is looked up where a statement runs with the rights of the table's owner. */
#define OUTBOX_SEARCH_PATH "pg_catalog, pg_temp"

#define STATEMENT_MAX_ARGS 12

/* The value of "events" of the row o with an object appended, as SQL */
#define STATEMENT_APPEND_EVENT(object) \
	"CASE WHEN pg_catalog.jsonb_typeof(o.%2$s) IS DISTINCT FROM 'array'" \
	"  THEN pg_catalog.jsonb_build_array(o.%2$s)" \
	" WHEN pg_catalog.jsonb_array_length(o.%2$s) < " CppAsString2(OUTBOX_MAX_EVENTS) " THEN o.%2$s" \
	" ELSE o.%2$s - 0 END || " object

/* What stands for null in a column of numbers from 0 on. */
#define NULL_NUMBER (-1)

typedef struct StatementPlan StatementPlan;

/* A statement, prepared at its first use in a process. */
typedef struct Statement
{
	const char *sql;			/* see statement_prepare() for what is put into it */
	int			nargs;
	Oid			argtypes[STATEMENT_MAX_ARGS];
	bool		reads;			/* only reads, with the snapshot of the calling query */
	StatementPlan *plan;		/* statement.c's */
} Statement;

/*
 * Run a statement on the table in a schema, between SPI_connect() and
 * SPI_finish(); the rows are in SPI_tuptable.  What the caller allocates
 * afterwards outlives SPI_finish().
 */
extern void statement_run(Oid namespace, Statement *statement, Datum *values, const char *nulls);

/* A value of a row of the last result; rows count from 0, columns from 1. */
extern Datum statement_value(uint64 row, int column, bool *isnull);

/* A 64-bit value of a row of the last result, such as an id or a time, not null. */
extern int64 statement_int64(uint64 row, int column);

/* A name as a parameter. */
extern Datum statement_name_datum(const char *text);

/* Ids as a parameter. */
extern Datum statement_id_array(const int64 *ids, int n);

/* A small number of a row of the last result, NULL_NUMBER if it is null. */
extern int	statement_number(uint64 row, int column, Oid type);

/* A string of a row of the last result, NULL if it is null. */
extern char *statement_string(uint64 row, int column);

/*
 * The same of a column that is declared not null; empty if it is null all the
 * same, because the constraint was dropped or by a rule.
 */
extern char *statement_name(uint64 row, int column);

#endif							/* SMS3300_OUTBOX_STATEMENT_H */
