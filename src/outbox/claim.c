/*
 * claim.c
 *		Claims: messages that are taken out of the queue to be sent.
 *
 * A claim is committed before its request leaves, so that no crash can make it
 * leave twice.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "account/rules.h"
#include "outbox/access.h"
#include "outbox/claim.h"
#include "outbox/row.h"
#include "outbox/tell.h"
#include "shared/armed.h"

/* Attempts are not counted any further. */
#define MAX_ATTEMPTS 32767

/* The columns that a claim sets. */
static const enum OutboxColumn claim_columns[] = {
	OUTBOX_STATUS, OUTBOX_ATTEMPTS, OUTBOX_STARTED_AT
};

/* The columns that are set where a rule forbids a message. */
static const enum OutboxColumn forbid_columns[] = {
	OUTBOX_STATUS, OUTBOX_ATTEMPTS, OUTBOX_DUE_AT, OUTBOX_FINISHED_AT, OUTBOX_ERROR
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

/* Return whether a message is finished instead of being sent. */
static bool
is_forbidden(RulesOutcome outcome)
{
	return outcome == RULES_SUPPRESS || outcome == RULES_FAIL;
}

/* Ask the rules of the row's account; without an account nothing is sent anyway. */
static RulesVerdict
judge_row(const Rows *rows)
{
	const Account *account = account_find(row_name(rows, OUTBOX_ACCOUNT));
	RulesMessage message = {.mobile = row_string(rows, OUTBOX_MOBILE)};
	RulesFacts	facts = {.armed = is_armed()};
	bool		isnull;
	Datum		text = row_value(rows, OUTBOX_MESSAGE, &isnull);

	if (!isnull)
		message.parts = parts_count(text);

	return account ? rules_judge(&message, account, &facts) : (RulesVerdict) {.outcome = RULES_SEND};
}

/* Find the row of a message and lock it; false if it cannot be claimed. */
static bool
take_row(Rows *rows, int64 id, Oid queued, TimestampTz now)
{
	return row_find(rows, id) && is_claimable(rows, queued, now) &&
		row_lock(rows, LockWaitSkip) == ROW_LOCKED && is_claimable(rows, queued, now);
}

/* Write the claim of a message onto its row, which is locked. */
static void
write_claim(Rows *rows, Oid sending, TimestampTz now)
{
	int			attempts = Max(row_number(rows, OUTBOX_ATTEMPTS, INT2OID), 0);

	row_set(rows, OUTBOX_STATUS, ObjectIdGetDatum(sending));
	row_set(rows, OUTBOX_ATTEMPTS, Int16GetDatum(Min(attempts + 1, MAX_ATTEMPTS)));
	row_set(rows, OUTBOX_STARTED_AT, TimestampTzGetDatum(now));
	row_write(rows);
}

/*
 * Keep the claims that triggers have left in force, as those have left them; how many.
 * Those that the rules now forbid are added to the ids of the forbidden.
 */
static int
read_again(Claim *claims, int nclaims, int64 *forbidden, int *nforbidden)
{
	Rows	   *rows = rows_open(NULL, 0);
	Oid			sending = rows_status(rows, STATUS_SENDING);
	int			n = 0;

	for (int i = 0; i < nclaims; i++)
	{
		int64		id = claims[i].id;

		if (!row_find(rows, id) || row_status(rows) != sending)
			continue;
		if (is_forbidden(judge_row(rows).outcome))
			forbidden[(*nforbidden)++] = id;
		else
			claims[n++] = read_claim(rows, id);
	}
	rows_close(rows);
	return n;
}

/*
 * Finish a message that the rules forbid and that is queued, or was claimed in this
 * transaction; false if it is neither.
 */
static bool
forbid_message(Rows *rows, int64 id, TimestampTz now, Forbidden *forbidden)
{
	bool		claimed = row_find(rows, id) &&
		row_status(rows) == rows_status(rows, STATUS_SENDING) &&
		row_time(rows, OUTBOX_STARTED_AT, DT_NOBEGIN) == now;
	RulesVerdict verdict;

	if (claimed ? row_lock(rows, LockWaitSkip) != ROW_LOCKED : !take_row(rows, id, rows_status(rows, STATUS_QUEUED), now))
		return false;
	verdict = judge_row(rows);
	if (!is_forbidden(verdict.outcome))
		return false;
	forbidden->account = row_name(rows, OUTBOX_ACCOUNT);
	forbidden->failed = verdict.outcome == RULES_FAIL;
	row_set(rows, OUTBOX_STATUS,
			ObjectIdGetDatum(rows_status(rows, forbidden->failed ? STATUS_FAILED : STATUS_SUPPRESSED)));
	if (claimed)
		row_set(rows, OUTBOX_ATTEMPTS,
				Int16GetDatum(Max(row_number(rows, OUTBOX_ATTEMPTS, INT2OID) - 1, 0)));
	row_set_null(rows, OUTBOX_DUE_AT);
	row_set(rows, OUTBOX_FINISHED_AT, TimestampTzGetDatum(now));
	row_set(rows, OUTBOX_ERROR, CStringGetTextDatum(verdict.reason));
	row_write(rows);
	return true;
}

/* Finish messages that the rules forbid, in one step. */
static void
forbid_messages(Claims *claimed, const int64 *ids, int nids, TimestampTz now)
{
	Rows	   *rows;

	if (nids == 0)
		return;
	rows = rows_open(forbid_columns, lengthof(forbid_columns));
	claimed->forbidden = palloc(sizeof(Forbidden) * nids);
	for (int i = 0; i < nids; i++)
	{
		Forbidden  *forbidden = &claimed->forbidden[claimed->nforbidden];

		if (!forbid_message(rows, ids[i], now, forbidden))
			continue;
		tell_status(forbidden->account, ids[i], forbidden->failed ? STATUS_FAILED : STATUS_SUPPRESSED);
		claimed->nforbidden++;
	}
	rows_close(rows);
}

Claims
claim_messages(const int64 *ids, int nids, TimestampTz now)
{
	Claims		claimed = {.claims = palloc(sizeof(Claim) * Max(nids, 1))};
	int64	   *forbidden = palloc(sizeof(int64) * Max(nids, 1));
	int			nforbidden = 0;
	Rows	   *rows = rows_open(claim_columns, lengthof(claim_columns));
	Oid			queued = rows_status(rows, STATUS_QUEUED);
	Oid			sending = rows_status(rows, STATUS_SENDING);

	for (int i = 0; i < nids; i++)
	{
		RulesOutcome outcome;

		if (!take_row(rows, ids[i], queued, now))
			continue;
		outcome = judge_row(rows).outcome;
		if (outcome == RULES_SEND)
		{
			write_claim(rows, sending, now);
			claimed.claims[claimed.nclaims++] = read_claim(rows, ids[i]);
		}
		else if (is_forbidden(outcome))
			forbidden[nforbidden++] = ids[i];
	}
	if (rows_close(rows))
		claimed.nclaims = read_again(claimed.claims, claimed.nclaims, forbidden, &nforbidden);
	forbid_messages(&claimed, forbidden, nforbidden, now);
	return claimed;
}
