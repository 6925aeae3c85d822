/*
 * response.c
 *		Convert the bytes of a reply to values that the table can hold.
 *
 * Bytes from the network are untrusted.  They may be neither JSON nor UTF-8, or
 * contain characters that the database encoding lacks.
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

/* The replacement for a password. */
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
 * Convert bytes to text in the server encoding.  Characters that it may lack
 * become \uXXXX.  Bytes that are zero or not valid UTF-8 become \xXX.
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
 * Parse JSON text.  Returns NULL if jsonb rejects it.
 *
 * Parsing touches only memory (no catalogs, locks or buffers), so no
 * subtransaction is needed to recover from an error.
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

/* Some encodings have characters that become two in UTF-8. */
#define MAX_CHAR_SIZE (2 * MAX_MULTIBYTE_CHAR_LEN)

/* The ways in which a reply may write a character. */
typedef enum Spelling
{
	SPELLING_PLAIN,
	SPELLING_JSON,				/* \n, \u00e9 */
	SPELLING_URL,				/* %C3%A9 */
	SPELLING_HTML,				/* &amp; */
	NSPELLINGS
} Spelling;

/* Return the value of "len" hexadecimal digits, or -1 if a character is not one. */
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

/* Read \uXXXX, or a surrogate pair of them.  Returns its length, 0 if it is not one. */
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
 * Read one character in a spelling, or a plain one.  Returns the number of bytes
 * read; *c and *size are the character in UTF-8.
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

/* Return the length of a secret in a spelling if a text begins with it, else 0. */
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
 * Return a copy of a text with a secret masked in one spelling.  A numeric secret
 * is not masked inside a longer number.  It occurs there by chance, for example
 * in a mobile number that the sender chose, and the mask would reveal it.
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

/* Mask a secret in a string or key of a reply, in every spelling. */
static void
mask_string(JsonbValue *string, const char *secret)
{
	char	   *masked = pnstrdup(string->val.string.val, string->val.string.len);

	for (int spelling = 0; spelling < NSPELLINGS; spelling++)
		masked = mask_spelling(masked, secret, (Spelling) spelling);
	string->val.string.val = masked;
	string->val.string.len = (int) strlen(masked);
}

/* Return a copy of a reply with a secret masked in its strings and keys. */
static Jsonb *
mask(Jsonb *reply, const char *secret)
{
	JsonbIterator *iterator = JsonbIteratorInit(&reply->root);
	JsonbBuild	copy = {0};
	JsonbValue	value;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
	{
		bool		has_value = token == WJB_KEY || token == WJB_VALUE || token == WJB_ELEM;

		/* A scalar is kept in a marked array, and the copy needs the same mark. */
		bool		is_scalar = token == WJB_BEGIN_ARRAY && value.val.array.rawScalar;

		if (has_value && value.type == jbvString)
			mask_string(&value, secret);
		add_to_jsonb(&copy, token, has_value || is_scalar ? &value : NULL);
	}
	return JsonbValueToJsonb(copy.result);
}

/*
 * Return whether bytes from the network can contain a secret in UTF-8, plainly or
 * in another spelling, all of which need one of a few characters.
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

/* Mask the password of the request in its reply. */
static Jsonb *
without_password(Jsonb *result, const HttpReply *reply)
{
	char	   *password = gateway_form_value(reply->form, reply->form_size, "password");

	if (result == NULL || password == NULL)
		return result;
	if (may_hold(reply->body, reply->body_size, password))
		result = mask(result, password);
	explicit_bzero(password, strlen(password));
	return result;
}

/* The digits that numbers with an exponent may have, once they are written without it. */
#define MAX_DIGITS (64 * 1024)

/*
 * Return whether numbers in JSON text are so long without their exponents, as jsonb writes
 * them, that nobody could read the reply: 1e131071 has 131,072 digits.
 */
static bool
has_long_numbers(const char *json, size_t len)
{
	const char *end = json + len;
	bool		in_string = false;
	long		digits = 0;

	for (const char *c = json; c < end; c++)
	{
		if (*c == '"')
			in_string = !in_string;
		else if (in_string)
			c += *c == '\\';
		else if ((*c == 'e' || *c == 'E') && c > json && isdigit((unsigned char) c[-1]))
		{
			long		exponent = 0;

			c += c + 1 < end && (c[1] == '-' || c[1] == '+');
			while (c + 1 < end && isdigit((unsigned char) c[1]) && exponent <= MAX_DIGITS)
				exponent = exponent * 10 + (*++c - '0');
			digits += exponent;
			if (digits > MAX_DIGITS)
				return true;
		}
	}
	return false;
}

/*
 * Convert bytes to jsonb.  Bytes that jsonb rejects become {"raw": "..."}.
 * Returns NULL if there are none.
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

	if (pg_encoding_verifymbstr(PG_UTF8, bytes, (int) len) == (int) len && !has_long_numbers(bytes, len))
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

/* To parse a reply takes many times its size. */
Jsonb *
response_as_jsonb(const HttpReply *reply)
{
	MemoryContext parsing = AllocSetContextCreate(CurrentMemoryContext, "sms3300 parsing", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(parsing);
	Jsonb	   *parsed = without_password(bytes_as_jsonb(reply->body, reply->body_size), reply);
	Jsonb	   *result = NULL;

	MemoryContextSwitchTo(caller);
	if (parsed)
	{
		result = palloc(VARSIZE(parsed));
		memcpy(result, parsed, VARSIZE(parsed));
	}
	MemoryContextDelete(parsing);
	return result;
}

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

/* A number of so many digits is taken for someone's. */
#define LONG_NUMBER 7

/*
 * Return the number of bytes of the digit that a text begins with, Persian, Arabic and
 * full-width ones included; 0: none.
 */
static int
digit_size(const char *text)
{
	unsigned char first = (unsigned char) text[0];
	unsigned char second = first ? (unsigned char) text[1] : 0;
	unsigned char third = second ? (unsigned char) text[2] : 0;

	if (isdigit(first))
		return 1;
	if (GetDatabaseEncoding() == PG_UTF8 &&
		((first == 0xDB && second >= 0xB0 && second <= 0xB9) ||
		 (first == 0xD9 && second >= 0xA0 && second <= 0xA9)))
		return 2;
	if (GetDatabaseEncoding() == PG_UTF8 &&
		first == 0xEF && second == 0xBC && third >= 0x90 && third <= 0x99)
		return 3;
	return 0;
}

/*
 * Return the number of bytes of the number that a text begins with, and of its digits.
 * People write one space, dash or dot between groups of them.
 */
static size_t
number_size(const char *text, int *digits)
{
	size_t		size = 0;
	int			n;

	for (*digits = 0; (n = digit_size(text + size)) > 0; (*digits)++)
	{
		size += n;
		if (text[size] && strchr(" -.", text[size]) && digit_size(text + size + 1) > 0)
			size++;
	}
	return size;
}

/* Mask each long number in a text, which is changed; and what could break a line. */
static void
mask_numbers(char *text)
{
	char	   *to = text;

	while (*text)
	{
		int			digits;
		size_t		size = number_size(text, &digits);

		if (digits >= LONG_NUMBER)
		{
			memcpy(to, MASK, strlen(MASK));
			to += strlen(MASK);
			text += size;
		}
		else if (size > 0)
		{
			memmove(to, text, size);
			to += size;
			text += size;
		}
		else if (iscntrl((unsigned char) *text))
		{
			*to++ = ' ';
			text++;
		}
		else
			*to++ = *text++;
	}
	*to = '\0';
}

/* Return whether a text has the value of a field of the request, unless that is tiny. */
static bool
has_field(const char *text, const HttpReply *reply, const char *field)
{
	char	   *value = gateway_form_value(reply->form, reply->form_size, field);

	if (value == NULL || strlen(value) < 3)
		return false;
	return strstr(text, pg_any_to_server(value, (int) strlen(value), PG_UTF8)) != NULL;
}

char *
response_words(const HttpReply *reply, const char *key, int size)
{
	char	   *words = response_text(response_as_jsonb(reply), key);

	if (words == NULL || has_field(words, reply, "username") || has_field(words, reply, "message"))
		return NULL;
	mask_numbers(words);
	words[pg_mbcliplen(words, (int) strlen(words), size)] = '\0';
	return words[0] ? words : NULL;
}
