/*
 * claim.h
 *		Claims: messages that are taken out of the queue to be sent.
 */
#ifndef SMS3300_OUTBOX_CLAIM_H
#define SMS3300_OUTBOX_CLAIM_H

#include "datatype/timestamp.h"

/* A message that was claimed: it is on its way once the claim is committed. */
typedef struct Claim
{
	int64		id;
	char	   *mobile;
	char	   *message;		/* in the server's encoding, like all strings */
	char	   *line;			/* NULL: none */
	char	   *line2;			/* NULL: none */
	int			type;			/* NULL_NUMBER: none */
	int			template;		/* NULL_NUMBER: none */
	char	   *account;
	char	   *sender;
	int			attempts;
	TimestampTz due_at;
	TimestampTz started_at;
	TimestampTz send_after;
} Claim;

/*
 * Claim messages: those that are due, still queued and not locked by others
 * become 'sending'.  The claims are in the order of the ids, and in memory of
 * the caller.  For the worker, while sms_outbox is open.
 */
extern Claim *claim_messages(const int64 *ids, int nids, TimestampTz now, int *nclaims);

#endif							/* SMS3300_OUTBOX_CLAIM_H */
