/*
 * form.c
 *		A message as the form that is posted.
 *
 * Compiled with FRONTEND defined this file needs only libpgcommon, which is
 * how the fuzzers drive it.
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include "gateway/gateway.h"

/* Append a byte as it is, or count it where there is no buffer; where it ends. */
static inline size_t
put(char *form, size_t at, char c)
{
	if (form)
		form[at] = c;
	return at + 1;
}

/* Tell whether a byte needs no escape. */
static inline bool
is_unreserved(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		c == '-' || c == '_' || c == '.' || c == '~';
}

/* Append name=value, percent-encoded as application/x-www-form-urlencoded; where it ends. */
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

/* Append a numeric field, unless it is below 0; where it ends. */
static size_t
put_number(char *form, size_t at, const char *name, int value)
{
	char		digits[12];

	if (value < 0)
		return at;
	snprintf(digits, sizeof(digits), "%d", value);
	return put_field(form, at, name, digits);
}

/* Lay down the form, or measure it where there is no buffer; its size. */
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
	at = put_number(buffer, at, "template", message->template);
	return put_field(buffer, at, "message_ids", message->message_ids);
}

/* The size in bytes of a message's form. */
size_t
gateway_form_size(const GatewayMessage *message)
{
	return form(message, NULL);
}

/*
 * Write a message's form into a buffer of gateway_form_size() bytes, without a
 * terminating zero.  It is written in place once, so that no copy of the
 * password is left behind in memory.
 */
size_t
gateway_form_write(const GatewayMessage *message, char *buffer)
{
	return form(message, buffer);
}

/* The value of a hexadecimal digit as put_field() writes it. */
static int
digit_value(char c)
{
	return c <= '9' ? c - '0' : c - 'A' + 10;
}

/* Find the value of a field in a form; NULL if there is none. */
static const char *
find_value(const char *form, const char *end, const char *field)
{
	size_t		len = strlen(field);

	for (const char *at = form; at; at = memchr(at, '&', end - at))
	{
		if (*at == '&')
			at++;
		if ((size_t) (end - at) > len && memcmp(at, field, len) == 0 && at[len] == '=')
			return at + len + 1;
	}
	return NULL;
}

/* The value of a field in a form, in UTF-8; NULL if there is none. */
char *
gateway_form_value(const char *form, size_t size, const char *field)
{
	const char *end = form + size;
	const char *at = find_value(form, end, field);
	char	   *value;
	size_t		len = 0;

	if (at == NULL)
		return NULL;
	value = palloc(end - at + 1);
	while (at < end && *at != '&')
	{
		if (*at == '%')
		{
			value[len++] = (char) (digit_value(at[1]) << 4 | digit_value(at[2]));
			at += 3;
		}
		else
			value[len++] = *at++;
	}
	value[len] = '\0';
	return value;
}
