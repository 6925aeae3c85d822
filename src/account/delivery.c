/*
 * delivery.c
 *		What a reply says of delivery states, as an account has it read.
 *
 * An account may replace the built-in reading by three jsonpath expressions: what finds the
 * items in a reply, and the id and the state in an item.  The rules for ids and states stay.
 *
 * The worker must not spend minutes or gigabytes on an expression, whatever the reply.  So it
 * has only steps that visit each part of the reply once.
 */
#include "postgres.h"

#include <ctype.h>

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "account/delivery.h"
#include "account/response.h"

/* The longest expression, in bytes. */
#define MAX_EXPRESSION 1000

/* The most subscripts of an expression, "[*]" among them. */
#define MAX_SUBSCRIPTS 8

/* The most items of a reply that are looked at: more than are asked for at once. */
#define MAX_ITEMS (2 * GATEWAY_MAX_STATES)

/* Return the length of the word that a text begins with; 0 if an expression must not have it. */
static int
allowed_word(const char *text)
{
	static const char *const words[] = {
		"strict", "last", "to", "true", "false", "null", "exists", "starts", "with", "is", "unknown"
	};
	int			length = 0;

	while (isalnum((unsigned char) text[length]) || text[length] == '_')
		length++;
	for (size_t i = 0; i < lengthof(words); i++)
		if ((int) strlen(words[i]) == length && strncmp(text, words[i], length) == 0)
			return length;
	return 0;
}

/* Return the quote at the end of a string, which has one. */
static const char *
skip_string(const char *text)
{
	for (text++; *text != '"'; text++)
		if (*text == '\\')
			text++;
	return text;
}

/* Return an expression as a value of its type. */
static Datum
parse_path(const char *expression)
{
	return DirectFunctionCall1(jsonpath_in, CStringGetDatum(expression));
}

/* Return whether an expression may have a character, which is not in a word or a string, after the former one. */
static bool
allowed_sign(const char *text, char former)
{
	switch (*text)
	{
		/* A condition repeated for each item takes long, and a product even for one. */
		case ',':
		case '&':
		case '|':
		case '+':
		case '/':
		case '%':
			return false;
		case '-':
			return isdigit((unsigned char) text[1]);
		case '*':
			return (former == '.' || former == '[') && text[1] != '*';
		/* A variable raises an error even where errors are suppressed. */
		case '$':
			return text[1] != '"';
	}
	return true;
}

/* Return whether an expression, as PostgreSQL writes it, visits each part of a reply once. */
static bool
visits_once(const char *text)
{
	int			roots = 0;
	int			filters = 0;
	int			items = 0;
	int			subscripts = 0;
	char		former = '\0';

	/* PostgreSQL writes all keys in quotes. */
	for (const char *c = text; *c; former = *c++)
	{
		if (*c == '"')
			c = skip_string(c);
		else if (isalpha((unsigned char) *c))
		{
			int			length = allowed_word(c);

			if (length == 0)
				return false;
			c += length - 1;
		}
		else if (!allowed_sign(c, former))
			return false;
		roots += *c == '$';
		filters += *c == '?';
		items += *c == '@';
		subscripts += *c == '[';
	}
	/* In lax mode, a subscript of a value other than an array succeeds: no reply bounds them. */
	return roots <= 1 && filters <= 1 && items <= 1 && subscripts <= MAX_SUBSCRIPTS;
}

bool
delivery_is_bounded(const char *expression)
{
	MemoryContext context;
	MemoryContext caller;
	bool		result;

	/* Before it is parsed, as PostgreSQL writes 1e131071 with all its digits. */
	if (strlen(expression) > MAX_EXPRESSION)
		return false;
	context = AllocSetContextCreate(CurrentMemoryContext, "sms3300 expression", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(context);
	result = visits_once(DatumGetCString(DirectFunctionCall1(jsonpath_out, parse_path(expression))));
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return result;
}

/* Return what an expression finds in a JSON value, as an array; an empty one if it fails. */
static Jsonb *
query(Jsonb *value, Datum path)
{
	Datum		empty = DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));

	return DatumGetJsonbP(DirectFunctionCall4(jsonb_path_query_array, JsonbPGetDatum(value), path,
											  empty, BoolGetDatum(true)));
}

/* Return the only element of an array as text, and whether it is a string; NULL if it is neither that nor a number. */
static const char *
only_scalar(Jsonb *array, bool *quoted)
{
	JsonbValue *value;

	if (JB_ROOT_COUNT(array) != 1)
		return NULL;
	value = getIthJsonbValueFromContainer(&array->root, 0);
	*quoted = value->type == jbvString;
	if (value->type == jbvString)
		return pnstrdup(value->val.string.val, value->val.string.len);
	if (value->type == jbvNumeric)
		return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	return NULL;
}

/* Read the states by the expressions of the account. */
static void
read_by_expressions(const DeliveryOptions *options, Jsonb *reply, GatewayState *states, int nstates)
{
	Jsonb	   *items = query(reply, parse_path(options->items));
	Datum		id_path = parse_path(options->id);
	Datum		state_path = parse_path(options->state);
	MemoryContext of_item = AllocSetContextCreate(CurrentMemoryContext, "sms3300 item", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(of_item);

	for (uint32 i = 0; i < Min(JB_ROOT_COUNT(items), MAX_ITEMS); i++)
	{
		Jsonb	   *item = JsonbValueToJsonb(getIthJsonbValueFromContainer(&items->root, i));
		bool		id_quoted = false;
		bool		state_quoted = false;
		const char *id = only_scalar(query(item, id_path), &id_quoted);
		const char *state = only_scalar(query(item, state_path), &state_quoted);

		gateway_note_state(states, nstates, id, id_quoted, state, state_quoted);
		MemoryContextReset(of_item);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(of_item);
}

GatewayAnswer
delivery_read(const DeliveryOptions *options, const HttpReply *reply,
			  GatewayState *states, int nstates, int32 *code)
{
	GatewayAnswer answer = gateway_read_states(reply->body, reply->body_size, states, nstates, code);
	Jsonb	   *value;

	if (options->items == NULL || answer == ANSWER_REFUSED)
		return answer;
	for (int i = 0; i < nstates; i++)
		states[i].answered = false;
	value = response_as_jsonb(reply);
	if (value == NULL)
		return ANSWER_UNREADABLE;
	read_by_expressions(options, value, states, nstates);
	return gateway_settle_states(states, nstates) > 0 ? ANSWER_READ : ANSWER_UNREADABLE;
}
