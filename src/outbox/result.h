/*
 * result.h
 *		What became of messages, and how that gets onto their rows.
 */
#ifndef SMS3300_OUTBOX_RESULT_H
#define SMS3300_OUTBOX_RESULT_H

#include "datatype/timestamp.h"
#include "storage/itemptr.h"
#include "utils/jsonb.h"

/* What became of a message that was claimed. */
typedef struct MessageResult
{
	int64		id;
	ItemPointerData place;		/* where its row was last seen; invalid: not known */
	TimestampTz started_at;		/* the claim's */
	const char *status;			/* a label of sms_status */
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
	const char *error;			/* NULL: none */
	const char *phase;			/* of the error */
	bool		recorded;		/* set by results_record */
	bool		locked;			/* likewise: somebody holds a lock on the row */
} MessageResult;

/* For the worker, while the queue is open */
extern void results_record(MessageResult *results, int nresults, bool skip_locked);
extern bool result_is_awaited(int64 id, TimestampTz started_at);

#endif							/* SMS3300_OUTBOX_RESULT_H */
