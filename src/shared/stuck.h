/*
 * stuck.h
 *		Results that have come and cannot be recorded, in shared memory.
 *
 * A unique index or a constraint of the user's may refuse a result.  The worker keeps
 * it and tries again; this says why its row still says "sending", and keeps what
 * matters of the result if the worker ends meanwhile.  There is room for the latest.
 */
#ifndef SMS3300_SHARED_STUCK_H
#define SMS3300_SHARED_STUCK_H

#include "datatype/timestamp.h"
#include "storage/lwlock.h"

#define STUCK_TEXT_SIZE 256
#define STUCK_LINE_SIZE 32

typedef struct StuckResult
{
	Oid			database;		/* InvalidOid: the place is free */
	int64		id;				/* of the message; with the next, of the claim */
	TimestampTz started_at;
	TimestampTz since;			/* when it could not be recorded for the first time */
	int			verdict;		/* a GatewayVerdict */
	int			http_status;	/* 0: none came */
	bool		has_api_status;
	int			api_status;
	bool		has_message_id;
	int64		message_id;
	char		line[STUCK_LINE_SIZE];	/* empty: none */
	char		reason[STUCK_TEXT_SIZE];	/* why it was not sent, or empty */
	char		obstacle[STUCK_TEXT_SIZE];	/* why the result cannot be recorded */
} StuckResult;

/* Return the amount of shared memory needed. */
extern Size stuck_size(void);

/* Find or initialize the results, which the lock protects. */
extern void stuck_startup(LWLock *lock);

/* In a worker: keep a result of its database, in place of what was kept of the claim. */
extern void stuck_put(const StuckResult *result);

/* In a worker: forget the result of a message, or of all of its database but those to keep. */
extern void stuck_remove(int64 id);
extern void stuck_remove_unless(bool (*keep) (int64 id));

/* In any backend: find the result of a claim of its database; false if there is none. */
extern bool stuck_find(int64 id, TimestampTz started_at, StuckResult *result);

/* In any backend: copy the oldest result of its database, and return how many there are. */
extern int	stuck_first(StuckResult *result);

#endif							/* SMS3300_SHARED_STUCK_H */
