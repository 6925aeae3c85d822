/*
 * claim.c
 *		Claims: messages that are taken out of the queue to be sent.
 *
 * A claim is committed before its request leaves, so that no crash can make it
 * leave twice.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "outbox/access.h"
#include "outbox/claim.h"
#include "outbox/row.h"

/* Attempts are not counted any further. */
#define MAX_ATTEMPTS 32767

/* The columns that a claim sets. */
static const enum OutboxColumn claim_columns[] = {
	OUTBOX_STATUS, OUTBOX_ATTEMPTS, OUTBOX_STARTED_AT
};

/* Tell whether the row may be claimed. */
static bool
is_claimable(const Rows *rows, Oid queued, TimestampTz now)
{
	bool		isnull;
	int64		origin = DatumGetInt64(row_value(rows, OUTBOX_ORIGIN, &isnull));

	return row_status(rows) == queued && !isnull && origin == outbox_origin() &&
		row_time(rows, OUTBOX_DUE_AT, DT_NOEND) <= now &&
		row_time(rows, OUTBOX_SEND_BEFORE, DT_NOBEGIN) > now;
}

/* Return the claim that a row is, in memory of the caller. */
static Claim
read_claim(const Rows *rows, int64 id)
{
	return (Claim) {
		.id = id,
		.mobile = row_string(rows, OUTBOX_MOBILE),
		.message = row_string(rows, OUTBOX_MESSAGE),
		.line = row_string(rows, OUTBOX_LINE),
		.line2 = row_string(rows, OUTBOX_LINE2),
		.type = row_number(rows, OUTBOX_TYPE, INT2OID),
		.template = row_number(rows, OUTBOX_TEMPLATE, INT4OID),
		.account = row_name(rows, OUTBOX_ACCOUNT),
		.sender = row_name(rows, OUTBOX_SENDER),
		.attempts = row_number(rows, OUTBOX_ATTEMPTS, INT2OID),
		.due_at = row_time(rows, OUTBOX_DUE_AT, 0),
		.started_at = row_time(rows, OUTBOX_STARTED_AT, DT_NOBEGIN),
		.send_after = row_time(rows, OUTBOX_SEND_AFTER, 0)
	};
}

/* Write the claim of a message; false if it cannot be claimed. */
static bool
write_claim(Rows *rows, int64 id, Oid queued, Oid sending, TimestampTz now)
{
	int			attempts;

	if (!row_find(rows, id) || !is_claimable(rows, queued, now) ||
		row_lock(rows, LockWaitSkip) != ROW_LOCKED || !is_claimable(rows, queued, now))
		return false;

	attempts = Max(row_number(rows, OUTBOX_ATTEMPTS, INT2OID), 0);
	row_set(rows, OUTBOX_STATUS, ObjectIdGetDatum(sending));
	row_set(rows, OUTBOX_ATTEMPTS, Int16GetDatum(Min(attempts + 1, MAX_ATTEMPTS)));
	row_set(rows, OUTBOX_STARTED_AT, TimestampTzGetDatum(now));
	row_write(rows);
	return true;
}

/* Keep the claims that triggers have left in force, as those have left them; how many. */
static int
read_again(Claim *claims, int nclaims)
{
	Rows	   *rows = rows_open(NULL, 0);
	Oid			sending = rows_status(rows, STATUS_SENDING);
	int			n = 0;

	for (int i = 0; i < nclaims; i++)
		if (row_find(rows, claims[i].id) && row_status(rows) == sending)
			claims[n++] = read_claim(rows, claims[i].id);
	rows_close(rows);
	return n;
}

Claim *
claim_messages(const int64 *ids, int nids, TimestampTz now, int *nclaims)
{
	Claim	   *claims = palloc(sizeof(Claim) * Max(nids, 1));
	Rows	   *rows = rows_open(claim_columns, lengthof(claim_columns));
	Oid			queued = rows_status(rows, STATUS_QUEUED);
	Oid			sending = rows_status(rows, STATUS_SENDING);

	*nclaims = 0;
	for (int i = 0; i < nids; i++)
		if (write_claim(rows, ids[i], queued, sending, now))
			claims[(*nclaims)++] = read_claim(rows, ids[i]);
	if (rows_close(rows))
		*nclaims = read_again(claims, *nclaims);
	return claims;
}
