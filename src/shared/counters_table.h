/*
 * counters_table.h
 *		The table of accounts that are counted: found by hash, of a fixed size.
 */
#ifndef SMS3300_SHARED_COUNTERS_TABLE_H
#define SMS3300_SHARED_COUNTERS_TABLE_H

#include "shared/counters.h"

#define MAX_ACCOUNTS 1024

/* All zero: it is empty.  It is in shared memory; the caller holds the counters' lock. */
typedef struct CountersTable
{
	int			nslots;			/* the first ones, which are or were in use */
	int16		first[MAX_ACCOUNTS];	/* of the slots with a hash: a number from 1 on; 0: none */
	int16		next[MAX_ACCOUNTS]; /* the one with the same hash behind a slot */
	AccountCounters slots[MAX_ACCOUNTS];
} CountersTable;

/* Take over the counters of the server's last run into an empty table. */
extern void counters_table_load(CountersTable *table);

/* Return the slot of an account of this database, or NULL. */
extern AccountCounters *counters_table_find(CountersTable *table, Oid server);

/*
 * Return a slot, all zero but for what it is found by, for an account of this database that
 * has none; NULL if each slot says what another account may send.
 */
extern AccountCounters *counters_table_add(CountersTable *table, Oid server, TimestampTz now);

#endif							/* SMS3300_SHARED_COUNTERS_TABLE_H */
