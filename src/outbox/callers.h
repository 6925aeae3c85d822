/*
 * callers.h
 *		Statements of callers on sms_outbox.
 */
#ifndef SMS3300_OUTBOX_CALLERS_H
#define SMS3300_OUTBOX_CALLERS_H

#include "datatype/timestamp.h"

#include "account/parts.h"
#include "outbox/columns.h"
#include "outbox/status.h"

/* The columns that sms3300_explain() reads. */
typedef struct OutboxRow
{
	char	   *mobile;
	Parts		parts;
	char	   *account;
	MessageStatus status;
	char	   *sender;
	int			priority;
	int			attempts;
	TimestampTz send_after;
	TimestampTz send_before;
	TimestampTz due_at;			/* this and the next two: 0 is null */
	TimestampTz started_at;
	TimestampTz finished_at;
	bool		has_message_id;
	int64		message_id;
	bool		redacted;		/* its text was removed */
	char	   *line;			/* this and all below: NULL is null */
	char	   *line2;
	char	   *sent_line;
	int			type;			/* NULL_NUMBER: none */
	char	   *error;
	char	   *last_failure;	/* of the last of "events" */
	int64		origin;
	int			api_status;		/* NULL_NUMBER: none */
	TransactionId xmax;			/* which has locked or changed the row, unless it was several */
} OutboxRow;

/* For callers, in their transaction and with their rights as far as said */

/*
 * Queue a message with the caller's rights.  Where a message of the caller holds the
 * dedup_key, its id is returned and nothing is queued; a NOTICE tells if it is not the same.
 */
extern int64 outbox_insert(Oid namespace, const Datum *values, const bool *nulls,
						   bool *inserted);

/* Read a row that the caller may see; false if there is none. */
extern bool outbox_read(Oid namespace, int64 id, OutboxRow *row);

/*
 * How many messages that are due come before a queued one, whosoever they are;
 * counts no further than a limit.
 */
extern int64 outbox_count_before(Oid namespace, int64 id, const OutboxRow *row, int64 limit);

#endif							/* SMS3300_OUTBOX_CALLERS_H */
