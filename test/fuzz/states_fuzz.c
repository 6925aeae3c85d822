/*
 * states_fuzz.c
 *		Feed arbitrary bytes to the reader of delivery states.
 *
 * The first byte says how many ids were asked for.
 */
#undef NDEBUG
#include "postgres_fe.h"

#include <assert.h>

#include "gateway/states.h"
#include "mb/pg_wchar.h"
#include "memory.h"

/* The first of the ids that are asked for; the others follow. */
#define FIRST_ID 6062

#define MAX_IDS 8

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Read a reply to a request for some ids. */
static GatewayAnswer
read_reply(const char *bytes, size_t size, GatewayState *states, int nstates, int32 *code)
{
	/* to the byte, so that reading on is seen */
	char	   *text = malloc(size > 0 ? size : 1);
	GatewayAnswer answer;

	assert(text != NULL);
	memcpy(text, bytes, size);
	for (int i = 0; i < nstates; i++)
		states[i] = (GatewayState) {.id = FIRST_ID + i};
	answer = gateway_read_states(text, size, states, nstates, code);
	free(text);
	return answer;
}

/* Tell whether bytes have a number in them, in decimal, as it is or with escapes. */
static bool
has_number(const char *bytes, size_t size, int64 number)
{
	char		digits[32];

	snprintf(digits, sizeof(digits), INT64_FORMAT, number);
	return memmem(bytes, size, digits, strlen(digits)) != NULL || memchr(bytes, '\\', size) != NULL;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	GatewayState states[MAX_IDS];
	GatewayState again[MAX_IDS];
	const char *bytes = (const char *) data + 1;
	int32		code = 0;
	int			nstates;
	int			answered = 0;
	GatewayAnswer answer;

	if (size < 1)
		return 0;
	size--;
	nstates = data[0] % MAX_IDS + 1;

	memory_begin();
	answer = read_reply(bytes, size, states, nstates, &code);
	for (int i = 0; i < nstates; i++)
	{
		assert(states[i].id == FIRST_ID + i && !states[i].contradicted);
		if (!states[i].answered)
			continue;
		answered++;

		/* What is learnt is in the reply: the state, and the id unless it alone was asked for. */
		assert(has_number(bytes, size, states[i].state) || states[i].state <= 0 ||
			   memchr(bytes, '0', size) != NULL);
		assert(nstates == 1 || has_number(bytes, size, states[i].id) || memchr(bytes, '0', size) != NULL);
	}
	assert((answer == ANSWER_READ) == (answered > 0));
	assert((answer == ANSWER_REFUSED) == (code > 0));
	if (answer != ANSWER_UNREADABLE)
		assert(pg_encoding_verifymbstr(PG_UTF8, bytes, (int) size) == (int) size);

	/* The same reply to a request for other ids says nothing, unless it names those. */
	if (answer == ANSWER_READ && nstates > 1)
	{
		for (int i = 0; i < nstates; i++)
			again[i] = (GatewayState) {.id = INT64CONST(7000000000) + i};
		if (memmem(bytes, size, "70000", 5) == NULL && memchr(bytes, '\\', size) == NULL)
			assert(gateway_read_states(bytes, size, again, nstates, &code) != ANSWER_READ);
	}

	/* Half a reply, or one with more behind it, says nothing. */
	if (answer == ANSWER_READ && size > 1)
	{
		char	   *more = malloc(size + 2);

		assert(more != NULL);
		memcpy(more, bytes, size);
		memcpy(more + size, "{}", 2);
		assert(gateway_read_states(more, size + 2, states, nstates, &code) == ANSWER_UNREADABLE);
		free(more);
	}
	memory_end();
	return 0;
}
