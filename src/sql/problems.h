/*
 * problems.h
 *		What is wrong now, for sms3300_problems.
 */
#ifndef SMS3300_SQL_PROBLEMS_H
#define SMS3300_SQL_PROBLEMS_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

#include "sql/facts.h"

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

/* For the checks: add a problem; note that it is known why no due message is sent. */
extern void problems_add(Facts *facts, Problem problem);
extern void problems_explain_all(Facts *facts);

/* Return a time as the session shows it, to the second. */
extern const char *problems_show(TimestampTz time);

/* Return whose user mapping a role's is, as ALTER USER MAPPING takes it; InvalidOid: for PUBLIC. */
extern const char *problems_mapping(Oid role);

/* Return what to type for what has stopped an account, or the mapping of a role; NULL: all of it. */
extern const char *problems_stop_hint(const Facts *facts, const AccountFacts *account, const char *reason,
									  const Oid *role);

/* Say what holds back messages that are due although their account is sending, and what to do. */
extern void problems_describe_overdue(const Facts *facts, const AccountFacts *sending, Problem *problem);

/* table_locked, row_locked: the worker, or another session, has waited for a lock. */
extern void problems_check_locks(Facts *facts);

/* Return the problems of this database, the critical ones first: a list of Problem. */
extern List *problems_find(Oid namespace);

#endif							/* SMS3300_SQL_PROBLEMS_H */
