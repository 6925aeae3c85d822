/*
 * segments_fuzz.c
 *		Feed arbitrary bytes to the counting of parts.
 */
#undef NDEBUG
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/segments.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Check that units, parts and free units agree with each other. */
static void
check_counts(const Segments *counts, size_t size)
{
	int			single = counts->ucs2 ? 70 : 160;
	int			multi = counts->ucs2 ? 67 : 153;
	int			wasted;

	assert(counts->units >= 0 && (size_t) counts->units <= 2 * size);
	assert((counts->units == 0) == (size == 0));

	if (counts->units <= single)
	{
		assert(counts->parts == 1);
		assert(counts->units_left == single - counts->units);
		return;
	}

	/* every part but the last may lack one unit, for a pair that didn't fit */
	wasted = counts->parts * multi - counts->units - counts->units_left;
	assert(counts->units_left >= 0 && counts->units_left < multi);
	assert(wasted >= 0 && wasted < counts->parts);
}

/* Check that a letter more takes a free unit, or a new part if there is none. */
static void
check_append(const Segments *before, const char *text, size_t size)
{
	char	   *longer = malloc(size + 1);
	Segments	after;

	assert(longer != NULL);
	if (size > 0)
		memcpy(longer, text, size);
	longer[size] = 'a';
	segments_count(longer, size + 1, &after);
	free(longer);

	check_counts(&after, size + 1);
	assert(after.ucs2 == before->ucs2);
	assert(after.units == before->units + 1);
	if (before->units_left > 0)
	{
		assert(after.parts == before->parts);
		assert(after.units_left == before->units_left - 1);
	}
	else
		assert(after.parts == before->parts + 1);
}

/* Count the bytes as a text. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *) data;
	Segments	counts;

	segments_count(text, size, &counts);
	check_counts(&counts, size);
	check_append(&counts, text, size);

	return 0;
}
