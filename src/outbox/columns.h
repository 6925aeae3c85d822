/*
 * columns.h
 *		The columns of sms_outbox.
 */
#ifndef SMS3300_OUTBOX_COLUMNS_H
#define SMS3300_OUTBOX_COLUMNS_H

#include "utils/relcache.h"

#define OUTBOX_TABLE "sms_outbox"

/* The number of entries that are kept in "events", the newest */
#define OUTBOX_MAX_EVENTS 50

/*
 * The columns, in the order of the install script: number, name and type.  In place
 * of the OID of an enum, which differs between databases, stands ENUM_TYPE.
 */
#define OUTBOX_COLUMNS(X) \
	X(OUTBOX_ID, "id", INT8OID) \
	X(OUTBOX_MOBILE, "mobile", TEXTOID) \
	X(OUTBOX_MESSAGE, "message", TEXTOID) \
	X(OUTBOX_LINE, "line", TEXTOID) \
	X(OUTBOX_LINE2, "line2", TEXTOID) \
	X(OUTBOX_TYPE, "type", INT2OID) \
	X(OUTBOX_TEMPLATE, "template", INT4OID) \
	X(OUTBOX_ACCOUNT, "account", NAMEOID) \
	X(OUTBOX_PRIORITY, "priority", INT2OID) \
	X(OUTBOX_SEND_AFTER, "send_after", TIMESTAMPTZOID) \
	X(OUTBOX_SEND_BEFORE, "send_before", TIMESTAMPTZOID) \
	X(OUTBOX_DEDUP_KEY, "dedup_key", TEXTOID) \
	X(OUTBOX_METADATA, "metadata", JSONBOID) \
	X(OUTBOX_SENDER, "sender", NAMEOID) \
	X(OUTBOX_CREATED_AT, "created_at", TIMESTAMPTZOID) \
	X(OUTBOX_STATUS, "status", ENUM_TYPE) \
	X(OUTBOX_ATTEMPTS, "attempts", INT2OID) \
	X(OUTBOX_DUE_AT, "due_at", TIMESTAMPTZOID) \
	X(OUTBOX_STARTED_AT, "started_at", TIMESTAMPTZOID) \
	X(OUTBOX_FINISHED_AT, "finished_at", TIMESTAMPTZOID) \
	X(OUTBOX_HTTP_STATUS, "http_status", INT2OID) \
	X(OUTBOX_API_STATUS, "api_status", INT4OID) \
	X(OUTBOX_MESSAGE_ID, "message_id", INT8OID) \
	X(OUTBOX_SENT_LINE, "sent_line", TEXTOID) \
	X(OUTBOX_RESPONSE, "response", JSONBOID) \
	X(OUTBOX_ERROR, "error", TEXTOID) \
	X(OUTBOX_EVENTS, "events", JSONBOID) \
	X(OUTBOX_ORIGIN, "origin", INT8OID) \
	X(OUTBOX_PARTS, "parts", INT2OID) \
	X(OUTBOX_DEDUP_RELEASED, "dedup_released", BOOLOID) \
	X(OUTBOX_DELIVERY, "delivery", ENUM_TYPE) \
	X(OUTBOX_DELIVERY_CODE, "delivery_code", INT4OID) \
	X(OUTBOX_DELIVERY_AT, "delivery_at", TIMESTAMPTZOID)

enum OutboxColumn
{
	OUTBOX_NO_COLUMN,			/* they count from 1 */
#define X(column, name, type) column,
	OUTBOX_COLUMNS(X)
#undef X
	OUTBOX_END
};

#define NUM_OUTBOX_COLUMNS (OUTBOX_END - 1)

/* The columns that callers write, OUTBOX_MOBILE to OUTBOX_METADATA. */
#define OUTBOX_CALLER_COLUMNS (OUTBOX_METADATA - OUTBOX_MOBILE + 1)

/*
 * Refuse a table whose columns are not those of the install script; errors: 42809 if it
 * is not a table, 42804.  Those after OUTBOX_ORIGIN are missing in tables of earlier
 * versions: see columns_have().  What is behind them does not matter.
 */
extern void columns_check(Relation table);

/* Return whether a table has a column where the install script puts it. */
extern bool columns_have(Relation table, enum OutboxColumn column);

/* Return the name of OUTBOX_EVENTS in a checked table: earlier versions call it "errors". */
extern const char *columns_events_name(Relation table);

#endif							/* SMS3300_OUTBOX_COLUMNS_H */
