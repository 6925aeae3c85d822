/*
 * claim.h
 *		Claims: messages that are taken out of the queue to be sent.
 */
#ifndef SMS3300_OUTBOX_CLAIM_H
#define SMS3300_OUTBOX_CLAIM_H

#include "account/rules.h"

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
	int			priority;
	int			parts;			/* 0: not known, as the account has no limit */
	int			attempts;
	TimestampTz due_at;
	TimestampTz started_at;
	TimestampTz send_after;
} Claim;

/* A message that was finished instead, by a rule of its account. */
typedef struct Forbidden
{
	char	   *account;
	bool		failed;			/* or else suppressed */
} Forbidden;
/* An account whose limit of parts a day keeps a message from being claimed. */
typedef struct Exhausted
{
	const char *account;
	bool		is_news;
	RulesVerdict verdict;
} Exhausted;

typedef struct Claims
{
	Claim	   *claims;			/* in the order of the ids */
	int			nclaims;
	Forbidden  *forbidden;
	int			nforbidden;
	List	   *exhausted;		/* of Exhausted; an account may be there several times */
} Claims;

/*
 * Claim messages: those that are due, still queued and not locked by others
 * become 'sending', or where a rule of their account forbids them 'suppressed' or
 * 'failed'.
 * All is in memory of the caller.  For the worker, while sms_outbox is open.
 */
extern Claims claim_messages(const int64 *ids, int nids, TimestampTz now);

/*
 * Begin a transaction that may claim messages; or count no longer what was claimed since, as
 * it failed.
 */
extern void claims_begin(void);
extern void claims_undo(void);

#endif							/* SMS3300_OUTBOX_CLAIM_H */
