/*
 * json.c
 *		Read the JSON of a reply.
 *
 * Compiled with FRONTEND defined this file needs only libpgcommon, which is
 * how the fuzzers drive it.
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include <ctype.h>
#include <errno.h>

#include "common/jsonapi.h"
#include "mb/pg_wchar.h"

#include "compat.h"
#include "gateway/json.h"

/* A reply nested deeper than this is not one of the gateway. */
#define MAX_NESTING 64

/* The value of a hexadecimal digit in either case; -1 if it is none. */
static int
hex_value(char c)
{
	return isdigit((unsigned char) c) ? c - '0' :
		isxdigit((unsigned char) c) ? tolower((unsigned char) c) - 'a' + 10 : -1;
}

/*
 * The plain character that stands for the escape \uXXXX at a place: the one that
 * it means if that is ASCII and needs no escape, else one that occurs in neither
 * a member's name nor a number.  0 if this is not such an escape.
 */
static char
unescaped(const char *at, const char *end)
{
	int			value = 0;

	if (end - at < 6)
		return 0;
	for (int i = 2; i < 6; i++)
	{
		int			digit = hex_value(at[i]);

		if (digit < 0)
			return 0;
		value = value * 16 + digit;
	}
	if (value < ' ' || value > '~' || value == '"' || value == '\\')
		return '?';
	return (char) value;
}

/*
 * Copy a reply for the parser, with every \u escape made a plain character: what
 * is looked for is ASCII, spelled with escapes or without, and the rest is read
 * even if an escape stands for no character.  NULL if it nests too deeply to be
 * parsed by a recursive parser, or is not UTF-8.
 */
static char *
prepare_reader(const char *text, size_t len, size_t *copied)
{
	const char *end = text + len;
	char	   *copy;
	char	   *to;
	bool		in_string = false;
	int			depth = 0;

	if (pg_encoding_verifymbstr(PG_UTF8, text, (int) len) != (int) len)
		return NULL;

	to = copy = palloc(len + 1);
	while (text < end)
	{
		char		c = *text++;
		char		plain = '\0';

		if (in_string && c == '\\' && text < end)
		{
			if (*text == 'u')
				plain = unescaped(text - 1, end);
			if (plain)
				text += 5;
			else
			{
				*to++ = c;
				plain = *text++;
			}
			c = plain;
		}
		else if (c == '"')
			in_string = !in_string;
		else if (!in_string && (c == '{' || c == '['))
		{
			if (++depth > MAX_NESTING)
			{
				pfree(copy);
				return NULL;
			}
		}
		else if (!in_string && (c == '}' || c == ']'))
			depth--;
		*to++ = c;
	}
	*to = '\0';
	*copied = to - copy;
	return copy;
}

bool
json_integer(const char *text, int64 *value)
{
	char	   *end;

	if (!isdigit((unsigned char) text[0]) &&
		!(text[0] == '-' && isdigit((unsigned char) text[1])))
		return false;
	errno = 0;
	*value = strtoll(text, &end, 10);
	return errno == 0 && *end == '\0';
}

bool
json_read(const char *text, size_t len, JsonSemAction *actions)
{
	static const char bom[] = "\xEF\xBB\xBF";
	char	   *copy;
	size_t		copied;
	bool		valid;

	/* .NET likes to begin with a byte order mark. */
	if (len >= 3 && memcmp(text, bom, 3) == 0)
	{
		text += 3;
		len -= 3;
	}
	copy = len > 0 ? prepare_reader(text, len, &copied) : NULL;
	if (copy == NULL)
		return false;
	valid = pg_parse_json(json_lexer(copy, copied), actions) == JSON_SUCCESS;
	pfree(copy);
	return valid;
}
