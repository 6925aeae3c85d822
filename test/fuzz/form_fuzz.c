/*
 * form_fuzz.c
 *		Write messages of arbitrary fields as forms, and read those again.
 *
 * The input is the fields one after another, a zero byte between them; what is
 * missing, or is nothing but the byte FF, is not posted.
 */
#undef NDEBUG
#include "postgres_fe.h"

#include <assert.h>
#include <ctype.h>

#include "gateway/gateway.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Return the next field, or NULL, and move past it. */
static const char *
next_field(const char **at, const char *end)
{
	const char *field = *at;

	if (field >= end)
		return NULL;
	*at += strlen(field) + 1;
	return strcmp(field, "\xFF") == 0 ? NULL : field;
}

/* Return the next field as a number, -1 where there is none. */
static int
next_number(const char **at, const char *end)
{
	const char *field = next_field(at, end);

	return field ? (int) strtol(field, NULL, 10) : -1;
}

/* Return the value of a hexadecimal digit of the kind that is written. */
static int
hex_value(char c)
{
	assert(isdigit((unsigned char) c) || (c >= 'A' && c <= 'F'));
	return isdigit((unsigned char) c) ? c - '0' : c - 'A' + 10;
}

/* Check that a field stands at a place of the form, and move past it. */
static void
check_field(const char *form, const char **at, const char *end, const char *name,
			const char *value)
{
	if (value == NULL)
		return;

	if (*at > form)
	{
		assert(*at < end && **at == '&');
		(*at)++;
	}
	for (; *name; name++, (*at)++)
		assert(*at < end && **at == *name);
	assert(*at < end && **at == '=');
	(*at)++;

	for (; *value; value++, (*at)++)
	{
		assert(*at < end);
		if (**at == '%')
		{
			assert(end - *at >= 3);
			assert(hex_value((*at)[1]) * 16 + hex_value((*at)[2]) == (unsigned char) *value);
			*at += 2;
		}
		else
			assert(**at == *value && (isalnum((unsigned char) *value) || strchr("-_.~", *value)));
	}
}

/* The same of a number. */
static void
check_number(const char *form, const char **at, const char *end, const char *name, int value)
{
	char		digits[16];

	snprintf(digits, sizeof(digits), "%d", value);
	check_field(form, at, end, name, value < 0 ? NULL : digits);
}

/* Check that the password is found in the form. */
static void
check_password(const GatewayMessage *message, const char *form, size_t size)
{
	char	   *password = gateway_form_value(form, size, "password");

	if (message->password == NULL)
		assert(password == NULL);
	else
		assert(password != NULL && strcmp(password, message->password) == 0);
	free(password);
}

/* Take the bytes for the fields of a message. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *fields = malloc(size + 1);
	const char *field = fields;
	const char *fields_end = fields + size;
	GatewayMessage message;
	char	   *form;
	const char *at;
	const char *end;

	assert(fields != NULL);
	if (size > 0)
		memcpy(fields, data, size);
	fields[size] = '\0';

	message.username = next_field(&field, fields_end);
	message.password = next_field(&field, fields_end);
	message.mobile = next_field(&field, fields_end);
	message.message = next_field(&field, fields_end);
	message.line = next_field(&field, fields_end);
	message.line2 = next_field(&field, fields_end);
	message.type = next_number(&field, fields_end);
	message.template = next_number(&field, fields_end);
	message.message_ids = next_field(&field, fields_end);

	form = malloc(gateway_form_size(&message));
	assert(gateway_form_write(&message, form) == gateway_form_size(&message));

	at = form;
	end = form + gateway_form_size(&message);
	check_field(form, &at, end, "username", message.username);
	check_field(form, &at, end, "password", message.password);
	check_field(form, &at, end, "mobile", message.mobile);
	check_field(form, &at, end, "message", message.message);
	check_field(form, &at, end, "line", message.line);
	check_field(form, &at, end, "line2", message.line2);
	check_number(form, &at, end, "type", message.type);
	check_number(form, &at, end, "template", message.template);
	check_field(form, &at, end, "message_ids", message.message_ids);
	assert(at == end);
	check_password(&message, form, end - form);

	free(form);
	free(fields);
	return 0;
}
