/*
 * reply.c
 *		The JSON of a reply, and what it says became of a message.
 *
 * Compiled with FRONTEND defined this file needs only libpgcommon, which is
 * how the fuzzers drive it.
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include <limits.h>

#include "common/jsonapi.h"

#include "compat.h"
#include "gateway/gateway.h"
#include "gateway/json.h"
#include "text/mobile.h"

/* Ids from 1 up to this are error codes in this family of gateways. */
#define MAX_CODE_AS_ID 999

typedef struct ReplyParse
{
	GatewayReply *reply;
	int			depth;			/* objects and arrays around the current value */
	bool		in_data;		/* inside the object "data" */
	char		field[16];		/* the field whose value comes next */
	bool		invalid;		/* an array, a "status" is no number, or members contradict each other */
} ReplyParse;

/* Tell whether a text can be a line: short, and of digits. */
static bool
is_line(const char *text)
{
	size_t		len = strlen(text);

	return len > 0 && len < GATEWAY_LINE_SIZE && strspn(text, "+-0123456789 ") == len;
}

/* Tell whether the current value is a "status" of the reply. */
static bool
is_status(const ReplyParse *parse)
{
	return parse->depth == 1 && strcmp(parse->field, "status") == 0;
}

/* Parser action: an object begins. */
static JSON_ACTION_RESULT
on_object_start(void *state)
{
	ReplyParse *parse = state;

	if (parse->depth == 1 && strcmp(parse->field, "data") == 0)
		parse->in_data = true;
	parse->invalid |= is_status(parse);
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

/* Parser action: an array begins; a reply that is one says nothing. */
static JSON_ACTION_RESULT
on_array_start(void *state)
{
	ReplyParse *parse = state;

	parse->invalid |= parse->depth == 0 || is_status(parse);
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

/* Take the status, of which there may be one. */
static void
read_status(ReplyParse *parse, const char *token)
{
	GatewayReply *reply = parse->reply;
	int64		value;

	if (!json_integer(token, &value) || value < INT_MIN || value > INT_MAX ||
		(reply->has_status && reply->status != (int32) value))
	{
		parse->invalid = true;
		return;
	}
	reply->has_status = true;
	reply->status = (int32) value;
}

/* Take the message's id, of which there may be one; what is no number says nothing. */
static void
read_message_id(ReplyParse *parse, const char *token)
{
	GatewayReply *reply = parse->reply;
	int64		value;

	if (!json_integer(token, &value))
		return;
	parse->invalid |= reply->has_message_id && reply->message_id != value;
	reply->has_message_id = true;
	reply->message_id = value;
}

/* Take a text, of which there may be one. */
static void
read_text(ReplyParse *parse, const char *token, char *text, size_t size)
{
	parse->invalid |= text[0] && strncmp(text, token, size - 1) != 0;
	strlcpy(text, token, size);
}

/* Parser action: a scalar; numbers may come as numbers or as strings. */
static JSON_ACTION_RESULT
on_scalar(void *state, char *token, JsonTokenType type)
{
	ReplyParse *parse = state;
	GatewayReply *reply = parse->reply;

	if (is_status(parse))
		read_status(parse, token);
	else if (type != JSON_TOKEN_NUMBER && type != JSON_TOKEN_STRING)
		JSON_ACTION_DONE;
	else if (parse->depth == 2 && parse->in_data)
	{
		if (strcmp(parse->field, "message_id") == 0)
			read_message_id(parse, token);
		else if (strcmp(parse->field, "line") == 0 && is_line(token))
			read_text(parse, token, reply->line, GATEWAY_LINE_SIZE);
		else if (strcmp(parse->field, "mobile") == 0 &&
				 token[0] && strspn(token, "0123456789") == strlen(token))
			read_text(parse, token, reply->mobile, GATEWAY_MOBILE_SIZE);
	}
	JSON_ACTION_DONE;
}

/*
 * Read a reply.  What is no JSON object with a whole number as "status", or
 * contradicts itself, has no status; no input makes this fail.
 */
void
gateway_parse_reply(const char *text, size_t len, GatewayReply *reply)
{
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

	memset(reply, 0, sizeof(GatewayReply));
	if (!json_read(text, len, &actions) || parse.invalid)
		memset(reply, 0, sizeof(GatewayReply));
}

/*
 * Tell whether a reply can be the one to a message to a canonical mobile: it can
 * unless it names another recipient.  A masked one says nothing.
 */
bool
gateway_is_reply_to(const GatewayReply *reply, const char *mobile)
{
	char		named[MOBILE_SIZE];

	return reply->mobile[0] == '\0' ||
		(mobile_canonical(reply->mobile, strlen(reply->mobile), named) &&
		 strcmp(named, mobile) == 0);
}

/* What a reply of the gateway says that became of a message. */
static GatewayVerdict
reply_verdict(const GatewayReply *reply, const GatewayCodes *codes)
{
	if (reply->status >= 0)
		return gateway_codes_verdict(codes, reply->status);

	/* An accepted message has an id; an error code in its place may mean anything. */
	return reply->has_message_id && reply->message_id >= 1 &&
		reply->message_id <= MAX_CODE_AS_ID ? VERDICT_UNKNOWN : VERDICT_SENT;
}

/* Tell whether an HTTP status says that a message was not sent. */
static bool
is_unsent(const GatewayCodes *codes, int http_status)
{
	for (int i = 0; i < codes->nunsent; i++)
		if (codes->unsent[i] == http_status)
			return true;
	return false;
}

/*
 * Judge by the evidence what became of a message to a canonical mobile: whether
 * the whole request was handed to the network, the HTTP status (0: no reply, or
 * one that broke off where the status alone doesn't decide), and what the reply
 * says.
 */
GatewayVerdict
gateway_verdict(bool request_left, int http_status, const char *mobile,
				const GatewayReply *reply, const GatewayCodes *codes)
{
	/* Without the end of the form there is nothing the gateway could send. */
	GatewayVerdict undecided = request_left ? VERDICT_UNKNOWN : VERDICT_NOT_SENT;

	if (http_status >= 200 && http_status < 300)
	{
		/* A reply that came late, to another message, says nothing of this one. */
		if (!reply->has_status || !gateway_is_reply_to(reply, mobile))
			return undecided;
		return reply_verdict(reply, codes);
	}
	if (is_unsent(codes, http_status))
		return VERDICT_ACCOUNT;

	switch (http_status)
	{
		case 400:
		case 413:
		case 414:
		case 415:
		case 422:
			return VERDICT_REJECTED;
		default:
			return http_status >= 300 && http_status < 500 ?
				VERDICT_ACCOUNT : undecided;
	}
}
