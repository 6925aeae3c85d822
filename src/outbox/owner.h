/*
 * owner.h
 *		Run statements on sms_outbox with the rights of its owner.
 *
 * What the owner has put on the table (triggers, constraints, index expressions,
 * children) runs when a statement is planned or executed.  In a session it must
 * not run with the rights of the session's role, and must leave nothing behind.
 */
#ifndef SMS3300_OUTBOX_OWNER_H
#define SMS3300_OUTBOX_OWNER_H

#include "outbox/statement.h"

/* The role that a statement was run for. */
typedef struct Caller
{
	Oid			user;
	int			security_context;
	int			nest_level;		/* of settings; 0: the role has not changed */
} Caller;

/*
 * Become the owner of the table in a schema, in a security-restricted operation,
 * until become_caller() or the end of the (sub)transaction.
 */
extern void become_owner(Oid namespace, Caller *caller);

/* The same for another table of the extension. */
extern void become_owner_of(Oid table, Caller *caller);

/* The same if the caller may read all rows; else the caller stays who it is. */
extern void become_reader(Oid namespace, Caller *caller);

extern void become_caller(const Caller *caller);

/*
 * Run a statement as the owner.  Returns the number of changed rows, or the 64-bit
 * value of the row that it returns; *isnull may be NULL.
 */
extern int64 run_as_owner(Oid namespace, Statement *statement, Datum *values, bool *isnull);

/* Run a statement that changes rows as the owner, and do something with each row that it returns. */
extern int64 run_for_each(Oid namespace, Statement *statement, Datum *values,
						  void (*each) (uint64 row));

#endif							/* SMS3300_OUTBOX_OWNER_H */
