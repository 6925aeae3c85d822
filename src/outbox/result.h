/*
 * result.h
 *		Results: what became of messages, written onto their rows.
 */
#ifndef SMS3300_OUTBOX_RESULT_H
#define SMS3300_OUTBOX_RESULT_H

#include "datatype/timestamp.h"
#include "utils/jsonb.h"

#include "outbox/status.h"

/* What became of a message that was claimed. */
typedef struct MessageResult
{
	int64		id;
	const char *account;
	TimestampTz started_at;		/* the claim's */
	MessageStatus status;
	TimestampTz due_at;			/* queued: when again; DT_NOBEGIN: as before */
	bool		counted;		/* the request counts as an attempt */
	TimestampTz at;				/* when that was known */
	int			http_status;	/* 0: no reply came, the last one is kept */
	bool		has_api_status;
	int			api_status;
	bool		has_message_id;
	int64		message_id;
	const char *sent_line;		/* NULL: none */
	Jsonb	   *response;		/* NULL: none */
	bool		tracked;		/* sent, and its delivery state will be asked for */
	const char *error;			/* NULL: none */
	const char *phase;			/* of the error */
	bool		recorded;		/* set by results_record */
	TimestampTz expires;		/* likewise: send_before of the row, unless it is not recorded */
	bool		written;		/* likewise: its row has the status */
	bool		locked;			/* likewise: another session holds a lock on the row */
} MessageResult;

/*
 * Record results, in one step.
 *
 * A result is recorded if its row took it, and also if its row does not await
 * it: it was finished by hand, or belongs to another table by now.  With
 * skip_locked, a row that another transaction has locked is marked as such and
 * left alone; otherwise its lock is waited for.  A result that is neither
 * recorded nor locked was suppressed by a trigger, or undone.
 *
 * For the worker, while sms_outbox is open.
 */
extern void results_record(MessageResult *results, int nresults, bool skip_locked);

/* Tell listeners of the messages that the results finish, once what was written stays. */
extern void results_tell(const MessageResult *results, int nresults);

/* Tell whether the row of a message awaits the result of the request that was started then. */
extern bool result_is_awaited(int64 id, TimestampTz started_at);

#endif							/* SMS3300_OUTBOX_RESULT_H */
