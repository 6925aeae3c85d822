/*
 * columns.h
 *		The columns of sms_outbox.
 */
#ifndef SMS3300_OUTBOX_COLUMNS_H
#define SMS3300_OUTBOX_COLUMNS_H

#include "utils/relcache.h"

#define OUTBOX_TABLE "sms_outbox"

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

/* Refuse a table whose columns are not those of the install script. */
extern void columns_check(Relation table);

#endif							/* SMS3300_OUTBOX_COLUMNS_H */
