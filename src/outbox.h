/*
 * outbox.h
 *		Every statement on sms_outbox.
 */
#ifndef SMS3300_OUTBOX_H
#define SMS3300_OUTBOX_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

/* The columns, in the order of the install script. */
enum OutboxColumn
{
	OUTBOX_ID = 1,
	OUTBOX_MOBILE,
	OUTBOX_MESSAGE,
	OUTBOX_LINE,
	OUTBOX_LINE2,
	OUTBOX_TYPE,
	OUTBOX_TEMPLATE,
	OUTBOX_ACCOUNT,
	OUTBOX_PRIORITY,
	OUTBOX_SEND_AFTER,
	OUTBOX_SEND_BEFORE,
	OUTBOX_DEDUP_KEY,
	OUTBOX_METADATA,
	OUTBOX_SENDER,
	OUTBOX_CREATED_AT,
	OUTBOX_STATUS,
	OUTBOX_ATTEMPTS,
	OUTBOX_DUE_AT,
	OUTBOX_STARTED_AT,
	OUTBOX_FINISHED_AT,
	OUTBOX_HTTP_STATUS,
	OUTBOX_API_STATUS,
	OUTBOX_MESSAGE_ID,
	OUTBOX_SENT_LINE,
	OUTBOX_RESPONSE,
	OUTBOX_ERROR,
	OUTBOX_ERRORS,
	OUTBOX_ORIGIN
};

/* The columns that callers write, OUTBOX_MOBILE to OUTBOX_METADATA. */
#define OUTBOX_CALLER_COLUMNS (OUTBOX_METADATA - OUTBOX_MOBILE + 1)

/* A message that was claimed: it is on its way once the claim is committed. */
typedef struct OutboxClaim
{
	int64		id;
	char	   *mobile;
	char	   *message;		/* in the server's encoding, like all strings */
	char	   *line;			/* NULL: none */
	char	   *line2;			/* NULL: none */
	int			type;			/* GATEWAY_NONE: none */
	int			template;		/* GATEWAY_NONE: none */
	char	   *account;
	char	   *sender;
	int			attempts;
	TimestampTz due_at;
	TimestampTz started_at;
	TimestampTz send_after;
} OutboxClaim;

/* What became of a message that was claimed. */
typedef struct OutboxResult
{
	int64		id;
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
	bool		recorded;		/* set by outbox_record */
	bool		locked;			/* likewise: somebody holds a lock on the row */
} OutboxResult;

/* An orphan: a row that a former worker left in the state 'sending'. */
typedef struct OutboxOrphan
{
	int64		id;
	char	   *account;
	TimestampTz started_at;
} OutboxOrphan;

/* What sms3300_explain() reads of a row. */
typedef struct OutboxRow
{
	char	   *account;
	char	   *status;
	char	   *sender;
	int			priority;
	int			attempts;
	TimestampTz send_after;
	TimestampTz send_before;
	TimestampTz due_at;			/* 0: none, as the next two */
	TimestampTz started_at;
	TimestampTz finished_at;
	bool		has_message_id;
	int64		message_id;
	char	   *line;			/* NULL: none, as all below */
	char	   *sent_line;
	int			type;			/* GATEWAY_NONE: none */
	char	   *error;
	char	   *last_failure;	/* the last of "errors" */
	int64		origin;
} OutboxRow;

/* Whether the worker can work on the table in this transaction. */
typedef enum OutboxAccess
{
	OUTBOX_OPEN,
	OUTBOX_LOCKED,				/* somebody holds a lock on it: try again */
	OUTBOX_MISSING				/* the extension is not in this database */
} OutboxAccess;

/* The hash that tells rows queued here from rows that came from elsewhere. */
extern int64 outbox_origin(void);

/* For the worker, in a transaction of its own */
extern OutboxAccess outbox_open(void);
extern void outbox_close(void);
extern void outbox_candidates(const char *account, const NameData *but, int nbut, TimestampTz now,
							  int skip, int limit, int64 *ids, int *nids);
extern TimestampTz outbox_next_due(const char *account, const NameData *but, int nbut);
extern TimestampTz outbox_next_expiry(void);
extern int	outbox_expiring(TimestampTz now, const int64 *but, int nbut, int limit, int64 *ids);
extern List *outbox_expire(TimestampTz now, const int64 *ids, int nids);
extern void outbox_hurry(const char *account);
extern TimestampTz outbox_oldest_finished(const char *account, bool with_text);
extern bool outbox_remove(const char *account, bool only_text, TimestampTz until);
extern OutboxClaim *outbox_claim(const int64 *ids, int nids, TimestampTz now, int *nclaims);
extern void outbox_record(OutboxResult *results, int nresults, bool skip_locked);
extern List *outbox_orphans(void);
extern bool outbox_has_prepared(void);

/* For callers, in their transaction and with their rights as far as said */
extern int64 outbox_insert(Oid namespace, const Datum *values, const bool *nulls,
						   bool *inserted);
extern bool outbox_visible(Oid namespace, int64 id, char **account);
extern bool outbox_cancel(Oid namespace, int64 id);
extern bool outbox_requeue(Oid namespace, int64 id);
extern int64 outbox_adopt(Oid namespace);
extern bool outbox_read(Oid namespace, int64 id, OutboxRow *row);
extern int64 outbox_count_before(Oid namespace, int64 id, const OutboxRow *row, int64 limit);

#endif							/* SMS3300_OUTBOX_H */
