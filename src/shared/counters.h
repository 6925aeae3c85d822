/*
 * counters.h
 *		Counters and current state of each account, in shared memory.
 *
 * Only the worker of a database writes them; any backend may read them.
 * Durations are in microseconds.
 */
#ifndef SMS3300_SHARED_COUNTERS_H
#define SMS3300_SHARED_COUNTERS_H

#include "datatype/timestamp.h"
#include "storage/lwlock.h"

#define COUNTERS_REASON_SIZE 256

typedef enum CounterId
{
	COUNTER_SENT,				/* recorded results, by status */
	COUNTER_REJECTED,
	COUNTER_FAILED,
	COUNTER_UNKNOWN,
	COUNTER_EXPIRED,
	COUNTER_RETRIED,			/* requests after which the message was queued again */
	COUNTER_REQUESTS,			/* finished requests whose result was recorded */
	NUM_COUNTERS
} CounterId;

typedef enum TimeId
{
	TIME_REQUEST,				/* from the start of a request to its end */
	TIME_WAIT,					/* from when a message was due to its claim */
	NUM_TIMES
} TimeId;

/* Eight buckets per octave, from 16 us to about 400 days. */
#define NUM_BUCKETS 312

typedef struct Histogram
{
	int64		sum;
	int64		counts[NUM_BUCKETS];
} Histogram;

/* The current state of an account. */
typedef struct LiveState
{
	int			in_flight;
	bool		stopped;
	TimestampTz probe_at;		/* stopped: time of the next probe; 0: one is in progress */
} LiveState;

typedef struct AccountCounters
{
	Oid			database;		/* InvalidOid: the slot is free */
	Oid			server;
	TimestampTz used_at;		/* last written */
	TimestampTz reset_at;		/* start of counting */
	int64		counters[NUM_COUNTERS];
	Histogram	times[NUM_TIMES];
	uint64		version;		/* of the account, as known to its worker; 0: unknown */
	LiveState	live;			/* all zero without a worker */
	char		reason[COUNTERS_REASON_SIZE];	/* stopped: why */
} AccountCounters;

/* While the shared memory is laid out */
extern Size counters_size(void);
extern void counters_startup(LWLock *lock);

/* In a worker: counters_add*() and counters_set_live() need counters_begin() */
extern void counters_begin(void);
extern void counters_add(Oid server, CounterId counter, int64 n);
extern void counters_add_time(Oid server, TimeId id, int64 duration);
extern void counters_set_live(Oid server, uint64 version, const LiveState *live,
							  const char *reason);
extern void counters_end(void);
extern uint64 counters_exchange_version(Oid server, uint64 version);
extern void counters_forget_live(void);

/* In any backend, of the accounts of its database */
extern bool counters_read(Oid server, AccountCounters *copy);
extern void counters_reset(void);
extern double histogram_percentile(const Histogram *histogram, double fraction);

#endif							/* SMS3300_SHARED_COUNTERS_H */
