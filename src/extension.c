/*
 * extension.c
 *		The extension in this database, and whether this library can serve it.
 *
 * A server runs one library, the one that was installed when it started; each
 * of its databases has the version of the extension that CREATE EXTENSION or
 * ALTER EXTENSION UPDATE gave it.  A library serves its own version and all
 * earlier ones.  What a later one means, it cannot know.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "extension.h"

/* Compare versions: numbers with dots between them. */
static int
compare_versions(const char *a, const char *b)
{
	while (*a || *b)
	{
		char	   *rest_of_a;
		char	   *rest_of_b;
		unsigned long x = strtoul(a, &rest_of_a, 10);
		unsigned long y = strtoul(b, &rest_of_b, 10);

		if (x != y)
			return x < y ? -1 : 1;
		if (rest_of_a == a && rest_of_b == b)
			return strcmp(a, b);
		a = rest_of_a + (*rest_of_a == '.');
		b = rest_of_b + (*rest_of_b == '.');
	}
	return 0;
}

/* Look the extension up: its schema and its version. */
static ExtensionAge
look_up(Oid *namespace, const char **version)
{
	Oid			extension = get_extension_oid("sms3300", true);
	ExtensionAge age = EXTENSION_MISSING;
	Relation	extensions;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	*version = NULL;
	if (!OidIsValid(extension))
		return EXTENSION_MISSING;

	extensions = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(extension));
	scan = systable_beginscan(extensions, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_pg_extension_extversion,
										 RelationGetDescr(extensions), &isnull);
		int			order;

		*namespace = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
		*version = TextDatumGetCString(value);
		order = compare_versions(*version, SMS3300_VERSION);
		age = order < 0 ? EXTENSION_OLDER : order > 0 ? EXTENSION_NEWER : EXTENSION_CURRENT;
	}
	systable_endscan(scan);
	table_close(extensions, AccessShareLock);
	return age;
}

/* Find the extension's schema. */
ExtensionAge
extension_find(Oid *namespace)
{
	const char *version;

	return look_up(namespace, &version);
}

/* If the extension is of the age given, say which versions there are; NULL: it is not. */
const char *
extension_mismatch(ExtensionAge age)
{
	Oid			namespace;
	const char *version;

	if (look_up(&namespace, &version) != age || age == EXTENSION_MISSING)
		return NULL;
	return psprintf("the extension is version %s, but the library that the server runs is version %s",
					version, SMS3300_VERSION);
}
