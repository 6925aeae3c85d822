/*
 * opt_out.c
 *		Trigger function of sms_opt_out, which brings each entry to its canonical form.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "account/input.h"
#include "outbox/opt_out.h"

PG_FUNCTION_INFO_V1(sms3300_opt_out_write);

/* Return whether the function was called as a row trigger before a write of sms_opt_out. */
static bool
is_called_properly(FunctionCallInfo fcinfo)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	return CALLED_AS_TRIGGER(fcinfo) && TRIGGER_FIRED_FOR_ROW(trigger->tg_event) &&
		TRIGGER_FIRED_BEFORE(trigger->tg_event) && !TRIGGER_FIRED_BY_DELETE(trigger->tg_event) &&
		strcmp(RelationGetRelationName(trigger->tg_relation), OPT_OUT_TABLE) == 0 &&
		RelationGetNamespace(trigger->tg_relation) == get_func_namespace(fcinfo->flinfo->fn_oid);
}

/* Return whether an entry names the same role as its former version. */
static bool
keeps_maker(TupleDesc desc, Datum given, HeapTuple former)
{
	bool		isnull;
	Datum		before = heap_getattr(former, OPT_OUT_BY, desc, &isnull);

	return !isnull && strcmp(NameStr(*DatumGetName(given)), NameStr(*DatumGetName(before))) == 0;
}

/*
 * Return the role that writes an entry; its former version is NULL if it is new.  Only the
 * owner may name another one, as whoever restores or copies entries has to, and the worker
 * does for the gateway.
 */
static Datum
maker(Relation table, HeapTuple entry, HeapTuple former, NameData *name)
{
	bool		isnull;
	Datum		given = heap_getattr(entry, OPT_OUT_BY, RelationGetDescr(table), &isnull);

	if (!isnull && !(former && keeps_maker(RelationGetDescr(table), given, former)) &&
		has_privs_of_role(GetUserId(), table->rd_rel->relowner))
		return given;
	namestrcpy(name, GetUserNameFromId(GetUserId(), false));
	return NameGetDatum(name);
}

/* Bring recipient and line to their canonical form, and note who made an entry. */
Datum
sms3300_opt_out_write(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	HeapTuple	entry;
	HeapTuple	former = NULL;
	TupleDesc	desc;
	char	   *mobile;
	char	   *line;
	int			columns[] = {OPT_OUT_MOBILE, OPT_OUT_LINE, OPT_OUT_BY};
	Datum		values[lengthof(columns)] = {0};
	bool		nulls[lengthof(columns)] = {0};
	NameData	by;

	if (!is_called_properly(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("not called as a row trigger before insert or update of %s", OPT_OUT_TABLE)));
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
	{
		former = trigger->tg_trigtuple;
		entry = trigger->tg_newtuple;
	}
	else
		entry = trigger->tg_trigtuple;
	desc = RelationGetDescr(trigger->tg_relation);
	opt_out_check(trigger->tg_relation);

	mobile = SPI_getvalue(entry, desc, OPT_OUT_MOBILE);
	line = SPI_getvalue(entry, desc, OPT_OUT_LINE);
	input_require_recipient(mobile == NULL);
	values[0] = CStringGetTextDatum(input_mobile(mobile, (int) strlen(mobile)));
	nulls[1] = line == NULL;
	if (line)
		values[1] = CStringGetTextDatum(input_line(line, (int) strlen(line), "line"));
	values[2] = maker(trigger->tg_relation, entry, former, &by);
	return PointerGetDatum(heap_modify_tuple_by_cols(entry, desc, lengthof(columns),
													 columns, values, nulls));
}
