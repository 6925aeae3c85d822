/*
 * pace.h
 *		How fast an account sends: requests at once, and messages a second.
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

	/* What the gateway takes, learnt from what it refuses as too many */
	double		learnt;			/* messages a second; 0: no limit is known */
	TimestampTz refused_at;		/* the last refusal */
	TimestampTz second;			/* the second that is being counted ... */
	int			accepted;		/* ... messages accepted in it ... */
	int			before;			/* ... and in the one before */
} Pace;

/* Return the messages a second to send: an account's rate, or less if the gateway takes less. */
extern double pace_rate(const Pace *pace, double rate);

/* Note that the gateway accepted a message, or refused one as too many. */
extern void pace_accepted(Pace *pace, TimestampTz now);
extern void pace_refused(Pace *pace, TimestampTz now);

/* Begin, with a pause since the server's start: what was sent before is not known. */
extern void pace_hold(Pace *pace, TimestampTz started_at);

/* How many messages may be claimed now. */
extern int	pace_allowance(const Pace *pace, int max_in_flight, double rate, TimestampTz now);

/* When time alone will allow one more; DT_NOEND: not by time alone. */
extern TimestampTz pace_next(const Pace *pace, int max_in_flight, double rate,
							 TimestampTz now);

/* When the rate allows the next message; DT_NOBEGIN: always. */
extern TimestampTz pace_slot(const Pace *pace, double rate, TimestampTz now);

/* Note that a message was claimed. */
extern void pace_begin(Pace *pace, double rate, TimestampTz now);

/* Note that a message left later than it was claimed. */
extern void pace_delay(Pace *pace, double rate, int64 delay);

/* Note that a message came back, or its claim did not commit. */
extern void pace_end(Pace *pace);

/* A delay that doubles with each try, up to five minutes, give or take a fifth. */
extern int64 pace_backoff(int64 first, int tries);

#endif							/* SMS3300_WORKER_PACE_H */
