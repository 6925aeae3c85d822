/*
 * mapping.h
 *		The user mappings of an account, as the worker knows them.
 *
 * A refusal of the credentials stops the mapping that they are in, and with it the
 * messages of the senders that it is used for; all others go on.
 */
#ifndef SMS3300_WORKER_MAPPING_H
#define SMS3300_WORKER_MAPPING_H

#include "lib/ilist.h"

#include "worker/gate.h"

typedef struct Mapping
{
	dlist_node	node;
	Oid			user;			/* whose it is; InvalidOid: for PUBLIC */
	NameData	name;			/* theirs */
	uint64		version;		/* 0: the mapping does not exist */
	TimestampTz reopen_at;		/* a change opens it from then on */
	Gate		gate;			/* whether messages are sent with it */
	uint32		refused_sender;	/* of the message that was refused last: a hash */
	uint32		successes;		/* of the account, when this was refused last */
	bool		alone;			/* there were none since the refusal before */
	int			in_flight;
	bool		active;			/* its state may have to be published */
	dlist_node	active_node;
	uint32		transaction;	/* the last that took a message of it ... */
	int			taken;			/* ... and how many it took */
	LiveState	published;		/* the state in shared memory */
} Mapping;

/* Of an account; all zero at first. */
typedef struct Mappings
{
	Oid			serverid;
	dlist_head	list;
	dlist_head	active;			/* those of which something is to be published */
} Mappings;

extern void mappings_init(Mappings *mappings);

/*
 * After the catalogs have changed: look up which mapping is used for whom, and open
 * those that were altered.  Returns whether any had stopped.  Needs a transaction.
 */
extern bool mappings_refresh(Mappings *mappings, Oid serverid, TimestampTz now);

/* Open all of them.  Returns whether any had stopped. */
extern bool mappings_open(Mappings *mappings);

/* Return the mapping that is used for a sender.  Needs a transaction. */
extern Mapping *mapping_of(Mappings *mappings, const char *sender);

/* Note that messages of a mapping were claimed (1) or came back (-1), or its gate changed (0). */
extern void mapping_changed(Mappings *mappings, Mapping *mapping, int in_flight);

/*
 * Take a message of a mapping in a transaction with some number, if it admits one more.
 * If not, *when becomes the time when it may, if that is earlier.
 */
extern bool mapping_admits(Mapping *mapping, uint32 transaction, TimestampTz now,
						   TimestampTz *when);

/* Return the stopped mapping that is tried next, NULL if none has stopped. */
extern Mapping *mappings_next_probe(Mappings *mappings);

/* Return how many messages are on the wire to try mappings that have stopped. */
extern int	mappings_probing(Mappings *mappings);

/* Publish changed states in shared memory; "begun" as counters_begin() was called. */
extern void mappings_publish(Mappings *mappings, bool *begun);

/* Let those that have stopped try now: the clock was set back. */
extern void mappings_set_back(Mappings *mappings, TimestampTz now);

/* Free them. */
extern void mappings_free(Mappings *mappings);

#endif							/* SMS3300_WORKER_MAPPING_H */
