/*
 * stops.h
 *		What stops an account or a user mapping, and what opens it.
 */
#ifndef SMS3300_WORKER_STOPS_H
#define SMS3300_WORKER_STOPS_H

#include "worker/queue.h"

/* Log that what had stopped is open, if the stop was logged. */
extern void queue_tell_open(AccountQueue *queue);

/*
 * Note that a message was claimed in vain: the claim did not commit, or no request was
 * made.  If it was a probe, another message is the next one at once.
 */
extern void queue_unclaimed(AccountQueue *queue, Mapping *mapping);

/* Note that a mapping has no credentials that can be used, so that its messages are passed by. */
extern void queue_no_credentials(AccountQueue *queue, Mapping *mapping, const char *reason,
								 TimestampTz now);

/* Note that a request was ended by a stop of the server, which says nothing of the account. */
extern void queue_aborted(AccountQueue *queue, Mapping *mapping);

/* Record that the limit of an account is reached until a time; log it if that is news. */
extern void queue_exhausted(AccountQueue *queue, TimestampTz until, const char *reason, bool is_news);

/* Look again whether the limit is reached, as parts were given back. */
extern void queue_returned(AccountQueue *queue);

/* The outcome of a request. */
typedef struct Outcome
{
	int64		id;				/* of the message */
	uint32		sender;			/* a hash of its sender */
	Mapping    *mapping;		/* that it was sent with */
	GatewayVerdict verdict;
	bool		of_mapping;		/* VERDICT_ACCOUNT: the credentials were refused */
	int			code;			/* VERDICT_REJECTED: the gateway's; 0: none, or the message's own fault */
	bool		too_many;		/* VERDICT_ACCOUNT: HTTP 429, too many at a time */
	int64		retry_after;
	const char *reason;
	TimestampTz at;
} Outcome;

/* Record the outcome of a request, which may stop or open the account, or its mapping. */
extern void queue_finished(AccountQueue *queue, const Outcome *outcome);

#endif							/* SMS3300_WORKER_STOPS_H */
