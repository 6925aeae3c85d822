/*
 * history.h
 *		The table sms3300_history: what was counted by the hour, and by the day.
 */
#ifndef SMS3300_OUTBOX_HISTORY_H
#define SMS3300_OUTBOX_HISTORY_H

#include "access/htup.h"
#include "datatype/timestamp.h"

/* What an account counted in an hour. */
typedef struct HistoryRow
{
	const char *account;
	TimestampTz hour;
	int64		sent;
	int64		rejected;
	int64		unknown;
	int64		requests;
	double		request_time_p95;	/* in milliseconds; below 0: none */
} HistoryRow;

/*
 * For the worker, while sms_outbox is open: write rows, make days of hours that are older
 * than a week, and remove what is older than a year.  Does nothing if the extension's
 * version has no such table, or another session has locked it; returns whether it wrote.
 */
extern bool history_write(const HistoryRow *rows, int nrows, TimestampTz now);

/*
 * Return the rows of the table in a schema, in memory of the caller: account, hour, sent,
 * rejected, unknown, requests and request_time_p95, of the types in the install script.
 */
extern HeapTuple *history_read(Oid namespace, uint64 *nrows);

#endif							/* SMS3300_OUTBOX_HISTORY_H */
