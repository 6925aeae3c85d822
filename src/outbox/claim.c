/*
 * claim.c
 *		Claims: messages that are taken out of the queue to be sent.
 *
 * A claim is committed before its request leaves, so that no crash can make it
 * leave twice.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "outbox/access.h"
#include "outbox/candidates.h"
#include "outbox/claim.h"
#include "outbox/direct.h"
#include "outbox/statement.h"

/* Attempts are not counted any further. */
#define MAX_ATTEMPTS 32767

/* Order claims by id. */
static int
compare_claims(const void *a, const void *b)
{
	return statement_compare_ids(&((const Claim *) a)->id, &((const Claim *) b)->id);
}

/* What is read of a row that was claimed. */
#define CLAIM_COLUMNS \
	"o.id, o.mobile, o.message, o.line, o.line2, o.type, o.template," \
	" o.account, o.sender, o.attempts, o.send_after, o.due_at," \
	" coalesce(o.started_at, '-infinity'), o.status = 'sending'"

/*
 * The candidates are known: nothing here may tempt the planner to look for
 * them by another index than the primary key, hence the coalesce and the
 * IS NOT DISTINCT.
 */
static Statement claim_statement = {
	.sql = "UPDATE %1$s AS o SET status = 'sending', attempts = least(o.attempts + 1, " CppAsString2(MAX_ATTEMPTS) "),"
	" started_at = $2"
	" FROM (SELECT q.tableoid, q.ctid FROM pg_catalog.unnest($1) AS c(id) JOIN %1$s AS q ON q.id = c.id"
	"  WHERE q.status = 'queued' AND coalesce(q.due_at, 'infinity') <= $2"
	"  AND q.send_before > $2 AND q.origin IS NOT DISTINCT FROM $3"
	"  FOR NO KEY UPDATE OF q SKIP LOCKED) AS c"
	" WHERE o.ctid = c.ctid AND o.tableoid = c.tableoid"
	" RETURNING " CLAIM_COLUMNS,
	.nargs = 3, .argtypes = {INT8ARRAYOID, TIMESTAMPTZOID, INT8OID}
};

static Statement claimed_statement = {
	.sql = "SELECT " CLAIM_COLUMNS " FROM pg_catalog.unnest($1) AS c(id) JOIN %s AS o ON o.id = c.id",
	.nargs = 1, .argtypes = {INT8ARRAYOID}
};

/*
 * Claim messages with a statement.  Where triggers run afterwards the rows are
 * read again, whatever those did to them: only what is 'sending' in the end may
 * be sent.
 */
static Claim *
claim_by_statement(const int64 *ids, int nids, TimestampTz now, int *nclaims)
{
	Datum		values[] = {
		statement_id_array(ids, nids), TimestampTzGetDatum(now), Int64GetDatum(outbox_origin())
	};
	Claim	   *found;
	Claim	   *claims;
	bool	   *returned;
	int			n = 0;

	statement_run(outbox_namespace(), &claim_statement, values, NULL);
	if (SPI_processed > 0 && outbox_has_after_triggers())
	{
		int			nids_updated;
		int64	   *updated = statement_ids(&nids_updated);

		values[0] = statement_id_array(updated, nids_updated);
		statement_run(outbox_namespace(), &claimed_statement, values, NULL);
	}
	found = palloc(sizeof(Claim) * (SPI_processed + 1));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Claim	   *claim = &found[n];

		if (!statement_bool(i, 14))
			continue;
		n++;
		claim->id = statement_int64(i, 1);
		claim->mobile = statement_string(i, 2);
		claim->message = statement_string(i, 3);
		claim->line = statement_string(i, 4);
		claim->line2 = statement_string(i, 5);
		claim->type = statement_number(i, 6, INT2OID);
		claim->template = statement_number(i, 7, INT4OID);
		claim->account = statement_name(i, 8);
		claim->sender = statement_name(i, 9);
		claim->attempts = statement_number(i, 10, INT2OID);
		claim->send_after = statement_int64(i, 11);
		claim->due_at = statement_int64(i, 12);
		claim->started_at = statement_int64(i, 13);
		ItemPointerSetInvalid(&claim->place);
	}
	SPI_freetuptable(SPI_tuptable);

	qsort(found, n, sizeof(Claim), compare_claims);
	claims = palloc(sizeof(Claim) * Max(n, 1));
	returned = palloc0(sizeof(bool) * Max(n, 1));
	*nclaims = 0;
	for (int i = 0; i < nids && *nclaims < n; i++)
	{
		Claim		key = {.id = ids[i]};
		Claim	   *claim = bsearch(&key, found, n, sizeof(Claim), compare_claims);

		/* Whatever was asked for, a row is sent once. */
		if (claim && !returned[claim - found])
		{
			claims[(*nclaims)++] = *claim;
			returned[claim - found] = true;
		}
	}
	return claims;
}

/* Tell whether the row that was found may be claimed, as the statement has it. */
static bool
is_claimable(Oid queued, TimestampTz now)
{
	bool		no_status;
	bool		no_origin;
	Oid			status = DatumGetObjectId(direct_value(OUTBOX_STATUS, &no_status));
	int64		origin = DatumGetInt64(direct_value(OUTBOX_ORIGIN, &no_origin));

	return !no_status && status == queued && !no_origin && origin == outbox_origin() &&
		direct_time(OUTBOX_DUE_AT, DT_NOEND) <= now &&
		direct_time(OUTBOX_SEND_BEFORE, DT_NOBEGIN) > now;
}

/* Claim a message without a statement; false if it cannot be. */
static bool
claim_row(int64 id, ItemPointer place, Oid queued, Oid sending, TimestampTz now, Claim *claim)
{
	if (!direct_find(id, place) || !is_claimable(queued, now))
		return false;

	claim->id = id;
	claim->mobile = direct_string(OUTBOX_MOBILE);
	claim->message = direct_string(OUTBOX_MESSAGE);
	claim->line = direct_string(OUTBOX_LINE);
	claim->line2 = direct_string(OUTBOX_LINE2);
	claim->type = direct_number(OUTBOX_TYPE, INT2OID);
	claim->template = direct_number(OUTBOX_TEMPLATE, INT4OID);
	claim->account = direct_name(OUTBOX_ACCOUNT);
	claim->sender = direct_name(OUTBOX_SENDER);
	claim->attempts = Min(direct_number(OUTBOX_ATTEMPTS, INT2OID) + 1, MAX_ATTEMPTS);
	claim->send_after = direct_time(OUTBOX_SEND_AFTER, 0);
	claim->due_at = direct_time(OUTBOX_DUE_AT, 0);
	claim->started_at = now;

	direct_set(OUTBOX_STATUS, ObjectIdGetDatum(sending), false);
	direct_set(OUTBOX_ATTEMPTS, Int16GetDatum(claim->attempts), false);
	direct_set(OUTBOX_STARTED_AT, TimestampTzGetDatum(now), false);
	return direct_write(&claim->place);
}

/* Claim messages without a statement. */
static Claim *
claim_directly(const int64 *ids, ItemPointer places, int nids, TimestampTz now, int *nclaims)
{
	Claim	   *claims = palloc(sizeof(Claim) * nids);
	Oid			queued;
	Oid			sending;

	*nclaims = 0;
	direct_begin(outbox_table());
	queued = direct_status("queued");
	sending = direct_status("sending");
	for (int i = 0; i < nids; i++)
		if (claim_row(ids[i], &places[i], queued, sending, now, &claims[*nclaims]))
			(*nclaims)++;
	direct_end();
	return claims;
}

/*
 * Claim messages: those that are still queued, and not locked by anybody, are
 * 'sending' from the commit on.  They come in the order asked for, in memory
 * of the transaction.
 */
Claim *
claim_messages(const int64 *ids, ItemPointer places, int nids, TimestampTz now, int *nclaims)
{
	return outbox_is_direct() ? claim_directly(ids, places, nids, now, nclaims) :
		claim_by_statement(ids, nids, now, nclaims);
}
