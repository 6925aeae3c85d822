/*
 * reserved.h
 *		The columns of sms_outbox that only the extension writes, in a new message.
 */
#ifndef SMS3300_SQL_RESERVED_H
#define SMS3300_SQL_RESERVED_H

#include "access/htup.h"
#include "utils/relcache.h"

/*
 * Raise 428C9 if one of the columns has a value other than its default or null; it
 * names the column.  created_at may have any value, which the caller replaces.
 */
extern void reserved_check(Relation table, HeapTuple tuple);

/*
 * Return the id that a new message gets, which is the one in the row if its sequence
 * gave that to this session.  Raises 428C9 if it did not.
 */
extern int64 reserved_id(Relation table, int64 id);

#endif							/* SMS3300_SQL_RESERVED_H */
