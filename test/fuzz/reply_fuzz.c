/*
 * reply_fuzz.c
 *		Feed arbitrary bytes to the reader of replies, and judge what it says.
 */
#undef NDEBUG
#include "postgres_fe.h"

#include <assert.h>
#include <limits.h>

#include "gateway/gateway.h"
#include "mb/pg_wchar.h"
#include "memory.h"

/* Seven times ten of something nest more deeply than a reply may. */
#define SEVENTY(ten)	ten ten ten ten ten ten ten

/* The recipient of the message that is answered. */
#define MOBILE "989123456789"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Read the bytes between two texts as a reply. */
static GatewayReply
read_between(const char *before, const char *bytes, size_t size, const char *after)
{
	size_t		total = strlen(before) + size + strlen(after);
	char	   *text = malloc(total + 1);
	char	   *at = text;
	GatewayReply reply;

	assert(text != NULL);
	memcpy(at, before, strlen(before));
	at += strlen(before);
	memcpy(at, bytes, size);
	at += size;
	memcpy(at, after, strlen(after) + 1);

	/* to the byte, so that reading on is seen; of no body there is no buffer either */
	text = realloc(text, total > 0 ? total : 1);
	gateway_parse_reply(total > 0 ? text : NULL, total, &reply);
	free(text);
	return reply;
}

/* Tell whether two replies say the same. */
static bool
same(const GatewayReply *a, const GatewayReply *b)
{
	return a->has_status == b->has_status && a->status == b->status &&
		a->has_message_id == b->has_message_id && a->message_id == b->message_id &&
		strcmp(a->line, b->line) == 0 && strcmp(a->mobile, b->mobile) == 0;
}

/* Check what is true of any reply. */
static void
check_reply(const GatewayReply *reply, const char *bytes, size_t size)
{
	GatewayReply again = read_between("", bytes, size, " \t\r\n");

	assert(same(reply, &again));
	assert(reply->has_status || reply->status == 0);
	assert(!reply->has_status || pg_encoding_verifymbstr(PG_UTF8, bytes, (int) size) == (int) size);
	assert(reply->has_message_id || reply->message_id == 0);
	assert(memchr(reply->line, '\0', GATEWAY_LINE_SIZE) != NULL);
	assert(strspn(reply->line, "+-0123456789 ") == strlen(reply->line));
	assert(memchr(reply->mobile, '\0', GATEWAY_MOBILE_SIZE) != NULL);
	assert(strspn(reply->mobile, "0123456789") == strlen(reply->mobile));
}

/* Check that what stands around a reply's status and does not concern it changes nothing. */
static void
check_around(const GatewayReply *reply, const char *bytes, size_t size)
{
	GatewayReply other;

	/* a second byte order mark is none */
	other = read_between("\xEF\xBB\xBF", bytes, size, "");
	assert(bytes[0] == '\xEF' ? !other.has_status : same(reply, &other));

	/* a field more, in place of the brace at the end */
	while (bytes[size - 1] != '}')
		size--;
	size--;
	other = read_between("", bytes, size, ", \"msg\": \"\\ud83d \\u0000 \\\\\"}");
	assert(same(reply, &other));
	other = read_between("", bytes, size, ", \"msg\": {\"data\": {}, \"status\": 0, \"message_id\": 5}}");
	assert(same(reply, &other));
}

/* Check that a reply with a status has it no longer when cut, nested or contradicted. */
static void
check_status(const GatewayReply *reply, const char *bytes, size_t size)
{
	char		more[80];
	GatewayReply other;

	other = read_between("[", bytes, size, ", {\"status\": 0}, 0]");
	assert(!other.has_status);
	other = read_between("{\"data\": ", bytes, size, "}");
	assert(!other.has_status);
	other = read_between("", bytes, size, "{}");
	assert(!other.has_status);

	while (bytes[size - 1] != '}')
		size--;
	size--;
	other = read_between("", bytes, size, "");
	assert(!other.has_status);
	other = read_between("", bytes, size, ", \"msg\": " SEVENTY("[[[[[[[[[[") SEVENTY("]]]]]]]]]]") "}");
	assert(!other.has_status);

	snprintf(more, sizeof(more), ", \"status\": \"%d\"}", reply->status);
	other = read_between("", bytes, size, more);
	assert(same(reply, &other));
	snprintf(more, sizeof(more), ", \"status\": %d}", reply->status ^ 1);
	other = read_between("", bytes, size, more);
	assert(!other.has_status);
	snprintf(more, sizeof(more), ", \"\\u0073tatu\\u0073\": \"%d\"}", reply->status);
	other = read_between("", bytes, size, more);
	assert(same(reply, &other));
	snprintf(more, sizeof(more), ", \"\\u0073tatus\": %d}", reply->status ^ 1);
	other = read_between("", bytes, size, more);
	assert(!other.has_status);
	if (reply->has_message_id)
	{
		snprintf(more, sizeof(more), ", \"data\": {\"message_id\": " INT64_FORMAT "}}",
				 reply->message_id ^ 1);
		other = read_between("", bytes, size, more);
		assert(!other.has_status);
	}
}

/* Check that the bytes as the value of fields are taken only for what they are. */
static void
check_values(const char *bytes, size_t size)
{
	char		text[GATEWAY_LINE_SIZE + 1] = {0};
	const char *digits;
	size_t		len;
	GatewayReply reply;

	for (size_t i = 0; i < size; i++)
		if (bytes[i] < ' ' || bytes[i] > '~' || bytes[i] == '"' || bytes[i] == '\\')
			return;
	if (size > GATEWAY_LINE_SIZE)
		return;
	memcpy(text, bytes, size);
	digits = text + (text[0] == '-');
	len = strlen(digits);

	reply = read_between("{\"status\": \"", bytes, size, "\"}");
	if (len == 0 || strspn(digits, "0123456789") < len ||
		strtoll(text, NULL, 10) < INT_MIN || strtoll(text, NULL, 10) > INT_MAX)
		assert(!reply.has_status);
	else
		assert(reply.has_status && reply.status == strtoll(text, NULL, 10));

	reply = read_between("{\"data\": {\"line\": \"", bytes, size, "\"}}");
	if (size >= GATEWAY_LINE_SIZE || strspn(text, "+-0123456789 ") < size)
		assert(reply.line[0] == '\0');
	else
		assert(strcmp(reply.line, text) == 0);
}

/* Check that a message counts as sent only where the gateway says so. */
static void
check_verdict(const GatewayReply *reply, const GatewayCodes *codes, bool request_left,
			  int http_status)
{
	bool		decided = http_status / 100 == 2 && reply->has_status &&
		gateway_is_reply_to(reply, MOBILE);
	bool		is_code = reply->has_message_id && reply->message_id > 0 && reply->message_id < 1000;
	GatewayVerdict verdict = gateway_verdict(request_left, http_status, MOBILE, reply, codes);

	assert((verdict == VERDICT_SENT) == (decided && reply->status < 0 && !is_code));
	if (decided)
		assert(verdict == (reply->status >= 0 ? gateway_codes_verdict(codes, reply->status) :
						   is_code ? VERDICT_UNKNOWN : VERDICT_SENT));
	else if (http_status == 429 || http_status == 502)
		assert(verdict == VERDICT_ACCOUNT);
	else
		assert(verdict != (request_left ? VERDICT_NOT_SENT : VERDICT_UNKNOWN));
}

/* Read the bytes as a reply. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *bytes = (const char *) data;
	GatewayReply reply;
	GatewayCodes codes = {0};

	assert(gateway_codes_add(&codes, GATEWAY_MAX_RANGES, "15, 409", VERDICT_TRANSIENT) &&
		   gateway_codes_add(&codes, GATEWAY_MAX_RANGES, "12-14", VERDICT_ACCOUNT) &&
		   gateway_codes_add(&codes, GATEWAY_MAX_RANGES, "1-4", VERDICT_REJECTED));

	assert(gateway_codes_set_unsent(&codes, "429, 502"));

	memory_begin();
	reply = read_between("{\"status\": -1, \"data\": {\"mobile\": \"", "09123456789", 11, "\"}}");
	assert(gateway_is_reply_to(&reply, MOBILE));
	reply = read_between("{\"status\": -1, \"data\": {\"mobile\": ", "989123456780", 12, "}}");
	assert(!gateway_is_reply_to(&reply, MOBILE));
	reply = read_between("{\"status\": -1, \"data\": {\"mobile\": \"", "98912***6780", 12, "\"}}");
	assert(gateway_is_reply_to(&reply, MOBILE));
	reply = read_between("", bytes, size, "");
	check_reply(&reply, bytes, size);
	check_values(bytes, size);
	if (reply.has_status)
	{
		check_around(&reply, bytes, size);
		check_status(&reply, bytes, size);
	}
	for (int http_status = 0; http_status <= 600; http_status++)
	{
		check_verdict(&reply, &codes, false, http_status);
		check_verdict(&reply, &codes, true, http_status);
	}
	memory_end();

	free(codes.ranges);
	return 0;
}
