/*
 * response.c
 *		The bytes of a reply as values that the table can hold.
 *
 * Bytes from the network are no text until they are proved to be: they may be
 * no JSON, no UTF-8, or hold characters that this database's encoding lacks.
 */
#include "postgres.h"

#include <ctype.h>

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

#include "account/response.h"
#include "compat.h"
#include "gateway/gateway.h"

/* What stands in a password's place. */
#define MASK "***"

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

/* A character of some encodings is two in UTF-8. */
#define MAX_CHAR_SIZE (2 * MAX_MULTIBYTE_CHAR_LEN)

/* How a character may be written. */
typedef enum Spelling
{
	SPELLING_PLAIN,
	SPELLING_JSON,				/* \n, \u00e9 */
	SPELLING_URL,				/* %C3%A9 */
	SPELLING_HTML,				/* &amp; */
	NSPELLINGS
} Spelling;

/* The value of up to "len" hexadecimal digits; -1 if there is something else. */
static int
hex_value(const char *text, int len)
{
	int			value = 0;

	for (int i = 0; i < len; i++)
	{
		char		c = text[i];

		if (!isxdigit((unsigned char) c))
			return -1;
		value = value << 4 | (isdigit((unsigned char) c) ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	return value;
}

/* Read a character of the server's encoding as UTF-8. */
static int
read_plain(const char *text, char *c, int *size)
{
	int			n = pg_mblen(text);
	const char *utf8 = text;

	*size = n;
	if (IS_HIGHBIT_SET(*text))
	{
		utf8 = pg_server_to_any(text, n, PG_UTF8);
		if (utf8 != text)
			*size = (int) strnlen(utf8, MAX_CHAR_SIZE);
	}
	memcpy(c, utf8, *size);
	return n;
}

/* Read \uXXXX, or the two of them that a character above U+FFFF takes; 0 if it is none. */
static int
read_escape(const char *text, char *c, int *size)
{
	int			code = hex_value(text + 2, 4);
	int			low = code > 0 && text[6] == '\\' && text[7] == 'u' ? hex_value(text + 8, 4) : 0;
	int			n = 6;

	if (code <= 0)
		return 0;
	if (low > 0 && is_utf16_surrogate_first(code) && is_utf16_surrogate_second(low))
	{
		code = (int) surrogate_pair_to_codepoint(code, low);
		n = 12;
	}
	unicode_to_utf8(code, (unsigned char *) c);
	*size = pg_utf_mblen((unsigned char *) c);
	return n;
}

/*
 * Read a character as a spelling has it, which may be plain: how many bytes it
 * takes there, and itself in UTF-8 with its own number of bytes.
 */
static int
read_char(const char *text, Spelling spelling, char *c, int *size)
{
	static const char *const entities[] = {
		"&&amp;", "<&lt;", ">&gt;", "\"&quot;", "'&#39;", "'&apos;", "'&#x27;", "\"&#34;"
	};
	static const char escapes[] = "b\bf\fn\nr\rt\t";
	const char *escape;
	int			code;
	int			n;

	*size = 1;
	if (spelling == SPELLING_URL && *text == '+')
	{
		*c = ' ';
		return 1;
	}
	if (spelling == SPELLING_URL && *text == '%' && (code = hex_value(text + 1, 2)) > 0)
	{
		*c = (char) code;
		return 3;
	}
	if (spelling == SPELLING_HTML && *text == '&')
		for (size_t i = 0; i < lengthof(entities); i++)
			if (strncmp(text, entities[i] + 1, strlen(entities[i] + 1)) == 0)
			{
				*c = entities[i][0];
				return (int) strlen(entities[i] + 1);
			}
	if (spelling == SPELLING_JSON && *text == '\\' && text[1] == 'u' &&
		(n = read_escape(text, c, size)) > 0)
		return n;
	if (spelling == SPELLING_JSON && *text == '\\' && text[1] != '\0' && text[1] != 'u')
	{
		escape = strchr(escapes, text[1]);
		*c = (char) (escape && (escape - escapes) % 2 == 0 ? escape[1] : text[1]);
		return 2;
	}
	return read_plain(text, c, size);
}

/* The length of a secret in some spelling where a text begins with it; else 0. */
static int
secret_length(const char *text, const char *secret, Spelling spelling)
{
	const char *start = text;

	while (*secret)
	{
		char		c[MAX_CHAR_SIZE];
		int			size;
		int			n = *text ? read_char(text, spelling, c, &size) : 0;

		if (n == 0 || strncmp(secret, c, size) != 0)
			return 0;
		text += n;
		secret += size;
	}
	return (int) (text - start);
}

/*
 * A copy of a text with a secret masked, in one spelling.  One that is a number
 * is left alone inside of a longer one: it is there by chance, as in a mobile
 * number that the sender chose, and a mask would tell what it is.
 */
static char *
mask_spelling(const char *text, const char *secret, Spelling spelling)
{
	bool		digit_first = isdigit((unsigned char) secret[0]);
	bool		digit_last = isdigit((unsigned char) secret[strlen(secret) - 1]);
	bool		after_digit = false;
	StringInfoData out;

	initStringInfo(&out);
	while (*text)
	{
		int			n = after_digit && digit_first ? 0 : secret_length(text, secret, spelling);
		char		c[MAX_CHAR_SIZE];
		int			size;

		if (n > 0 && !(digit_last && isdigit((unsigned char) text[n])))
		{
			appendStringInfoString(&out, MASK);
			after_digit = false;
		}
		else
		{
			n = read_char(text, spelling, c, &size);
			appendBinaryStringInfo(&out, text, n);
			after_digit = isdigit((unsigned char) c[0]);
		}
		text += n;
	}
	return out.data;
}

/* Mask a secret in a string of a reply, which may be a key. */
static void
mask_string(JsonbValue *string, const char *secret)
{
	char	   *masked = pnstrdup(string->val.string.val, string->val.string.len);

	for (int spelling = 0; spelling < NSPELLINGS; spelling++)
		masked = mask_spelling(masked, secret, (Spelling) spelling);
	string->val.string.val = masked;
	string->val.string.len = (int) strlen(masked);
}

/* A copy of a reply with a secret masked in its strings and keys. */
static Jsonb *
mask(Jsonb *reply, const char *secret)
{
	JsonbIterator *iterator = JsonbIteratorInit(&reply->root);
	JsonbParseState *state = NULL;
	JsonbValue *copy = NULL;
	JsonbValue	value;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
	{
		bool		has_value = token == WJB_KEY || token == WJB_VALUE || token == WJB_ELEM;

		/* jsonb has a scalar in an array that is marked, which the copy has to be, too. */
		bool		is_scalar = token == WJB_BEGIN_ARRAY && value.val.array.rawScalar;

		if (has_value && value.type == jbvString)
			mask_string(&value, secret);
		copy = pushJsonbValue(&state, token, has_value || is_scalar ? &value : NULL);
	}
	return JsonbValueToJsonb(copy);
}

/*
 * Tell whether bytes from the network can hold a secret, in UTF-8: as it is, or
 * in a spelling, which takes one of a few characters.
 */
static bool
may_hold(const char *bytes, size_t len, const char *secret)
{
	static const char special[] = "\\%&+";

	for (const char *c = special; *c; c++)
		if (memchr(bytes, *c, len) != NULL)
			return true;
	return memmem(bytes, len, secret, strlen(secret)) != NULL;
}

/* A reply in which no string and no key holds the password that the request had. */
static Jsonb *
without_password(Jsonb *result, const HttpReply *reply)
{
	char	   *password = gateway_form_password(reply->form, reply->form_size);

	if (result == NULL || password == NULL)
		return result;
	if (may_hold(reply->body, reply->body_size, password))
		result = mask(result, password);
	explicit_bzero(password, strlen(password));
	return result;
}

/*
 * Bytes as jsonb: themselves if they are JSON that jsonb can hold, else
 * {"raw": "..."}; NULL if there are none.
 */
static Jsonb *
bytes_as_jsonb(const char *bytes, size_t len)
{
	static const char bom[] = "\xEF\xBB\xBF";
	Jsonb	   *result = NULL;
	StringInfoData raw;

	if (len >= 3 && memcmp(bytes, bom, 3) == 0)
	{
		bytes += 3;
		len -= 3;
	}
	if (len == 0)
		return NULL;

	if (pg_encoding_verifymbstr(PG_UTF8, bytes, (int) len) == (int) len)
		result = parse(GetDatabaseEncoding() == PG_UTF8 ? pnstrdup(bytes, len) :
					   printable(bytes, len));
	if (result)
		return result;

	initStringInfo(&raw);
	appendStringInfoString(&raw, "{\"raw\": ");
	escape_json(&raw, printable(bytes, len));
	appendStringInfoChar(&raw, '}');
	return parse(raw.data);
}

/* A reply's body as jsonb, with *** for the password; NULL if it is empty. */
Jsonb *
response_as_jsonb(const HttpReply *reply)
{
	return without_password(bytes_as_jsonb(reply->body, reply->body_size), reply);
}

/* The text of a field of a reply's object; NULL if it has no such string. */
char *
response_text(Jsonb *reply, const char *key)
{
	JsonbValue	value;

	if (reply == NULL || !JB_ROOT_IS_OBJECT(reply) ||
		getKeyJsonValueFromContainer(&reply->root, key, (int) strlen(key), &value) == NULL ||
		value.type != jbvString)
		return NULL;
	return pnstrdup(value.val.string.val, value.val.string.len);
}
