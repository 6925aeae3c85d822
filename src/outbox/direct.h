/*
 * direct.h
 *		Rows of sms_outbox, written without a statement.
 */
#ifndef SMS3300_OUTBOX_DIRECT_H
#define SMS3300_OUTBOX_DIRECT_H

#include "datatype/timestamp.h"
#include "storage/itemptr.h"
#include "utils/relcache.h"

#include "outbox/columns.h"

/* Whether writing a row in the worker's columns is no more than that. */
extern bool direct_possible(Relation relation);

/*
 * In a transaction, with the table locked and direct_possible().  What is written
 * between begin and end is seen by what follows them.
 */
extern void direct_begin(Oid oid);
extern bool direct_find(int64 id, ItemPointer place);
extern Datum direct_value(enum OutboxColumn column, bool *isnull);
extern char *direct_string(enum OutboxColumn column);
extern char *direct_name(enum OutboxColumn column);
extern int	direct_number(enum OutboxColumn column, Oid type);
extern TimestampTz direct_time(enum OutboxColumn column, TimestampTz null);
extern Oid	direct_status(const char *label);
extern void direct_set(enum OutboxColumn column, Datum value, bool isnull);
extern void direct_set_string(enum OutboxColumn column, const char *value);
extern bool direct_write(ItemPointer place);
extern void direct_end(void);

/* At the end of the work on the table, and where that failed */
extern void direct_close(void);
extern void direct_forget(void);

#endif							/* SMS3300_OUTBOX_DIRECT_H */
