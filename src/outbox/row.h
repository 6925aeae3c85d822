/*
 * row.h
 *		Rows of sms_outbox, which the worker reads and writes one by one.
 */
#ifndef SMS3300_OUTBOX_ROW_H
#define SMS3300_OUTBOX_ROW_H

#include "datatype/timestamp.h"
#include "nodes/lockoptions.h"

#include "outbox/columns.h"
#include "outbox/status.h"

/* The table, opened to work on some of its rows */
typedef struct Rows Rows;

typedef enum RowLock
{
	ROW_LOCKED,					/* by this transaction; its values are the newest */
	ROW_LOCKED_BY_OTHERS,		/* and not to be waited for */
	ROW_GONE					/* deleted, or changed by this transaction since rows_open() */
} RowLock;

/*
 * Raise an error if a row cannot be written without leaving out what an UPDATE does:
 * it lacks the right, or there are rules, transition tables or forced row security.
 * While sms_outbox is open.
 */
extern void rows_check(void);

/*
 * Make what the transaction needs to work on rows, as the first rows_open() does.  An
 * error is the table's, not that of a row.
 */
extern void rows_start(void);

/*
 * For the worker, while sms_outbox is open.  What the transaction did before
 * rows_open() is seen; what it writes afterwards is seen after rows_close().
 * Columns: those that are going to be set; none to read only.
 */
extern Rows *rows_open(const enum OutboxColumn *columns, int ncolumns);
extern Oid	rows_status(const Rows *rows, MessageStatus wanted);
extern bool rows_have_status(const Rows *rows, MessageStatus wanted);

/* Runs the triggers that are due.  True if a trigger may have changed what was written. */
extern bool rows_close(Rows *rows);

/* End the work on rows, before outbox_close() */
extern void rows_end(void);

/* Read the row of an id; false if there is none. */
extern bool row_find(Rows *rows, int64 id);

/* Lock the row that was found, which row_write() requires. */
extern RowLock row_lock(Rows *rows, LockWaitPolicy policy);

/* A value of the row: as it was found or locked, then as it is set, then as it was written. */
extern Datum row_value(const Rows *rows, enum OutboxColumn column, bool *isnull);
extern bool row_has_label(const Rows *rows, enum OutboxColumn column, const char *label);	/* of an enum */
extern Oid	row_status(const Rows *rows);	/* InvalidOid if it is null */
extern Size row_size(const Rows *rows, enum OutboxColumn column);	/* bytes of a string, unread */
extern char *row_string(const Rows *rows, enum OutboxColumn column);	/* NULL if it is null */
extern char *row_name(const Rows *rows, enum OutboxColumn column);	/* empty if it is null */
extern int	row_number(const Rows *rows, enum OutboxColumn column, Oid type);	/* or NULL_NUMBER */
extern TimestampTz row_time(const Rows *rows, enum OutboxColumn column, TimestampTz null);

extern void row_set(Rows *rows, enum OutboxColumn column, Datum value);
extern void row_set_null(Rows *rows, enum OutboxColumn column);
extern void row_set_string(Rows *rows, enum OutboxColumn column, const char *value);	/* NULL is null */

extern void row_set_label(Rows *rows, enum OutboxColumn column, const char *label);	/* of an enum */

/* Write what was set.  A BEFORE trigger may change or suppress it: see rows_close(). */
extern void row_write(Rows *rows);

#endif							/* SMS3300_OUTBOX_ROW_H */
