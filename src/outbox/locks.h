/*
 * locks.h
 *		Who holds the locks that sending waits for, on sms_outbox, its rows and sms_opt_out.
 */
#ifndef SMS3300_OUTBOX_LOCKS_H
#define SMS3300_OUTBOX_LOCKS_H

#include "datatype/timestamp.h"
#include "storage/lockdefs.h"

/* A transaction that holds a lock. */
typedef struct LockHolder
{
	int			pid;			/* 0: it is a prepared transaction, or it has ended */
	char	   *gid;			/* of a prepared transaction; NULL: it is none */
	char	   *query;			/* what it runs; NULL: the current role may not see it */
	char	   *session;		/* its role, application, state and since when; NULL: the same */
	TimestampTz since;			/* when it began, or others began to wait; 0: not known */
	const char *table;			/* that is locked; NULL: a row is */
} LockHolder;

/*
 * Lock the table and its indexes for reading until the end of the transaction, without
 * waiting.  False: another session has locked it, or there is no table.
 */
extern bool locks_take_for_reading(Oid namespace);

/*
 * Find who keeps the worker from one of its tables, which is named also if nobody does,
 * or has locked a row in transaction "xid".  Needs a transaction, and waits for nothing.
 */
extern LockHolder locks_find_table_holder(Oid namespace);
extern LockHolder locks_find_row_holder(TransactionId xid);

/*
 * Find who has kept any session waiting, since before a time, for sms_outbox, for a row of
 * it, or for sms_opt_out where that keeps the worker from reading it, or from writing it.
 */
extern bool locks_find_waiter(Oid namespace, TimestampTz before, bool records_opt_outs, LockHolder *holder);

/* Name a holder, such as "process 123"; in the current memory context. */
extern const char *locks_name_holder(const LockHolder *holder);

#endif							/* SMS3300_OUTBOX_LOCKS_H */
