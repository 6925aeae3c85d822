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
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "account/input.h"
#include "outbox/access.h"
#include "outbox/budget.h"
#include "outbox/claim.h"
#include "outbox/judge.h"
#include "outbox/opt_out.h"
#include "outbox/recent.h"
#include "outbox/row.h"
#include "outbox/tell.h"

/* Attempts are not counted any further. */
#define MAX_ATTEMPTS 32767

/* The columns that a claim sets. */
static const enum OutboxColumn claim_columns[] = {
	OUTBOX_STATUS, OUTBOX_ATTEMPTS, OUTBOX_STARTED_AT
};

/*
 * No text of more bytes than this has as few parts as the gateway takes.  It is not
 * even read, as it may be larger than the worker should be.
 */
#define MAX_TEXT_SIZE (128 * 1024)

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
		.priority = row_number(rows, OUTBOX_PRIORITY, INT2OID),
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

/* A row's account, what the rules say of its message, and how many parts that is. */
typedef struct Judgement
{
	const Account *account;		/* NULL: there is none */
	RulesVerdict verdict;
	int			parts;
} Judgement;

/* Return whether the row has a string that is too long to be read. */
static bool
is_too_long(const Rows *rows)
{
	return row_size(rows, OUTBOX_MOBILE) > MAX_TEXT_SIZE ||
		row_size(rows, OUTBOX_MESSAGE) > MAX_TEXT_SIZE ||
		row_size(rows, OUTBOX_LINE) > MAX_TEXT_SIZE || row_size(rows, OUTBOX_LINE2) > MAX_TEXT_SIZE;
}

/*
 * Ask the rules of the row's account; without an account nothing is sent anyway.  "opt_outs" is
 * judge_message()'s.
 */
static Judgement
judge_row(const Rows *rows, TimestampTz now, bool opt_outs)
{
	Judgement	result = {.account = account_find(row_name(rows, OUTBOX_ACCOUNT))};
	RulesMessage message = {.priority = row_number(rows, OUTBOX_PRIORITY, INT2OID)};
	bool		isnull;
	Datum		text = row_value(rows, OUTBOX_MESSAGE, &isnull);

	if (is_too_long(rows))
	{
		result.verdict.outcome = RULES_FAIL;
		strlcpy(result.verdict.reason, "the text is longer than any that can be sent", RULES_REASON_SIZE);
		return result;
	}
	message.mobile = row_string(rows, OUTBOX_MOBILE);
	message.route = (Route) {
		row_string(rows, OUTBOX_LINE), row_string(rows, OUTBOX_LINE2),
		row_number(rows, OUTBOX_TYPE, INT2OID), row_number(rows, OUTBOX_TEMPLATE, INT4OID)
	};
	if (!isnull)
		message.parts = parts_count(text);
	result.parts = message.parts.n;
	if (result.account)
		result.verdict = judge_message(outbox_namespace(), result.account, &message, now, opt_outs);
	return result;
}

/*
 * What the transaction has counted for the rules that limit messages, which do not see that
 * it is rolled back.
 */
typedef struct Counted
{
	Oid			serverid;
	TimestampTz at;
	int			parts;
	char		mobile[MOBILE_SIZE];
} Counted;

static Counted *counted = NULL;
static int	ncounted = 0;

/* Return the next place to note what is counted. */
static Counted *
next_counted(void)
{
	static int	size = 0;

	if (ncounted == size)
	{
		int			larger = size == 0 ? 64 : 2 * size;

		counted = counted ? repalloc(counted, sizeof(Counted) * larger) :
			MemoryContextAlloc(TopMemoryContext, sizeof(Counted) * larger);
		size = larger;
	}
	return &counted[ncounted];
}

/* Count a claim for the rules that limit messages. */
static void
count_claim(const Claim *claim, TimestampTz now)
{
	const Account *account = account_find(claim->account);
	Counted    *place;

	if (account == NULL || (account->max_parts_per_day == 0 && account->max_per_mobile.n == 0))
		return;
	place = next_counted();
	*place = (Counted) {.serverid = account->serverid, .at = now, .parts = claim->parts};
	strlcpy(place->mobile, claim->mobile ? claim->mobile : "", MOBILE_SIZE);
	recent_add(account, claim->mobile, now);
	(void) budget_spend(account, now, claim->parts, false);
	ncounted++;
}

void
claims_begin(void)
{
	ncounted = 0;
}

/* Count no longer what was counted since there were so many. */
static void
uncount_to(int former)
{
	for (; ncounted > former; ncounted--)
	{
		const Counted *last = &counted[ncounted - 1];

		budget_return(last->serverid, last->at, last->parts);
		recent_settle(last->serverid, last->mobile, last->at, false);
	}
}

void
claims_undo(void)
{
	uncount_to(0);
}

/* Return the claim that a row is, which is counted. */
static Claim
begin_claim(const Rows *rows, int64 id, int parts, TimestampTz now)
{
	Claim		claim = read_claim(rows, id);

	claim.parts = parts;
	count_claim(&claim, now);
	return claim;
}

/* Note that the limit of an account is reached, so that no more messages are taken. */
static void
note_exhausted(Claims *claimed, const Judgement *judgement)
{
	Exhausted  *exhausted = palloc0(sizeof(Exhausted));

	exhausted->account = judgement->account->name;
	exhausted->is_news = budget_reach(judgement->account);
	exhausted->verdict = judgement->verdict;
	claimed->exhausted = lappend(claimed->exhausted, exhausted);
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
read_again(Claim *claims, int nclaims, int64 *forbidden, int *nforbidden, TimestampTz now)
{
	Rows	   *rows = rows_open(NULL, 0);
	Oid			sending = rows_status(rows, STATUS_SENDING);
	int			n = 0;

	for (int i = 0; i < nclaims; i++)
	{
		int64		id = claims[i].id;
		Judgement	judgement;

		if (!row_find(rows, id) || row_status(rows) != sending)
			continue;
		judgement = judge_row(rows, now, true);
		if (is_forbidden(judgement.verdict.outcome))
			forbidden[(*nforbidden)++] = id;
		else
			claims[n++] = begin_claim(rows, id, judgement.parts, now);
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
	verdict = judge_row(rows, now, true).verdict;
	if (!is_forbidden(verdict.outcome))
		return false;
	forbidden->account = row_name(rows, OUTBOX_ACCOUNT);
	/* Before 1.2 there is no other final status for it. */
	forbidden->failed = verdict.outcome == RULES_FAIL || !rows_have_status(rows, STATUS_SUPPRESSED);
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
	int			former = ncounted;
	Rows	   *rows = rows_open(claim_columns, lengthof(claim_columns));
	Oid			queued = rows_status(rows, STATUS_QUEUED);
	Oid			sending = rows_status(rows, STATUS_SENDING);
	bool		opt_outs = opt_out_any(outbox_namespace());

	for (int i = 0; i < nids; i++)
	{
		Judgement	judgement;

		if (!take_row(rows, ids[i], queued, now))
			continue;
		judgement = judge_row(rows, now, opt_outs);
		if (judgement.verdict.outcome == RULES_SEND)
		{
			write_claim(rows, sending, now);
			claimed.claims[claimed.nclaims++] = begin_claim(rows, ids[i], judgement.parts, now);
		}
		else if (is_forbidden(judgement.verdict.outcome))
			forbidden[nforbidden++] = ids[i];
		else if (judgement.verdict.rule == RULE_BUDGET)
			note_exhausted(&claimed, &judgement);
	}
	if (rows_close(rows))
	{
		uncount_to(former);
		claimed.nclaims = read_again(claimed.claims, claimed.nclaims, forbidden, &nforbidden, now);
	}
	forbid_messages(&claimed, forbidden, nforbidden, now);
	return claimed;
}
