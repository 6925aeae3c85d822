/*
 * mappings.h
 *		Current state of user mappings, in shared memory.
 *
 * Only what is stopped or has requests on the wire is kept, by the worker of its
 * database; any backend may read it.  The counters' lock protects it.
 */
#ifndef SMS3300_SHARED_MAPPINGS_H
#define SMS3300_SHARED_MAPPINGS_H

#include "shared/counters.h"

typedef struct MappingState
{
	Oid			database;		/* InvalidOid: the slot is free */
	Oid			server;
	Oid			user;			/* InvalidOid: the mapping for PUBLIC */
	LiveState	live;
	TimestampTz stopped_at;		/* stopped: since when */
	char		reason[COUNTERS_REASON_SIZE];	/* stopped: why */
} MappingState;

/* While the shared memory is laid out */
extern Size mappings_size(void);
extern void mappings_startup(void);

/*
 * In a worker, between counters_begin() and counters_end(): set the state of a mapping of
 * its database.  If there is no room, it is left out.
 */
extern void mappings_set(Oid server, Oid user, const LiveState *live, const char *reason);

/* Likewise: forget all mappings of this database, as its worker leaves. */
extern void mappings_forget(void);

/* In any backend: copy the state of a mapping of its database; false if none is kept. */
extern bool mappings_read(Oid server, Oid user, MappingState *copy);

/* Likewise: return how many mappings of a server have stopped, and copy the one that is tried first. */
extern int	mappings_stopped(Oid server, MappingState *first);

#endif							/* SMS3300_SHARED_MAPPINGS_H */
