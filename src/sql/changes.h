/*
 * changes.h
 *		What an UPDATE by hand changes in a row of sms_outbox.
 */
#ifndef SMS3300_SQL_CHANGES_H
#define SMS3300_SQL_CHANGES_H

#include "access/htup.h"
#include "outbox/columns.h"

/* Return whether a column has another value in a new version of a row. */
extern bool changes_column(Relation table, HeapTuple before, HeapTuple after, enum OutboxColumn column);

/*
 * Raise 55006 if what is being sent is changed, and 55000 if what has been sent, or may
 * have been, is changed into something else that could have been sent.
 */
extern void changes_check(Relation table, HeapTuple before, HeapTuple after);

#endif							/* SMS3300_SQL_CHANGES_H */
