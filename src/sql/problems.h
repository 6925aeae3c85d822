/*
 * problems.h
 *		What is wrong now, for sms3300_problems.
 */
#ifndef SMS3300_SQL_PROBLEMS_H
#define SMS3300_SQL_PROBLEMS_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

/* A row of the view. */
typedef struct Problem
{
	bool		critical;
	const char *name;
	const char *account;		/* NULL: not one of an account */
	TimestampTz since;			/* 0: not known */
	int64		messages;		/* -1: not known */
	const char *detail;
	const char *hint;
} Problem;

/* Return the problems of this database, the critical ones first: a list of Problem. */
extern List *problems_find(Oid namespace);

#endif							/* SMS3300_SQL_PROBLEMS_H */
