/*
 * counters.h
 *		Counters and current state of each account, in shared memory.
 *
 * The worker of a database writes them.  sms3300_send_now() counts its requests and
 * parts.  Any backend may read them.
 * Durations are in microseconds.
 */
#ifndef SMS3300_SHARED_COUNTERS_H
#define SMS3300_SHARED_COUNTERS_H

#include "datatype/timestamp.h"
#include "storage/lwlock.h"

#include "shared/histogram.h"

#define COUNTERS_REASON_SIZE 256

typedef enum CounterId
{
	COUNTER_SENT,				/* recorded results, by status */
	COUNTER_REJECTED,
	COUNTER_FAILED,
	COUNTER_UNKNOWN,
	COUNTER_EXPIRED,
	COUNTER_SUPPRESSED,
	COUNTER_RETRIED,			/* requests after which the message was queued again */
	COUNTER_REQUESTS,			/* finished requests whose result was recorded */
	COUNTER_DELIVERED,			/* delivery states that were learnt */
	COUNTER_UNDELIVERED,
	COUNTER_UNCONFIRMED,
	NUM_COUNTERS
} CounterId;

typedef enum TimeId
{
	TIME_REQUEST,				/* from the start of a request to its end */
	TIME_WAIT,					/* from when a message was due to its claim */
	NUM_TIMES
} TimeId;

/* Whether an account sends.  Nothing but the last two is stopped, see gate.h. */
typedef enum AccountState
{
	ACCOUNT_OPEN,
	ACCOUNT_PAUSED,				/* by its option */
	ACCOUNT_STOPPED,			/* by a refusal of the gateway, or of the network */
	ACCOUNT_PROBING				/* stopped, and a message is out to try */
} AccountState;

/* Tell whether an account is stopped by a refusal. */
static inline bool
account_has_stopped(AccountState state)
{
	return state == ACCOUNT_STOPPED || state == ACCOUNT_PROBING;
}

/* Maximum number of looks for a delivery state, and what comes after the last one. */
#define MAX_LOOKED 11

/* The current state of an account. */
typedef struct LiveState
{
	int			in_flight;
	AccountState state;
	TimestampTz probe_at;		/* stopped: time of the next probe; 0: one is in progress */
	TimestampTz next_slot;		/* when the rate allows the worker's next message */
	bool		of_mapping;		/* stopped: by a refusal of the credentials */
} LiveState;

/* The parts that an account may have sent on a day, if it has a limit. */
typedef struct DayParts
{
	TimestampTz day;			/* its beginning; 0: they have not been counted */
	int64		queued;			/* of messages from the queue */
	int64		at_once;		/* of sms3300_send_now() */
	uint64		reached;		/* the version of the server whose limit was reached; 0: none */
} DayParts;

/* What was counted in an hour, or since the last one that was written. */
typedef struct HourCounts
{
	TimestampTz hour;			/* when it began; 0: nothing was counted */
	int64		sent;
	int64		rejected;
	int64		unknown;
	int64		requests;
	uint32		times[NUM_BUCKETS];	/* of the requests, as in a histogram */
} HourCounts;

typedef struct AccountCounters
{
	Oid			database;		/* InvalidOid: the slot is free */
	Oid			server;
	TimestampTz used_at;		/* last written */
	TimestampTz reset_at;		/* start of counting */
	int64		counters[NUM_COUNTERS];
	Histogram	times[NUM_TIMES];
	HourCounts	hour;			/* for the history, also counted above */

	/* From here on it is about the present, and does not outlive the server. */
	uint64		version;		/* of the account, as known to its worker; 0: unknown */
	DayParts	day_parts;
	TimestampTz counted_day;	/* the day that was counted last */
	int64		request_time;	/* about how long requests take now; 0: none has ended */
	LiveState	live;			/* all zero without a worker */
	TimestampTz state_since;	/* when it last stopped, or opened again */
	char		reason[COUNTERS_REASON_SIZE];	/* stopped: why */
	bool		retry;			/* asked for: the worker is to open it */
	TimestampTz sessions_slot;	/* when the rate allows another message after those of sessions */
	uint64		looked_version;	/* the account's, as of "looked" */
	TimestampTz looked[MAX_LOOKED];	/* what was finished before has had this look */
	TimestampTz delivery_problem_at;	/* since when no delivery states are learnt; 0: they are */
	char		delivery_problem[COUNTERS_REASON_SIZE];
} AccountCounters;

/* While the shared memory is laid out */

/* Return the amount of shared memory needed. */
extern Size counters_size(void);

/* Find or initialize the counters, which the lock protects. */
extern void counters_startup(LWLock *lock);

/* In a worker, or for sms3300_send_now(): counters_add*() and counters_set_live() need counters_begin() */

/* Lock the counters for writing. */
extern void counters_begin(void);

/* Add to a counter. */
extern void counters_add(Oid server, CounterId counter, int64 n);

/* Add a duration to a histogram of an account. */
extern void counters_add_time(Oid server, TimeId id, int64 duration);

/* Set the current state of an account, and the version of the account that it applies to. */
extern void counters_set_live(Oid server, uint64 version, const LiveState *live,
							  const char *reason);

/* Set how far messages have had each look that a version of the account has for delivery states. */
extern void counters_set_looked(Oid server, uint64 version, const TimestampTz *looked, int nlooked);

/* Set why no delivery states are learnt; empty: they are. */
extern void counters_set_delivery_problem(Oid server, const char *problem);

/* Unlock the counters. */
extern void counters_end(void);

/* Lock the counters for reading what they protect, until counters_end(). */
extern void counters_lock_shared(void);

/* Set the version of an account, and return the previous one (0: unknown). */
extern uint64 counters_exchange_version(Oid server, uint64 version);

/* Call a function for each account of this database that is to be opened, once. */
extern void counters_take_retries(void (*open) (Oid server));

/* Reset the current state of this database's accounts when its worker leaves. */
extern void counters_forget_live(void);

/* In any backend, of the accounts of its database */

/* Copy the slot of an account.  Returns false if it has none. */
extern bool counters_read(Oid server, AccountCounters *copy);

/*
 * Take the slot of an account's next message at a rate, for a session.  Returns false
 * if there is none before the time that is returned.
 */
extern bool counters_take_slot(Oid server, double rate, TimestampTz *next);

/* Return when the rate allows another message after those of sessions; 0: at any time. */
extern TimestampTz counters_sessions_slot(Oid server);

/* Ask the worker to open an account at its next look. */
extern void counters_request_retry(Oid server);
/* Copy the parts of the current day; unchanged if there are none. */
extern void counters_read_day(Oid server, DayParts *copy);

/*
 * Begin a day with the parts that were counted from the table, unless another process
 * has begun it, and copy what is known then.
 */
extern void counters_begin_day(Oid server, TimestampTz day, int64 queued, DayParts *copy);

/* Add parts to a day, if it is the current one, and return all of that day. */
extern int64 counters_spend_day(Oid server, TimestampTz day, int parts, bool at_once);

/* Take away parts of a message that was claimed on the current day. */
extern void counters_return_day(Oid server, TimestampTz claimed_at, int parts);

/* Note that a version of the account has reached its limit; false if that was noted. */
extern bool counters_reach_day(Oid server, uint64 version);

/* Have the parts of the queues of this database counted again. */
extern void counters_forget_days(void);

/* Reset the counters of all accounts of this database. */
extern void counters_reset(void);

/* The beginning of the hour that a time is in. */
extern TimestampTz counters_hour(TimestampTz time);

/* Tell whether any account of this database counted something before an hour. */
extern bool counters_any_past_hour(TimestampTz before);

/* Copy what an account of this database counted before a time, false if there is nothing. */
extern bool counters_past_hour(Oid server, TimestampTz before, HourCounts *copy);

/* Take away what was copied, once it is written. */
extern void counters_forget_hour(Oid server, const HourCounts *written);

/* A percentile of the duration of the requests of an hour; -1 if there were none. */
extern double hour_percentile(const HourCounts *hour, double fraction);

#endif							/* SMS3300_SHARED_COUNTERS_H */
