/*
 * delivery.c
 *		What a reply says of delivery states, as an account has it read.
 *
 * An account may replace the built-in reading by three jsonpath expressions: what finds the
 * items in a reply, and the id and the state in an item.  The rules for ids and states stay.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "account/delivery.h"
#include "account/response.h"

/* Return what an expression finds in a JSON value, as an array, or NULL if it fails. */
static Jsonb *
query(Jsonb *value, const char *expression)
{
	Datum		path = DirectFunctionCall1(jsonpath_in, CStringGetDatum(expression));
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
	Jsonb	   *items = query(reply, options->items);

	for (uint32 i = 0; i < JB_ROOT_COUNT(items); i++)
	{
		Jsonb	   *item = JsonbValueToJsonb(getIthJsonbValueFromContainer(&items->root, i));
		bool		id_quoted = false;
		bool		state_quoted = false;
		const char *id = only_scalar(query(item, options->id), &id_quoted);
		const char *state = only_scalar(query(item, options->state), &state_quoted);

		gateway_note_state(states, nstates, id, id_quoted, state, state_quoted);
	}
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
