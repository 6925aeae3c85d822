/*
 * reply.c
 *		The bytes of a reply as values that the table can hold.
 *
 * Bytes from the network are no text until they are proved to be: they may be
 * no JSON, no UTF-8, or hold characters that this database's encoding lacks.
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

#include "compat.h"
#include "reply.h"

/* Append a character as \uXXXX escapes of its UTF-16 units. */
static void
append_escape(StringInfo out, pg_wchar c)
{
	if (c > 0xFFFF)
		appendStringInfo(out, "\\u%04x\\u%04x",
						 (unsigned) (0xD800 + ((c - 0x10000) >> 10)),
						 (unsigned) (0xDC00 + ((c - 0x10000) & 0x3FF)));
	else
		appendStringInfo(out, "\\u%04x", (unsigned) c);
}

/*
 * Copy bytes as text of the server's encoding: characters that it may lack
 * become \uXXXX, and bytes that are no UTF-8, or zero, become \xXX.
 */
static char *
printable(const char *bytes, size_t len)
{
	bool		keep = GetDatabaseEncoding() == PG_UTF8;
	StringInfoData out;
	size_t		at = 0;

	initStringInfo(&out);
	while (at < len)
	{
		const unsigned char *c = (const unsigned char *) bytes + at;
		size_t		n = pg_utf_mblen(c);

		if (n > len - at || !pg_utf8_islegal(c, (int) n) || *c == '\0')
		{
			appendStringInfo(&out, "\\x%02x", *c);
			n = 1;
		}
		else if (n == 1 || keep)
			appendBinaryStringInfo(&out, (const char *) c, (int) n);
		else
			append_escape(&out, utf8_to_unicode(c));
		at += n;
	}
	return out.data;
}

/*
 * Parse JSON text; NULL if jsonb refuses it.
 *
 * Nothing but memory is touched between PG_TRY and PG_CATCH, neither catalogs
 * nor locks nor buffers, so no subtransaction is needed to recover.
 */
static Jsonb *
parse(const char *json)
{
	MemoryContext context = CurrentMemoryContext;
	Jsonb	   *volatile result = NULL;

	PG_TRY();
	{
		result = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	return result;
}

/*
 * A reply's body as jsonb: itself if it is JSON that jsonb can hold, else
 * {"raw": "..."}; NULL if it is empty.
 */
Jsonb *
reply_as_jsonb(const char *bytes, size_t len)
{
	static const char bom[] = "\xEF\xBB\xBF";
	Jsonb	   *result = NULL;
	char	   *text;
	StringInfoData raw;

	if (len >= 3 && memcmp(bytes, bom, 3) == 0)
	{
		bytes += 3;
		len -= 3;
	}
	if (len == 0)
		return NULL;

	text = printable(bytes, len);
	if (memchr(bytes, '\0', len) == NULL &&
		pg_encoding_verifymbstr(PG_UTF8, bytes, (int) len) == (int) len)
		result = parse(text);
	if (result)
		return result;

	initStringInfo(&raw);
	appendStringInfoString(&raw, "{\"raw\": ");
	escape_json(&raw, text);
	appendStringInfoChar(&raw, '}');
	return parse(raw.data);
}

/* The text of a field of a reply's object; NULL if it has no such string. */
char *
reply_text(Jsonb *reply, const char *key)
{
	JsonbValue	value;

	if (reply == NULL || !JB_ROOT_IS_OBJECT(reply) ||
		getKeyJsonValueFromContainer(&reply->root, key, (int) strlen(key), &value) == NULL ||
		value.type != jbvString)
		return NULL;
	return pnstrdup(value.val.string.val, value.val.string.len);
}
