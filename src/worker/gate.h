/*
 * gate.h
 *		Whether an account, or a user mapping, sends: open, held, or stopped by a refusal.
 *
 * An account has one, and each of its user mappings has one.  Its state changes by the functions below and in no other way.  Times
 * are those of the server's clock, durations in microseconds.
 */
#ifndef SMS3300_WORKER_GATE_H
#define SMS3300_WORKER_GATE_H

#include "shared/counters.h"

/* So many senders are blamed for a stop, at most.  After that it is not them. */
#define GATE_BLAMED 8

typedef struct Gate
{
	AccountState state;
	int			failures;		/* in a row, since it stopped */
	TimestampTz probe_at;		/* stopped: when to try again */
	int64		refused;		/* the message that was refused last; 0: none */
	char		reason[COUNTERS_REASON_SIZE];	/* and why */
	bool		of_mapping;		/* it was the credentials */

	/* Those whose messages may be why it stopped do not hold up others */
	uint32		blamed[GATE_BLAMED];	/* hashes of senders */
	int			nblamed;
	TimestampTz other_from;		/* another sender's message may be tried from then on; 0: none */
	TimestampTz other_at;		/* when to look for one; 0: when new messages are queued */
} Gate;

/* Return the state that is published, and whether two are the same. */
extern LiveState gate_live(const Gate *gate, int in_flight);
extern bool gate_live_equal(const LiveState *a, const LiveState *b);

/* How many messages may pass now; INT_MAX: any number. */
extern int	gate_allowance(const Gate *gate, TimestampTz now);

/* When time alone will let one pass; DT_NOEND: not by time alone. */
extern TimestampTz gate_next(const Gate *gate);

/* stopped -> probing: a message passes, to try.  Any other state stays. */
extern void gate_pass(Gate *gate);

/* probing -> stopped: the message has come back untried.  Any other state stays. */
extern void gate_return(Gate *gate);

/*
 * open -> stopped, and probing -> stopped, for longer; not before retry_after (-1: by
 * back-off).  Stopped stays, as of many messages that fail together the first decides,
 * and so does what is held.  True if it was open.
 */
extern bool gate_stop(Gate *gate, int64 retry_after, TimestampTz now);

/* Note what was refused last, why, and whether it was the credentials. */
extern void gate_blame(Gate *gate, int64 refused, const char *reason, bool of_mapping);

/*
 * Note whose message was refused last, if the message may be the cause.  A message of a
 * sender who is not blamed need not wait for the next probe, which may be minutes away.
 */
extern void gate_blame_sender(Gate *gate, uint32 sender, TimestampTz now);
extern bool gate_blames(const Gate *gate, uint32 sender);

/* Return whether a message may pass only if its sender is not blamed. */
extern bool gate_is_for_others(const Gate *gate, TimestampTz now);

/* Note that there is no message of another sender; and that there may be one, as some are new. */
extern void gate_no_other(Gate *gate, TimestampTz now);
extern void gate_news(Gate *gate);

/* stopped, probing -> open: a message got through.  True unless it was open, or is held. */
extern bool gate_succeed(Gate *gate);

/*
 * Any state -> open, or held (ACCOUNT_PAUSED), as the account says.
 * True if it had stopped, and is open.
 */
extern bool gate_set(Gate *gate, AccountState state);

/* Let a stopped one try now: the clock was set back. */
extern void gate_set_back(Gate *gate, TimestampTz now);

#endif							/* SMS3300_WORKER_GATE_H */
