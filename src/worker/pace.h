/*
 * pace.h
 *		Determine how many messages an account may send now, and when it may send more.
 *
 * Times are those of the server's clock, in microseconds.
 */
#ifndef SMS3300_WORKER_PACE_H
#define SMS3300_WORKER_PACE_H

#include "datatype/timestamp.h"

typedef struct Pace
{
	int			in_flight;
	TimestampTz next_slot;		/* when the rate allows the next message */
	bool		stopped;		/* by a refusal of the gateway or a network failure */
	bool		probing;		/* stopped, and a probe is in progress */
	int			failures;		/* consecutive, since it stopped */
	TimestampTz probe_at;		/* time of the next probe */
} Pace;

/* Initialize, with a pause after the server's start: earlier messages are not known. */
extern void pace_hold(Pace *pace, TimestampTz started_at);

/* Return how many messages may be claimed now. */
extern int	pace_allowance(const Pace *pace, int max_in_flight,
							   double rate, TimestampTz now);

/* Return when another message will be allowed; DT_NOEND: not by time alone. */
extern TimestampTz pace_next(const Pace *pace, int max_in_flight,
								 double rate, TimestampTz now);

/* Return when the rate allows the next message; DT_NOBEGIN: always. */
extern TimestampTz pace_slot(const Pace *pace, double rate, TimestampTz now);

/* Record that a message was claimed. */
extern void pace_begin(Pace *pace, double rate, TimestampTz now);

/* Record that a request ended. */
extern void pace_end(Pace *pace);

/* Record that the transaction of a claim was rolled back. */
extern void pace_cancel(Pace *pace);

/* Stop, or remain stopped, for at least retry_after (-1: use the backoff). */
extern void pace_stop(Pace *pace, int64 retry_after, TimestampTz now);

/* Start again, after a success or a change of the account. */
extern void pace_open(Pace *pace);

/* Return a delay that doubles with each attempt up to five minutes, randomized by a fifth. */
extern int64 pace_backoff(int64 first, int tries);

#endif							/* SMS3300_WORKER_PACE_H */
