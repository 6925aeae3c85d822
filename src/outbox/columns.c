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
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "outbox/columns.h"

/* Stands for the OID of sms_status, which differs between databases */
#define STATUS_TYPE InvalidOid

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

/* Return whether a table has a column at its expected position. */
static bool
has_column(Relation table, int column)
{
	Form_pg_attribute attribute;
	Oid			type = columns[column].type;

	if (column > RelationGetNumberOfAttributes(table))
		return false;
	attribute = TupleDescAttr(RelationGetDescr(table), column - 1);
	return !attribute->attisdropped &&
		strcmp(NameStr(attribute->attname), columns[column].name) == 0 &&
		(type == STATUS_TYPE ? type_is_enum(attribute->atttypid) : attribute->atttypid == type);
}

void
columns_check(Relation table)
{
	if (table->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", RelationGetRelationName(table))));
	for (int i = 1; i <= NUM_OUTBOX_COLUMNS; i++)
		if (!has_column(table, i))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column %d of %s is no longer \"%s\" of type %s", i,
							RelationGetRelationName(table), columns[i].name,
							columns[i].type == STATUS_TYPE ? "sms_status" :
							format_type_be(columns[i].type)),
					 errhint("Undo the ALTER TABLE that changed it.")));
}
