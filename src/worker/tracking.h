/*
 * tracking.h
 *		When the delivery states of an account's messages are asked for.
 *
 * Each of the account's delivery_checks has a place among the finished messages: those
 * before it have been looked at.  A last one, an hour after the last check, finds what
 * was not looked at in time.  The places are kept in shared memory when the worker
 * leaves; where they are lost, each message that waits is asked for once more.
 */
#ifndef SMS3300_WORKER_TRACKING_H
#define SMS3300_WORKER_TRACKING_H

#include "account/account.h"
#include "outbox/candidates.h"
#include "shared/counters.h"

/* Maximum number of messages that a transaction reads to find those that wait. */
#define TRACKING_WINDOW 1000

/* The checks, and what comes after the last one. */
#define MAX_TRACKING_STEPS (MAX_DELIVERY_CHECKS + 1)

/* A message that is to be asked for. */
typedef struct Look
{
	int64		id;
	int64		message_id;		/* at the gateway */
	Oid			role;			/* whose mapping is used; InvalidOid: the one for PUBLIC */
	bool		last;			/* there will be no other look */
} Look;

typedef struct Tracking
{
	/* Of the account */
	uint64		version;
	int			nsteps;
	int64		ages[MAX_TRACKING_STEPS];
	int			batch;
	int64		interval;

	QueuePlace	places[MAX_TRACKING_STEPS];
	TimestampTz due[MAX_TRACKING_STEPS];	/* when there may be work behind it */
	TimestampTz not_before;		/* no request before this */
	int			failures;		/* consecutive replies that were of no use */
	int			singles;		/* so many requests for a single id are next */
	bool		told;			/* the problem was logged */
	char		problem[COUNTERS_REASON_SIZE];	/* empty: none */

	int			nlooks;			/* those that were found, and not yet asked for */
	Look		looks[TRACKING_WINDOW];
} Tracking;

/*
 * Apply the options of an account, NULL if it is gone: begin, or end, to track its
 * messages.  Needs a transaction with the outbox open.
 */
extern void tracking_configure(Tracking **tracking, const Account *account);

/* Note that a message was sent whose state is to be asked for. */
extern void tracking_expect(Tracking *tracking, TimestampTz finished_at);

/* Return when there is work; DT_NOEND: never. */
extern TimestampTz tracking_next(const Tracking *tracking);

/* Discard waiting times, because the clock was set back. */
extern void tracking_set_back(Tracking *tracking, TimestampTz now);

/*
 * Find the messages that are due to be asked for, up to a window of them, and those
 * that have passed their last look, whose number is returned.  Needs a transaction
 * with the outbox open.
 */
extern int	tracking_find(Tracking *tracking, const Account *account, TimestampTz now,
						  Look *passed);

/* Return how many looks with one mapping may be asked for in one request; they come first. */
extern int	tracking_group(Tracking *tracking);

/* Note that the first looks were made. */
extern void tracking_done(Tracking *tracking, int n, Oid server);

/* Return how many of the first looks were made if their reply was of no use; they come first. */
extern int	tracking_given_up(Tracking *tracking, int n);

/* Note that a request was answered, refused for some time, or of no use. */
extern void tracking_succeeded(Tracking *tracking, TimestampTz now);
extern void tracking_wait(Tracking *tracking, TimestampTz now);
extern void tracking_refused(Tracking *tracking, TimestampTz now);
extern void tracking_failed(Tracking *tracking, TimestampTz now);

/* Forget what was found, because its transaction failed: it is found again, later. */
extern void tracking_undo(Tracking *tracking, Oid server, TimestampTz now);

#endif							/* SMS3300_WORKER_TRACKING_H */
