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
	{"id", INT8OID},
	{"mobile", TEXTOID},
	{"message", TEXTOID},
	{"line", TEXTOID},
	{"line2", TEXTOID},
	{"type", INT2OID},
	{"template", INT4OID},
	{"account", NAMEOID},
	{"priority", INT2OID},
	{"send_after", TIMESTAMPTZOID},
	{"send_before", TIMESTAMPTZOID},
	{"dedup_key", TEXTOID},
	{"metadata", JSONBOID},
	{"sender", NAMEOID},
	{"created_at", TIMESTAMPTZOID},
	{"status", STATUS_TYPE},
	{"attempts", INT2OID},
	{"due_at", TIMESTAMPTZOID},
	{"started_at", TIMESTAMPTZOID},
	{"finished_at", TIMESTAMPTZOID},
	{"http_status", INT2OID},
	{"api_status", INT4OID},
	{"message_id", INT8OID},
	{"sent_line", TEXTOID},
	{"response", JSONBOID},
	{"error", TEXTOID},
	{"errors", JSONBOID},
	{"origin", INT8OID},
};

StaticAssertDecl(lengthof(columns) == OUTBOX_ORIGIN, "a column is missing");

/* Return whether a table has a column at its expected position. */
static bool
has_column(Relation table, int column)
{
	Form_pg_attribute attribute;
	Oid			type = columns[column - 1].type;

	if (column > RelationGetNumberOfAttributes(table))
		return false;
	attribute = TupleDescAttr(RelationGetDescr(table), column - 1);
	return !attribute->attisdropped &&
		strcmp(NameStr(attribute->attname), columns[column - 1].name) == 0 &&
		(type == STATUS_TYPE ? type_is_enum(attribute->atttypid) : attribute->atttypid == type);
}

void
columns_check(Relation table)
{
	if (table->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", RelationGetRelationName(table))));
	for (int i = 1; i <= OUTBOX_ORIGIN; i++)
		if (!has_column(table, i))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column %d of %s is no longer \"%s\" of type %s", i,
							RelationGetRelationName(table), columns[i - 1].name,
							columns[i - 1].type == STATUS_TYPE ? "sms_status" :
							format_type_be(columns[i - 1].type)),
					 errhint("Undo the ALTER TABLE that changed it.")));
}
