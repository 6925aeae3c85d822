/*
 * gateway.c
 *		The protocol of the 3300 gateway: message to form, reply to verdict.
 *
 * If FRONTEND is defined, this file needs only libpgcommon.  The fuzzers build
 * it that way.
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include <ctype.h>
#include <errno.h>
#include <limits.h>

#include "common/jsonapi.h"
#include "mb/pg_wchar.h"

#include "compat.h"
#include "gateway/gateway.h"

/* A reply nested deeper than this does not come from the gateway. */
#define MAX_NESTING 64

/* -------------------------------------------------------------------------
 * Error codes
 * ------------------------------------------------------------------------- */

/* Parse a non-negative code.  Returns the end of it, NULL if there is none. */
static const char *
parse_code(const char *text, int *code)
{
	char	   *end;
	long		value;

	while (isspace((unsigned char) *text))
		text++;
	if (!isdigit((unsigned char) *text))
		return NULL;
	errno = 0;
	value = strtol(text, &end, 10);
	if (errno != 0 || value > INT_MAX)
		return NULL;
	while (isspace((unsigned char) *end))
		end++;
	*code = (int) value;
	return end;
}

/*
 * Add a list of codes and ranges with one verdict, such as "15, 23, 100-110".
 * Returns false if the syntax is invalid or the total would exceed max_ranges.
 */
bool
gateway_codes_add(GatewayCodes *codes, int max_ranges, const char *text,
				  GatewayVerdict verdict)
{
	while (isspace((unsigned char) *text))
		text++;
	if (*text == '\0')
		return true;

	for (;;)
	{
		int			first;
		int			last;

		if (codes->nranges >= max_ranges ||
			(text = parse_code(text, &first)) == NULL)
			return false;
		last = first;
		if (*text == '-' && (text = parse_code(text + 1, &last)) == NULL)
			return false;
		if (last < first)
			return false;

		codes->ranges[codes->nranges].first = first;
		codes->ranges[codes->nranges].last = last;
		codes->ranges[codes->nranges].verdict = verdict;
		codes->nranges++;

		if (*text == '\0')
			return true;
		if (*text++ != ',')
			return false;
	}
}

/* Find a code that is in two ranges.  Returns false if there is none. */
bool
gateway_codes_overlap(const GatewayCodes *codes, int *code)
{
	for (int i = 0; i < codes->nranges; i++)
		for (int j = 0; j < i; j++)
			if (codes->ranges[i].verdict != codes->ranges[j].verdict &&
				codes->ranges[i].first <= codes->ranges[j].last &&
				codes->ranges[j].first <= codes->ranges[i].last)
			{
				*code = Max(codes->ranges[i].first, codes->ranges[j].first);
				return true;
			}
	return false;
}

/* Return the verdict of an error code. */
GatewayVerdict
gateway_codes_verdict(const GatewayCodes *codes, int code)
{
	for (int i = 0; i < codes->nranges; i++)
		if (code >= codes->ranges[i].first && code <= codes->ranges[i].last)
			return codes->ranges[i].verdict;
	return VERDICT_UNKNOWN;
}

/* -------------------------------------------------------------------------
 * The form
 * ------------------------------------------------------------------------- */

/* Append a byte, or only count it if buffer is NULL.  Returns the new end. */
static inline size_t
put(char *form, size_t at, char c)
{
	if (form)
		form[at] = c;
	return at + 1;
}

/* Return whether a byte needs no escape. */
static inline bool
is_unreserved(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		c == '-' || c == '_' || c == '.' || c == '~';
}

/* Append name=value as application/x-www-form-urlencoded.  Returns the new end. */
static size_t
put_field(char *form, size_t at, const char *name, const char *value)
{
	static const char hex[] = "0123456789ABCDEF";

	if (value == NULL)
		return at;

	if (at > 0)
		at = put(form, at, '&');
	for (; *name; name++)
		at = put(form, at, *name);
	at = put(form, at, '=');

	for (; *value; value++)
	{
		unsigned char c = (unsigned char) *value;

		if (is_unreserved(c))
			at = put(form, at, *value);
		else
		{
			at = put(form, at, '%');
			at = put(form, at, hex[c >> 4]);
			at = put(form, at, hex[c & 15]);
		}
	}
	return at;
}

/* Append a numeric field unless it is negative.  Returns the new end. */
static size_t
put_number(char *form, size_t at, const char *name, int value)
{
	char		digits[12];

	if (value < 0)
		return at;
	snprintf(digits, sizeof(digits), "%d", value);
	return put_field(form, at, name, digits);
}

/* Write the form, or only measure it if buffer is NULL.  Returns its size. */
static size_t
form(const GatewayMessage *message, char *buffer)
{
	size_t		at = 0;

	at = put_field(buffer, at, "username", message->username);
	at = put_field(buffer, at, "password", message->password);
	at = put_field(buffer, at, "mobile", message->mobile);
	at = put_field(buffer, at, "message", message->message);
	at = put_field(buffer, at, "line", message->line);
	at = put_field(buffer, at, "line2", message->line2);
	at = put_number(buffer, at, "type", message->type);
	return put_number(buffer, at, "template", message->template);
}

/* Return the size of a message's form in bytes. */
size_t
gateway_form_size(const GatewayMessage *message)
{
	return form(message, NULL);
}

/*
 * Write a message's form into a buffer of gateway_form_size() bytes, without a
 * terminating zero byte.  It is written directly, so that no other copy of the
 * password remains in memory.
 */
size_t
gateway_form_write(const GatewayMessage *message, char *buffer)
{
	return form(message, buffer);
}

/* Return the value of a hexadecimal digit written by put_field(). */
static int
digit_value(char c)
{
	return c <= '9' ? c - '0' : c - 'A' + 10;
}

/* Return a copy of the password in a form, in UTF-8; NULL if there is none. */
char *
gateway_form_password(const char *form, size_t size)
{
	static const char name[] = "&password=";
	const char *at = memmem(form, size, name, strlen(name));
	const char *end = form + size;
	char	   *password;
	size_t		len = 0;

	if (at == NULL)
		return NULL;
	at += strlen(name);
	password = palloc(end - at + 1);
	while (at < end && *at != '&')
	{
		if (*at == '%')
		{
			password[len++] = (char) (digit_value(at[1]) << 4 | digit_value(at[2]));
			at += 3;
		}
		else
			password[len++] = *at++;
	}
	password[len] = '\0';
	return password;
}

/* -------------------------------------------------------------------------
 * The reply
 * ------------------------------------------------------------------------- */

typedef struct ReplyParse
{
	GatewayReply *reply;
	int			depth;			/* objects and arrays around the current value */
	bool		in_data;		/* inside the object "data" */
	char		field[16];		/* the field whose value comes next */
	bool		invalid;		/* an array, or "status" is not a number or is contradictory */
} ReplyParse;

/*
 * Copy a reply for the parser, with every \u escape replaced by a plain character.
 * The relevant values are ASCII, and an invalid escape elsewhere must not prevent
 * them from being read.  Returns NULL if the reply is not UTF-8 or is nested too
 * deeply for a recursive parser.
 */
static char *
prepare_reader(const char *text, size_t len)
{
	char	   *copy;
	bool		in_string = false;
	int			depth = 0;

	if (pg_encoding_verifymbstr(PG_UTF8, text, (int) len) != (int) len)
		return NULL;

	copy = palloc(len + 1);
	memcpy(copy, text, len);
	copy[len] = '\0';

	for (size_t i = 0; i < len; i++)
	{
		char		c = copy[i];

		if (in_string && c == '\\' && i + 1 < len)
		{
			if (copy[i + 1] == 'u')
				copy[i] = '_';
			i++;
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
	}
	return copy;
}

/* Parse a 64-bit integer.  Returns false if the text is anything else. */
static bool
parse_integer(const char *text, int64 *value)
{
	char	   *end;

	if (!isdigit((unsigned char) text[0]) &&
		!(text[0] == '-' && isdigit((unsigned char) text[1])))
		return false;
	errno = 0;
	*value = strtoll(text, &end, 10);
	return errno == 0 && *end == '\0';
}

/* Return whether a text can be a line: short, and made of digits. */
static bool
is_line(const char *text)
{
	size_t		len = strlen(text);

	return len > 0 && len < GATEWAY_LINE_SIZE && strspn(text, "+-0123456789 ") == len;
}

/* Parser action: an object begins. */
static JSON_ACTION_RESULT
on_object_start(void *state)
{
	ReplyParse *parse = state;

	if (parse->depth == 1 && strcmp(parse->field, "data") == 0)
		parse->in_data = true;
	parse->depth++;
	JSON_ACTION_DONE;
}

/* Parser action: an object ends. */
static JSON_ACTION_RESULT
on_object_end(void *state)
{
	ReplyParse *parse = state;

	parse->depth--;
	if (parse->depth == 1)
		parse->in_data = false;
	JSON_ACTION_DONE;
}

/* Parser action: an array begins; a reply that is an array is invalid. */
static JSON_ACTION_RESULT
on_array_start(void *state)
{
	ReplyParse *parse = state;

	if (parse->depth == 0)
		parse->invalid = true;
	parse->depth++;
	JSON_ACTION_DONE;
}

/* Parser action: an array ends. */
static JSON_ACTION_RESULT
on_array_end(void *state)
{
	((ReplyParse *) state)->depth--;
	JSON_ACTION_DONE;
}

/* Parser action: a field begins. */
static JSON_ACTION_RESULT
on_field(void *state, char *name, bool isnull)
{
	strlcpy(((ReplyParse *) state)->field, name, sizeof(((ReplyParse *) state)->field));
	JSON_ACTION_DONE;
}

/* Parser action: a scalar; numbers may be JSON numbers or strings. */
static JSON_ACTION_RESULT
on_scalar(void *state, char *token, JsonTokenType type)
{
	ReplyParse *parse = state;
	GatewayReply *reply = parse->reply;
	int64		value;

	if (type != JSON_TOKEN_NUMBER && type != JSON_TOKEN_STRING)
		JSON_ACTION_DONE;

	if (parse->depth == 1 && strcmp(parse->field, "status") == 0)
	{
		if (!parse_integer(token, &value) || value < INT_MIN || value > INT_MAX ||
			(reply->has_status && reply->status != (int32) value))
			parse->invalid = true;
		else
		{
			reply->has_status = true;
			reply->status = (int32) value;
		}
	}
	else if (parse->depth == 2 && parse->in_data)
	{
		if (strcmp(parse->field, "message_id") == 0)
		{
			if (parse_integer(token, &value))
			{
				reply->has_message_id = true;
				reply->message_id = value;
			}
		}
		else if (strcmp(parse->field, "line") == 0 && is_line(token))
			strlcpy(reply->line, token, GATEWAY_LINE_SIZE);
	}
	JSON_ACTION_DONE;
}

/*
 * Parse a reply.  Never fails: a reply that is not a JSON object with exactly one
 * integer as "status" has no status.
 */
void
gateway_parse_reply(const char *text, size_t len, GatewayReply *reply)
{
	static const char bom[] = "\xEF\xBB\xBF";
	ReplyParse	parse = {.reply = reply};
	JsonSemAction actions = {
		.semstate = &parse,
		.object_start = on_object_start,
		.object_end = on_object_end,
		.array_start = on_array_start,
		.array_end = on_array_end,
		.object_field_start = on_field,
		.scalar = on_scalar,
	};
	char	   *copy;
	bool		valid;

	memset(reply, 0, sizeof(GatewayReply));
	if (len == 0)
		return;

	/* .NET servers may send a byte order mark. */
	if (len >= 3 && memcmp(text, bom, 3) == 0)
	{
		text += 3;
		len -= 3;
	}

	copy = prepare_reader(text, len);
	if (copy == NULL)
		return;
	valid = pg_parse_json(json_lexer(copy, len), &actions) == JSON_SUCCESS;
	pfree(copy);

	if (!valid || parse.invalid)
		memset(reply, 0, sizeof(GatewayReply));
}

/*
 * Return the verdict on a request from the evidence: whether the whole request was
 * handed to the network, the HTTP status (0: no reply, or an incomplete one whose
 * status is not decisive), and the content of the reply.
 */
GatewayVerdict
gateway_verdict(bool request_left, int http_status,
				const GatewayReply *reply, const GatewayCodes *codes)
{
	/* The gateway cannot send a message from an incomplete form. */
	GatewayVerdict undecided = request_left ? VERDICT_UNKNOWN : VERDICT_NOT_SENT;

	if (http_status >= 200 && http_status < 300)
	{
		if (!reply->has_status)
			return undecided;
		return reply->status < 0 ? VERDICT_SENT :
			gateway_codes_verdict(codes, reply->status);
	}

	switch (http_status)
	{
		case 400:
		case 413:
		case 414:
		case 415:
		case 422:
			return VERDICT_REJECTED;
		case 429:
		case 503:
			return VERDICT_ACCOUNT;
		default:
			return http_status >= 300 && http_status < 500 ?
				VERDICT_ACCOUNT : undecided;
	}
}
