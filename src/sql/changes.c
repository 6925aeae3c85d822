/*
 * changes.c
 *		What an UPDATE by hand changes in a row of sms_outbox.
 *
 * A row is the record of what was sent.  Personal data may be removed from it once
 * it is finished, but not be replaced by something that never left.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/rel.h"

#include "account/input.h"
#include "compat.h"
#include "outbox/status.h"
#include "sql/changes.h"

/* The columns that tell what was sent, to whom and how. */
static const enum OutboxColumn sent_columns[] = {
	OUTBOX_MOBILE, OUTBOX_MESSAGE, OUTBOX_LINE, OUTBOX_LINE2, OUTBOX_TYPE, OUTBOX_TEMPLATE
};

/* Compare two texts, which may be toasted. */
static bool
same_text(Datum a, Datum b)
{
	text	   *x = DatumGetTextPP(a);
	text	   *y = DatumGetTextPP(b);

	return VARSIZE_ANY_EXHDR(x) == VARSIZE_ANY_EXHDR(y) &&
		memcmp(VARDATA_ANY(x), VARDATA_ANY(y), VARSIZE_ANY_EXHDR(x)) == 0;
}

bool
changes_column(Relation table, HeapTuple before, HeapTuple after, enum OutboxColumn column)
{
	TupleDesc	desc = RelationGetDescr(table);
	Form_pg_attribute attribute = TupleDescAttr(desc, column - 1);
	bool		was_null;
	bool		is_null;
	Datum		was = heap_getattr(before, column, desc, &was_null);
	Datum		is = heap_getattr(after, column, desc, &is_null);

	if (was_null || is_null)
		return was_null != is_null;
	if (datumIsEqual(was, is, attribute->attbyval, attribute->attlen))
		return false;
	return attribute->attlen != -1 || !same_text(was, is);
}

/* Return the status that a row had. */
static MessageStatus
status_before(Relation table, HeapTuple before)
{
	bool		isnull;
	Datum		value = heap_getattr(before, OUTBOX_STATUS, RelationGetDescr(table), &isnull);

	return isnull ? STATUS_QUEUED :
		status_of_label(DatumGetCString(DirectFunctionCall1(enum_out, value)));
}

/* Return whether a new value only removes what was sent. */
static bool
is_removal(Relation table, HeapTuple after, enum OutboxColumn column)
{
	bool		isnull;
	Datum		value = heap_getattr(after, column, RelationGetDescr(table), &isnull);
	char		mobile[MOBILE_SIZE];
	text	   *number;

	if (isnull || column != OUTBOX_MOBILE)
		return isnull;
	number = DatumGetTextPP(value);
	return !input_read_mobile(VARDATA_ANY(number), VARSIZE_ANY_EXHDR(number), mobile);
}

/* Return the number of the message in a row. */
static long long
message_number(Relation table, HeapTuple tuple)
{
	bool		isnull;

	return (long long) DatumGetInt64(heap_getattr(tuple, OUTBOX_ID, RelationGetDescr(table), &isnull));
}

/* Raise the error for a change of a column of a message that is being sent. */
static void
refuse_while_sending(Relation table, HeapTuple before, const char *column)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("cannot change \"%s\" of message %lld while it is being sent", column,
					message_number(table, before)),
			 errdetail("The row would no longer show what was sent."),
			 errhint("Try again when the message is finished.")));
}

/* Raise the error for a change of a column of a message that has been sent. */
static void
refuse_when_sent(Relation table, HeapTuple before, const char *column, bool is_known)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot change \"%s\" of message %lld, which %s sent", column,
					message_number(table, before), is_known ? "was" : "may have been"),
			 errdetail("The row would no longer show what was sent."),
			 errhint("Queue a new message. To remove personal data, set \"message\" to NULL and \"mobile\" to a text that is not a mobile number.")));
}

void
changes_check(Relation table, HeapTuple before, HeapTuple after)
{
	MessageStatus status = status_before(table, before);

	if (status != STATUS_SENDING && status != STATUS_SENT && status != STATUS_UNKNOWN)
		return;
	for (int i = 0; i < (int) lengthof(sent_columns); i++)
	{
		enum OutboxColumn column = sent_columns[i];
		const char *name = NameStr(TupleDescAttr(RelationGetDescr(table), column - 1)->attname);

		if (!changes_column(table, before, after, column))
			continue;
		if (status == STATUS_SENDING)
			refuse_while_sending(table, before, name);
		if (!is_removal(table, after, column))
			refuse_when_sent(table, before, name, status == STATUS_SENT);
	}
	if (status == STATUS_SENDING && changes_column(table, before, after, OUTBOX_ACCOUNT))
		refuse_while_sending(table, before, "account");
}
