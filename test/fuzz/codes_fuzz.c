/*
 * codes_fuzz.c
 *		Feed arbitrary texts to the reader of lists of error codes.
 *
 * The input is the lists of the three classes, a semicolon between them.
 */
#undef NDEBUG
#include "postgres_fe.h"

#include <assert.h>

#include "gateway/gateway.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Tell what a code means, by the first range that has it. */
static GatewayVerdict
meaning(const GatewayCodes *codes, int code)
{
	int			i = 0;

	while (i < codes->nranges &&
		   (code < codes->ranges[i].first || codes->ranges[i].last < code))
		i++;
	return i < codes->nranges ? codes->ranges[i].verdict : VERDICT_UNKNOWN;
}

/* Tell whether a code is in ranges of two classes. */
static bool
is_in_two(const GatewayCodes *codes, int code)
{
	for (int i = 0; i < codes->nranges; i++)
		if (codes->ranges[i].first <= code && code <= codes->ranges[i].last &&
			codes->ranges[i].verdict != meaning(codes, code))
			return true;
	return false;
}

/* Check the ranges one by one; the text of them all says the same. */
static void
check_codes(const GatewayCodes *codes)
{
	GatewayCodes again = {0};
	int			common;
	bool		overlap = gateway_codes_overlap(codes, &common);

	assert(codes->nranges <= GATEWAY_MAX_RANGES);
	assert(!overlap || is_in_two(codes, common));

	for (int i = 0; i < codes->nranges; i++)
	{
		int			first = codes->ranges[i].first;
		int			last = codes->ranges[i].last;
		char		text[64];

		assert(first >= 0 && first <= last);
		assert(gateway_codes_verdict(codes, first) == meaning(codes, first));
		assert(gateway_codes_verdict(codes, last) == meaning(codes, last));
		assert(overlap || (!is_in_two(codes, first) && !is_in_two(codes, last)));

		snprintf(text, sizeof(text), first == last ? "%d" : " %d - %d ", first, last);
		assert(gateway_codes_add(&again, GATEWAY_MAX_RANGES, text, codes->ranges[i].verdict));
		assert(again.ranges[i].first == first && again.ranges[i].last == last);
	}

	gateway_codes_copy(&again, codes);
	assert(again.nranges == codes->nranges && again.nunsent == codes->nunsent);
	for (int i = 0; i < codes->nranges; i++)
		assert(again.ranges[i].first == codes->ranges[i].first &&
			   again.ranges[i].last == codes->ranges[i].last &&
			   again.ranges[i].verdict == codes->ranges[i].verdict);
	free(again.ranges);
}

/* Read the bytes as lists of codes. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const GatewayVerdict classes[] = {VERDICT_TRANSIENT, VERDICT_ACCOUNT, VERDICT_REJECTED};
	char	   *text = malloc(size + 1);
	char	   *rest = text;
	GatewayCodes codes = {0};

	assert(text != NULL);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';

	for (size_t i = 0; i < lengthof(classes) && rest != NULL; i++)
	{
		const char *list = strsep(&rest, ";");

		if (!gateway_codes_add(&codes, GATEWAY_MAX_RANGES, list, classes[i]))
			break;
	}
	check_codes(&codes);

	free(codes.ranges);
	free(text);
	return 0;
}
