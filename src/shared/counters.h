/*
 * counters.h
 *		What each account has done, and how it is doing, in shared memory.
 *
 * The worker of a database writes, anybody reads.  Durations are in
 * microseconds.
 */
#ifndef SMS3300_SHARED_COUNTERS_H
#define SMS3300_SHARED_COUNTERS_H

#include "datatype/timestamp.h"
#include "storage/lwlock.h"

#define COUNTERS_REASON_SIZE 256

typedef enum CounterId
{
	COUNTER_SENT,				/* results that were recorded, by status */
	COUNTER_REJECTED,
	COUNTER_FAILED,
	COUNTER_UNKNOWN,
	COUNTER_EXPIRED,
	COUNTER_RETRIED,			/* requests after which the message was queued again */
	COUNTER_REQUESTS,			/* that ended, and whose result was recorded */
	NUM_COUNTERS
} CounterId;

typedef enum TimeId
{
	TIME_REQUEST,				/* from the start of a request to its end */
	TIME_WAIT,					/* from when a message was due to its claim */
	NUM_TIMES
} TimeId;

/* Eight buckets an octave, from 16 us to some 400 days. */
#define NUM_BUCKETS 312

typedef struct Histogram
{
	int64		sum;
	int64		counts[NUM_BUCKETS];
} Histogram;

/* How an account is doing now. */
typedef struct LiveState
{
	int			in_flight;
	bool		stopped;
	TimestampTz probe_at;		/* stopped: when it tries again; 0: it is trying */
} LiveState;

typedef struct AccountCounters
{
	Oid			database;		/* InvalidOid: the slot is free */
	Oid			server;
	TimestampTz used_at;		/* last counted or set */
	TimestampTz reset_at;		/* counted since */
	int64		counters[NUM_COUNTERS];
	Histogram	times[NUM_TIMES];
	uint64		version;		/* of the account, as its worker knows it; 0: not known */
	LiveState	live;			/* all 0 without a worker */
	char		reason[COUNTERS_REASON_SIZE];	/* stopped: why */
} AccountCounters;

/* While the shared memory is laid out */
extern Size counters_size(void);
extern void counters_startup(LWLock *lock);

/* In a worker; the next three between counters_begin() and counters_end() */
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
