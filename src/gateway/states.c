/*
 * states.c
 *		What a reply says of the delivery states that were asked for.
 *
 * The reply's shape is not public.  It is read only where it says explicitly which id
 * has which state: a false match would be a guess.  The shapes are
 *
 *	 - objects in an array with one key for the id and one for the state,
 *	 - an object whose keys are ids,
 *	 - two sibling arrays of one length, one of which is exactly the ids asked for,
 *	 - where a single id was asked for, a state alone: 1, {"data": 1} or {"data": [1]}.
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
#include <limits.h>

#include "compat.h"
#include "gateway/json.h"
#include "gateway/states.h"

typedef enum JsonKind
{
	NODE_OBJECT,
	NODE_ARRAY,
	NODE_NUMBER,
	NODE_STRING,
	NODE_OTHER					/* true, false or null */
} JsonKind;

/* A value of a reply. */
typedef struct JsonNode
{
	JsonKind	kind;
	char	   *key;			/* in an object; NULL elsewhere */
	char	   *text;			/* of a number or string */
	int			nchildren;
	struct JsonNode *parent;
	struct JsonNode *first;
	struct JsonNode *last;
	struct JsonNode *next;
} JsonNode;

typedef struct StatesParse
{
	JsonNode	   *root;
	JsonNode	   *current;		/* the object or array around the next value; NULL: none */
	char	   *key;			/* the key of the next value */
} StatesParse;

/* -------------------------------------------------------------------------
 * The reply as a tree
 * ------------------------------------------------------------------------- */

/* Add a value where it stands. */
static JsonNode *
add_node(StatesParse *parse, JsonKind kind, const char *text)
{
	JsonNode	   *node = palloc0(sizeof(JsonNode));
	JsonNode	   *parent = parse->current;

	node->kind = kind;
	node->text = text ? pstrdup(text) : NULL;
	node->parent = parent;
	if (parent == NULL)
	{
		parse->root = node;
		return node;
	}
	if (parent->kind == NODE_OBJECT)
		node->key = parse->key;
	parse->key = NULL;
	if (parent->last)
		parent->last->next = node;
	else
		parent->first = node;
	parent->last = node;
	parent->nchildren++;
	return node;
}

/* Parser action: an object begins. */
static JSON_ACTION_RESULT
on_object_start(void *state)
{
	StatesParse *parse = state;

	parse->current = add_node(parse, NODE_OBJECT, NULL);
	JSON_ACTION_DONE;
}

/* Parser action: an array begins. */
static JSON_ACTION_RESULT
on_array_start(void *state)
{
	StatesParse *parse = state;

	parse->current = add_node(parse, NODE_ARRAY, NULL);
	JSON_ACTION_DONE;
}

/* Parser action: an object or array ends. */
static JSON_ACTION_RESULT
on_end(void *state)
{
	StatesParse *parse = state;

	parse->current = parse->current->parent;
	JSON_ACTION_DONE;
}

/* Parser action: a field begins. */
static JSON_ACTION_RESULT
on_field(void *state, char *name, bool isnull)
{
	((StatesParse *) state)->key = pstrdup(name);
	JSON_ACTION_DONE;
}

/* Parser action: a scalar. */
static JSON_ACTION_RESULT
on_scalar(void *state, char *token, JsonTokenType type)
{
	add_node(state, type == JSON_TOKEN_NUMBER ? NODE_NUMBER :
			 type == JSON_TOKEN_STRING ? NODE_STRING : NODE_OTHER, token);
	JSON_ACTION_DONE;
}

/* Free a tree. */
static void
free_node(JsonNode *node)
{
	for (JsonNode *child = node->first; child;)
	{
		JsonNode	   *next = child->next;

		free_node(child);
		child = next;
	}
	if (node->key)
		pfree(node->key);
	if (node->text)
		pfree(node->text);
	pfree(node);
}

/* Return the tree of a reply, or NULL if it is not JSON. */
static JsonNode *
read_tree(const char *text, size_t len)
{
	StatesParse parse = {0};
	JsonSemAction actions = {
		.semstate = &parse,
		.object_start = on_object_start,
		.object_end = on_end,
		.array_start = on_array_start,
		.array_end = on_end,
		.object_field_start = on_field,
		.scalar = on_scalar,
	};

	if (json_read(text, len, &actions))
		return parse.root;
	if (parse.root)
		free_node(parse.root);
	if (parse.key)
		pfree(parse.key);
	return NULL;
}

/* -------------------------------------------------------------------------
 * Ids and states
 * ------------------------------------------------------------------------- */

/* Read a whole number, which as a string has nothing but digits. */
static bool
read_number(const char *text, bool quoted, int64 *value)
{
	return text && (!quoted || isdigit((unsigned char) text[0])) && json_integer(text, value);
}

/* Return the place of an id among those asked for, or NULL. */
static GatewayState *
find_state(GatewayState *states, int nstates, const char *id, bool quoted)
{
	int64		value;

	if (!read_number(id, quoted, &value) || value < GATEWAY_MIN_ID)
		return NULL;
	for (int i = 0; i < nstates; i++)
		if (states[i].id == value)
			return &states[i];
	return NULL;
}

/* Note that an id has a state. */
static void
note(GatewayState *found, const char *state, bool quoted)
{
	int64		value;

	if (!read_number(state, quoted, &value) || value < INT_MIN || value > INT_MAX ||
		(found->answered && found->state != (int32) value))
	{
		found->contradicted = true;
		return;
	}
	found->answered = true;
	found->state = (int32) value;
}

void
gateway_note_state(GatewayState *states, int nstates, const char *id, bool id_quoted,
				   const char *state, bool state_quoted)
{
	GatewayState *found = find_state(states, nstates, id, id_quoted);

	if (found)
		note(found, state, state_quoted);
}

int
gateway_settle_states(GatewayState *states, int nstates)
{
	int			answered = 0;

	for (int i = 0; i < nstates; i++)
	{
		if (states[i].contradicted)
			states[i].answered = false;
		states[i].contradicted = false;
		answered += states[i].answered;
	}
	return answered;
}

/* Return the text of a number or string; NULL for another value. */
static const char *
scalar_text(const JsonNode *node)
{
	return node->kind == NODE_NUMBER || node->kind == NODE_STRING ? node->text : NULL;
}

/* Note the state that one value gives to the id that is another. */
static void
note_pair(GatewayState *states, int nstates, const JsonNode *id, const JsonNode *state)
{
	gateway_note_state(states, nstates, scalar_text(id), id->kind == NODE_STRING,
					   scalar_text(state), state->kind == NODE_STRING);
}

/* -------------------------------------------------------------------------
 * Shapes
 * ------------------------------------------------------------------------- */

/* Return whether a key has one of some names, whatever its case and underscores. */
static bool
is_named(const char *key, const char *const *names)
{
	for (; *names; names++)
	{
		const char *name = *names;
		const char *c = key;

		for (; *c; c++)
		{
			if (*c == '_')
				continue;
			if (tolower((unsigned char) *c) != *name)
				break;
			name++;
		}
		if (*c == '\0' && *name == '\0')
			return true;
	}
	return false;
}

/* Return the only child of an object that has one of some names; NULL if there is not just one. */
static const JsonNode *
only_named(const JsonNode *object, const char *const *names)
{
	const JsonNode *only = NULL;

	for (const JsonNode *child = object->first; child; child = child->next)
	{
		if (!is_named(child->key, names))
			continue;
		if (only)
			return NULL;
		only = child;
	}
	return only;
}

/* Read an object that may have an id and a state. */
static void
read_item(const JsonNode *object, GatewayState *states, int nstates)
{
	static const char *const id_names[] = {"messageid", "msgid", "mid", "id", "recid", NULL};
	static const char *const state_names[] = {
		"status", "state", "delivery", "deliverystatus", "deliverystate", NULL
	};
	const JsonNode *id = only_named(object, id_names);
	const JsonNode *state = only_named(object, state_names);

	if (id && state)
		note_pair(states, nstates, id, state);
}

/* Read an object if all of its keys are numbers: ids. */
static void
read_keyed(const JsonNode *object, GatewayState *states, int nstates)
{
	for (const JsonNode *child = object->first; child; child = child->next)
		if (child->key[0] == '\0' || strspn(child->key, "0123456789") != strlen(child->key))
			return;
	for (const JsonNode *child = object->first; child; child = child->next)
		gateway_note_state(states, nstates, child->key, true,
						   scalar_text(child), child->kind == NODE_STRING);
}

/* Return whether an array has exactly the ids asked for, in any order. */
static bool
is_ids(const JsonNode *array, GatewayState *states, int nstates)
{
	bool		seen[GATEWAY_MAX_STATES] = {false};

	if (array->nchildren != nstates)
		return false;
	for (const JsonNode *child = array->first; child; child = child->next)
	{
		GatewayState *found = find_state(states, nstates, scalar_text(child),
										 child->kind == NODE_STRING);

		if (found == NULL || seen[found - states])
			return false;
		seen[found - states] = true;
	}
	return true;
}

/* Read two arrays of one length among siblings, if they are ids and states. */
static void
read_arrays(const JsonNode *parent, GatewayState *states, int nstates)
{
	const JsonNode *arrays[2];
	const JsonNode *id;
	int			n = 0;
	bool		first;

	for (const JsonNode *child = parent->first; child; child = child->next)
	{
		if (child->kind != NODE_ARRAY || child->nchildren != nstates)
			continue;
		if (n == 2)
			return;
		arrays[n++] = child;
	}
	if (n != 2)
		return;
	first = is_ids(arrays[0], states, nstates);
	if (first == is_ids(arrays[1], states, nstates))
		return;
	id = arrays[first ? 0 : 1]->first;
	for (const JsonNode *state = arrays[first ? 1 : 0]->first; state; state = state->next, id = id->next)
		note_pair(states, nstates, id, state);
}

/* Read what stands in a value, at any depth. */
static void
read_node(const JsonNode *node, GatewayState *states, int nstates)
{
	if (node->kind == NODE_OBJECT)
	{
		if (node->parent && node->parent->kind == NODE_ARRAY)
			read_item(node, states, nstates);
		read_keyed(node, states, nstates);
	}
	if (node->kind == NODE_OBJECT || node->kind == NODE_ARRAY)
		read_arrays(node, states, nstates);
	for (const JsonNode *child = node->first; child; child = child->next)
		read_node(child, states, nstates);
}

/* Return the only member of an object of a name; NULL if there is not just one. */
static const JsonNode *
member(const JsonNode *node, const char *name)
{
	const char *const names[] = {name, NULL};

	return node->kind == NODE_OBJECT ? only_named(node, names) : NULL;
}

/* Read a state alone, which can only be that of the single id asked for. */
static void
read_single(const JsonNode *root, GatewayState *state)
{
	const JsonNode *value = root->kind == NODE_OBJECT ? member(root, "data") : root;
	int64		number;

	if (value && value != root && value->kind == NODE_ARRAY)
		value = value->nchildren == 1 ? value->first : NULL;
	if (value == NULL || !read_number(scalar_text(value), value->kind == NODE_STRING, &number) ||
		number == state->id)
		return;
	note(state, value->text, value->kind == NODE_STRING);
}

/* Read the error code of a reply; false if it has none. */
static bool
read_code(const JsonNode *root, int32 *code)
{
	bool		refused = false;

	for (const JsonNode *child = root->kind == NODE_OBJECT ? root->first : NULL; child; child = child->next)
	{
		int64		value;

		if (strcmp(child->key, "status") != 0 || !json_integer(scalar_text(child) ? child->text : "", &value) ||
			value <= 0)
			continue;
		refused = true;
		*code = (int32) Min(value, INT_MAX);
	}
	return refused;
}

GatewayAnswer
gateway_read_states(const char *text, size_t len, GatewayState *states, int nstates, int32 *code)
{
	JsonNode	   *root = read_tree(text, len);
	GatewayAnswer answer = ANSWER_UNREADABLE;

	Assert(nstates >= 1 && nstates <= GATEWAY_MAX_STATES);
	for (int i = 0; i < nstates; i++)
		states[i].answered = states[i].contradicted = false;
	if (root == NULL)
		return answer;
	if (read_code(root, code))
		answer = ANSWER_REFUSED;
	else
	{
		read_node(root, states, nstates);
		if (nstates == 1 && !states[0].answered && !states[0].contradicted)
			read_single(root, &states[0]);
		if (gateway_settle_states(states, nstates) > 0)
			answer = ANSWER_READ;
	}
	free_node(root);
	return answer;
}
