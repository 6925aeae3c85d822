/*
 * columns.c
 *		The columns of sms_outbox.
 *
 * The table's owner, who may not be a superuser, can alter a column.  Its values
 * must then not be interpreted as another type.  Columns added after them by an
 * update of the extension or by the owner do not matter.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "outbox/columns.h"

/* Stands for the OID of an enum, which differs between databases */
#define ENUM_TYPE InvalidOid

/* The name of the column "events" in versions before 1.2 */
#define EARLIER_EVENTS "errors"

static const struct
{
	const char *name;
	Oid			type;
}			columns[] =
{
#define X(column, name, type) [column] = {name, type},
	OUTBOX_COLUMNS(X)
#undef X
};

/* Return whether a column of the table has one of its names. */
static bool
is_named(int column, const char *name)
{
	return strcmp(name, columns[column].name) == 0 ||
		(column == OUTBOX_EVENTS && strcmp(name, EARLIER_EVENTS) == 0);
}

bool
columns_have(Relation table, enum OutboxColumn column)
{
	Form_pg_attribute attribute;
	Oid			type = columns[column].type;

	if ((int) column > RelationGetNumberOfAttributes(table))
		return false;
	attribute = TupleDescAttr(RelationGetDescr(table), column - 1);
	return !attribute->attisdropped && is_named(column, NameStr(attribute->attname)) &&
		(type == ENUM_TYPE ? type_is_enum(attribute->atttypid) : attribute->atttypid == type);
}

const char *
columns_events_name(Relation table)
{
	return NameStr(TupleDescAttr(RelationGetDescr(table), OUTBOX_EVENTS - 1)->attname);
}

/* The table whose columns were checked, and have not been altered since. */
static Oid	checked = InvalidOid;

/* Note that a table, or any (InvalidOid), was altered. */
static void
on_table_change(Datum arg, Oid table)
{
	if (table == checked || !OidIsValid(table))
		checked = InvalidOid;
}

/* Note that a table was checked, and have it checked again once it is altered. */
static void
remember(Oid table)
{
	static bool following = false;

	if (!following)
		CacheRegisterRelcacheCallback(on_table_change, (Datum) 0);
	following = true;
	checked = table;
}

void
columns_check(Relation table)
{
	if (RelationGetRelid(table) == checked)
		return;
	if (table->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", RelationGetRelationName(table))));
	for (int i = 1; i <= OUTBOX_ORIGIN; i++)
		if (!columns_have(table, i))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column %d of %s is no longer \"%s\" of type %s", i,
							RelationGetRelationName(table), columns[i].name,
							columns[i].type == ENUM_TYPE ? "sms_status" :
							format_type_be(columns[i].type)),
					 errhint("Undo the ALTER TABLE that changed it.")));
	remember(RelationGetRelid(table));
}
