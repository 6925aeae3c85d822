/*
 * triggers.c
 *		Trigger functions of sms_outbox, which check and complete each row.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "account/input.h"
#include "account/parts.h"
#include "account/route.h"
#include "account/rules.h"
#include "compat.h"
#include "outbox/access.h"
#include "outbox/columns.h"
#include "outbox/keys.h"
#include "outbox/status.h"
#include "shared/wake.h"
#include "sql/changes.h"
#include "sql/reserved.h"

/* Years between these are of the Jalali calendar, which Iran uses, rather than the Gregorian. */
#define JALALI_FIRST 1300
#define JALALI_LAST 1500

/* The longest dedup_key, which has to fit into an entry of an index */
#define MAX_KEY_BYTES 1000

PG_FUNCTION_INFO_V1(sms3300_outbox_insert);
PG_FUNCTION_INFO_V1(sms3300_outbox_update);

/* A row that is being written, and the columns that the trigger changes. */
typedef struct Row
{
	HeapTuple	tuple;
	HeapTuple	before;			/* NULL: the row is new */
	Relation	table;
	TupleDesc	desc;
	int			nchanges;
	int			columns[NUM_OUTBOX_COLUMNS];
	Datum		values[NUM_OUTBOX_COLUMNS];
	bool		nulls[NUM_OUTBOX_COLUMNS];
} Row;

/* Return the value that a column had before the trigger changed it. */
static Datum
get(const Row *row, int column, bool *isnull)
{
	return heap_getattr(row->tuple, column, row->desc, isnull);
}

/* Return the value of a text column as a string, NULL if it is null. */
static char *
get_text(const Row *row, int column)
{
	bool		isnull;
	Datum		value = get(row, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* Change the value of a column. */
static void
set(Row *row, int column, Datum value)
{
	row->columns[row->nchanges] = column;
	row->values[row->nchanges] = value;
	row->nulls[row->nchanges] = false;
	row->nchanges++;
}

/* Return the value of a timestamp column; a null column is set to a default first. */
static TimestampTz
get_timestamp(Row *row, int column, TimestampTz otherwise)
{
	bool		isnull;
	Datum		value = get(row, column, &isnull);

	if (!isnull)
		return DatumGetTimestampTz(value);
	set(row, column, TimestampTzGetDatum(otherwise));
	return otherwise;
}

/* Bring a line to its canonical form. */
static const char *
check_line(Row *row, int column, const char *name)
{
	char	   *given = get_text(row, column);
	char	   *line;

	if (given == NULL)
		return NULL;
	line = input_line(given, (int) strlen(given), name);
	if (strcmp(line, given) != 0)
		set(row, column, CStringGetTextDatum(line));
	return line;
}

/* Check the value of a numeric column and return it, ROUTE_NONE if it is null. */
static int
check_number(const Row *row, int column, void (*check) (int))
{
	bool		isnull;
	Datum		value = get(row, column, &isnull);
	int			number;

	if (isnull)
		return ROUTE_NONE;
	number = TupleDescAttr(row->desc, column - 1)->atttypid == INT2OID ?
		DatumGetInt16(value) : DatumGetInt32(value);
	check(number);
	return number;
}

/* Return whether a column is given for the first time, or changed. */
static bool
is_given(const Row *row, enum OutboxColumn column)
{
	return row->before == NULL || changes_column(row->table, row->before, row->tuple, column);
}

/* Set and return the number of SMS that the text is; it stays when the text is removed. */
static Parts
set_parts(Row *row)
{
	bool		isnull;
	Datum		value = get(row, OUTBOX_MESSAGE, &isnull);
	Parts		parts = {0};

	if (isnull)
		return parts;
	parts = parts_count(value);
	if (columns_have(row->table, OUTBOX_PARTS))
		set(row, OUTBOX_PARTS, Int16GetDatum((int16) Min(parts.n, PG_INT16_MAX)));
	return parts;
}

/*
 * Check that there is a text which can be sent, and count its parts.  One that was
 * queued before and is not changed need only be there.
 */
static void
check_message(Row *row, const Account *account)
{
	bool		isnull;
	Datum		value = get(row, OUTBOX_MESSAGE, &isnull);
	Parts		parts;
	text	   *message;

	/* The size of a toasted text is known without fetching it. */
	input_require_message(isnull, isnull ? 0 : toast_raw_datum_size(value) - VARHDRSZ);
	parts = set_parts(row);
	if (is_given(row, OUTBOX_MESSAGE) || is_given(row, OUTBOX_ACCOUNT))
		parts_require(parts, account);
	if (!is_given(row, OUTBOX_MESSAGE))
		return;
	message = DatumGetTextPP(value);
	input_require_utf8(VARDATA_ANY(message), VARSIZE_ANY_EXHDR(message));
	input_require_visible(VARDATA_ANY(message), VARSIZE_ANY_EXHDR(message));
}

/* Reject an empty key, which would keep out all messages but the first, and one that is too long. */
static void
check_dedup_key(const Row *row)
{
	bool		isnull;
	Datum		value = get(row, OUTBOX_DEDUP_KEY, &isnull);
	size_t		size;

	if (isnull || !is_given(row, OUTBOX_DEDUP_KEY))
		return;
	size = toast_raw_datum_size(value) - VARHDRSZ;
	if (size == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"dedup_key\" must not be empty"),
				 errhint("Use NULL for a message that may be queued more than once.")));
	if (size > MAX_KEY_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"dedup_key\" is too long"),
				 errdetail("It has %zu bytes, and at most %d are allowed.", size, MAX_KEY_BYTES),
				 errhint("Use a short key, such as the number of an order, or a hash.")));
}

/* Have a message that did not reach its recipient give away the key of this one. */
static void
take_dedup_key(const Row *row, Name sender)
{
	bool		isnull;
	Datum		key = get(row, OUTBOX_DEDUP_KEY, &isnull);
	bool		no_id;
	Datum		id = get(row, OUTBOX_ID, &no_id);

	if (!isnull && is_given(row, OUTBOX_DEDUP_KEY))
		keys_release(row->table, sender, key, DatumGetInt64(id));
}

/* When a message is sent, at the earliest and at the latest, and with which account */
typedef struct Times
{
	TimestampTz send_after;
	TimestampTz send_before;
	Oid			serverid;
} Times;

/* Return a time as a copied string. */
static char *
show_time(TimestampTz time)
{
	return pstrdup(timestamptz_to_str(time));
}

/*
 * Return the time from which a new message may be sent, which is now for one that lies
 * in the past.  Reject one that was not meant: a year of the Jalali calendar, for example.
 */
static TimestampTz
start_time(Row *row, TimestampTz given, TimestampTz now, TimestampTz clock)
{
	struct pg_tm tm;
	fsec_t		fsec;
	bool		jalali;

	if (given < clock - USECS_PER_DAY)
	{
		jalali = timestamp2tm(given, NULL, &tm, &fsec, NULL, NULL) == 0 &&
			tm.tm_year > JALALI_FIRST && tm.tm_year < JALALI_LAST;
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"send_after\" is more than a day in the past"),
				 errdetail("The time given is %s.", show_time(given)),
				 jalali ? errhint("Give the date in the Gregorian calendar, not in the Jalali calendar.") :
				 errhint("Give a later time, or omit \"send_after\" to send at once.")));
	}
	if (given >= now)
		return given;
	set(row, OUTBOX_SEND_AFTER, TimestampTzGetDatum(now));
	return now;
}

/* Check and complete the times of a message. */
static Times
check_times(Row *row, const Account *account)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();
	TimestampTz clock = GetCurrentTimestamp();
	TimestampTz given = get_timestamp(row, OUTBOX_SEND_AFTER, now);
	Times		times;

	if (TIMESTAMP_NOT_FINITE(given))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"send_after\" must be a finite time"),
				 errhint("Give a time, or omit \"send_after\" to send at once.")));
	times.send_after = row->before ? given : start_time(row, given, now, clock);
	times.send_before = get_timestamp(row, OUTBOX_SEND_BEFORE,
									  times.send_after >= END_TIMESTAMP - account->validity ? DT_NOEND :
									  times.send_after + account->validity);
	if (row->before == NULL && times.send_before <= clock && given <= clock)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"send_before\" has already passed"),
				 errdetail("The message would have expired at %s.", show_time(times.send_before)),
				 errhint("Give a later \"send_before\", or omit it to use the validity of the account.")));
	if (times.send_before <= given)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"send_before\" must be after \"send_after\""),
				 errdetail("The message may be sent from %s on, but would expire at %s.",
						   show_time(given), show_time(times.send_before)),
				 errhint("Give a later \"send_before\", or omit it to use the validity of the account.")));
	return times;
}

/*
 * Tell a caller that a message will expire before the account may send it.  That is told
 * once a statement, which may queue many.
 */
static void
note_hours(const Account *account, int priority, const Times *times)
{
	static TimestampTz transaction = 0;
	static CommandId command = 0;
	TimestampTz opening = rules_opening(account, priority, Max(times->send_after, GetCurrentTimestamp()));

	if (account->hours.nspans == 0 || times->send_before > opening ||
		(transaction == GetCurrentTransactionStartTimestamp() &&
		 command == GetCurrentCommandId(false)))
		return;
	transaction = GetCurrentTransactionStartTimestamp();
	command = GetCurrentCommandId(false);
	ereport(NOTICE,
			(errmsg("the message will expire before account \"%s\" may send it", account->name),
			 errdetail("It expires at %s. The hours of the account, %s in %s, begin at %s.",
					   show_time(times->send_before), account->hours_text,
					   pg_get_timezone_name(account->hours.zone), show_time(opening)),
			 errhint("Give a later \"send_before\", or a \"priority\" of %d or higher if it is urgent.",
					 account->urgent_priority)));
}

/*
 * Check and complete the caller's columns, and return when the message is to be
 * sent.  find_account() looks the account up or raises an error.
 */
static Times
check_caller_columns(Row *row, const Account *(*find_account) (const char *name))
{
	const Account *account;
	char	   *mobile = get_text(row, OUTBOX_MOBILE);
	char	   *canonical;
	bool		isnull;
	Datum		value;
	NameData   *name;
	Route		own;
	int			priority;
	Times		times;

	input_require_recipient(mobile == NULL);
	canonical = input_mobile(mobile, (int) strlen(mobile));
	if (strcmp(canonical, mobile) != 0)
		set(row, OUTBOX_MOBILE, CStringGetTextDatum(canonical));

	value = get(row, OUTBOX_ACCOUNT, &isnull);
	if (isnull)
	{
		/* Truncate a long name at a character boundary, as CREATE SERVER does. */
		name = DatumGetName(DirectFunctionCall1(namein, CStringGetDatum(account_default_name)));
		set(row, OUTBOX_ACCOUNT, NameGetDatum(name));
	}
	else
		name = DatumGetName(value);
	account = find_account(NameStr(*name));
	check_message(row, account);

	own.line = check_line(row, OUTBOX_LINE, "line");
	own.line2 = check_line(row, OUTBOX_LINE2, "line2");
	own.type = check_number(row, OUTBOX_TYPE, input_check_type);
	own.template = check_number(row, OUTBOX_TEMPLATE, input_check_template);
	route_check(&own, account);
	priority = check_number(row, OUTBOX_PRIORITY, input_check_priority);
	if (priority == ROUTE_NONE)
		set(row, OUTBOX_PRIORITY, Int16GetDatum(0));
	check_dedup_key(row);
	times = check_times(row, account);
	note_hours(account, Max(priority, 0), &times);
	times.serverid = account->serverid;
	return times;
}

/* Return the row that a trigger was fired for; raise an error for any other table. */
static Row
trigger_row(FunctionCallInfo fcinfo, HeapTuple tuple)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Row			row = {
		.tuple = tuple, .table = trigger->tg_relation,
		.desc = RelationGetDescr(trigger->tg_relation)
	};

	if (strcmp(RelationGetRelationName(trigger->tg_relation), "sms_outbox") != 0 ||
		RelationGetNamespace(trigger->tg_relation) != get_func_namespace(fcinfo->flinfo->fn_oid))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s may only be used on sms_outbox",
						get_func_name(fcinfo->flinfo->fn_oid))));
	columns_check(trigger->tg_relation);
	return row;
}

/* Return whether the current user has the privileges of the owner of a trigger's table. */
static bool
is_owner(FunctionCallInfo fcinfo)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	return has_privs_of_role(GetUserId(), trigger->tg_relation->rd_rel->relowner);
}

/* Raise an error unless called as a BEFORE trigger for a row. */
static void
require_trigger(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_FOR_ROW(((TriggerData *) fcinfo->context)->tg_event) ||
		!TRIGGER_FIRED_BEFORE(((TriggerData *) fcinfo->context)->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("not called as a row trigger before insert or update")));
}

/* Return the row with the changes of the trigger. */
static Datum
finish_row(Row *row)
{
	if (row->nchanges == 0)
		return PointerGetDatum(row->tuple);
	return PointerGetDatum(heap_modify_tuple_by_cols(row->tuple, row->desc, row->nchanges,
													 row->columns, row->values, row->nulls));
}

/* Return whether a row has a status. */
static bool
has_status(const Row *row, MessageStatus status)
{
	bool		isnull;
	Datum		value = get(row, OUTBOX_STATUS, &isnull);

	return !isnull &&
		strcmp(DatumGetCString(DirectFunctionCall1(enum_out, value)), status_label(status)) == 0;
}

/* Let only the owner of the table restore rows that were queued elsewhere. */
static void
check_may_restore(FunctionCallInfo fcinfo)
{
	if (!is_owner(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set \"origin\""),
				 errdetail("Only superusers and the table's owner may restore or copy rows that were queued elsewhere."),
				 errhint("Omit \"origin\" to queue a new message.")));
}

/*
 * Complete the columns of a new message that only the extension writes.  The
 * table's owner may choose its id.
 */
static void
set_reserved_columns(FunctionCallInfo fcinfo, Row *row)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();
	NameData   *sender = palloc(sizeof(NameData));
	bool		isnull;
	Datum		id = get(row, OUTBOX_ID, &isnull);

	reserved_check(row->table, row->tuple);
	if (!is_owner(fcinfo))
	{
		int64		own = reserved_id(row->table, DatumGetInt64(id));

		if (own != DatumGetInt64(id))
			set(row, OUTBOX_ID, Int64GetDatum(own));
	}
	namestrcpy(sender, GetUserNameFromId(GetUserId(), false));
	set(row, OUTBOX_SENDER, NameGetDatum(sender));
	take_dedup_key(row, sender);
	set(row, OUTBOX_CREATED_AT, TimestampTzGetDatum(now));
	set(row, OUTBOX_ORIGIN, Int64GetDatum(outbox_origin()));
}

/*
 * Return whether no trigger of an event follows that may change the row, and with it its
 * account.
 */
static bool
is_last_trigger(const TriggerData *trigger, int16 event)
{
	const TriggerDesc *triggers = trigger->tg_relation->trigdesc;

	for (int i = triggers->numtriggers - 1; i >= 0; i--)
	{
		const Trigger *other = &triggers->triggers[i];

		if (TRIGGER_TYPE_MATCHES(other->tgtype, TRIGGER_TYPE_ROW, TRIGGER_TYPE_BEFORE, event))
			return other->tgoid == trigger->tg_trigger->tgoid;
	}
	return false;
}

/*
 * Check and complete a new row, and wake the worker at commit.
 *
 * A row with an origin was queued before and is being restored or copied.  It is
 * kept as it is, without a check of the right to send, and waits for
 * sms3300_adopt().  That is so even if it returns to the database that queued it,
 * because it may have been sent in the meantime.  The worker is woken to log that
 * such rows exist.
 */
Datum
sms3300_outbox_insert(PG_FUNCTION_ARGS)
{
	Row			row;
	Times		times;
	Datum		origin;
	bool		isnull;

	require_trigger(fcinfo);
	row = trigger_row(fcinfo, ((TriggerData *) fcinfo->context)->tg_trigtuple);

	origin = get(&row, OUTBOX_ORIGIN, &isnull);
	if (!isnull)
	{
		check_may_restore(fcinfo);
		if (DatumGetInt64(origin) == outbox_origin())
			set(&row, OUTBOX_ORIGIN, Int64GetDatum(~outbox_origin()));
		wake_at_commit(GetCurrentTransactionStartTimestamp(), DT_NOEND);
		return finish_row(&row);
	}

	times = check_caller_columns(&row, route_account);
	set_reserved_columns(fcinfo, &row);
	set(&row, OUTBOX_DUE_AT, TimestampTzGetDatum(times.send_after));
	wake_for_account(is_last_trigger((TriggerData *) fcinfo->context, TRIGGER_TYPE_INSERT) ?
					 times.serverid : InvalidOid, times.send_after, times.send_before);

	return finish_row(&row);
}

/*
 * Check a row again when one of the caller's columns is updated by hand, and
 * schedule it for its new time.  A role other than the table's owner needs the
 * right to send with its account.
 */
Datum
sms3300_outbox_update(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Row			row;
	bool		finished;
	bool		isnull;
	Datum		sender;
	TimestampTz due_at;
	Times		times;

	require_trigger(fcinfo);
	row = trigger_row(fcinfo, trigger->tg_newtuple);
	row.before = trigger->tg_trigtuple;
	changes_check(row.table, row.before, row.tuple);

	/* A finished message may be changed: its text may be removed, for example. */
	due_at = DatumGetTimestampTz(get(&row, OUTBOX_DUE_AT, &finished));
	if (finished)
	{
		if (!has_status(&row, STATUS_SENT))
			(void) set_parts(&row);
		return finish_row(&row);
	}

	times = check_caller_columns(&row, is_owner(fcinfo) ? route_known_account : route_account);
	sender = get(&row, OUTBOX_SENDER, &isnull);
	if (!isnull)
		take_dedup_key(&row, DatumGetName(sender));
	if (is_given(&row, OUTBOX_SEND_AFTER))
	{
		due_at = times.send_after;
		set(&row, OUTBOX_DUE_AT, TimestampTzGetDatum(due_at));
	}

	/* It may expire before it is due, such as one that waits for another try. */
	wake_for_account(is_last_trigger(trigger, TRIGGER_TYPE_UPDATE) ? times.serverid : InvalidOid,
					 Min(due_at, times.send_before), times.send_before);

	return finish_row(&row);
}
