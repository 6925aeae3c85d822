/*
 * mobile_fuzz.c
 *		Feed arbitrary bytes to the readers of numbers.
 */
#undef NDEBUG
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "mobile.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Check that a mobile has its form, is its own canonical form, and is a line. */
static void
check_mobile(const char *mobile)
{
	char		again[MOBILE_SIZE];
	char		line[LINE_SIZE];

	assert(strlen(mobile) == 12);
	assert(strspn(mobile, "0123456789") == 12);
	assert(strncmp(mobile, "989", 3) == 0);

	assert(mobile_canonical(mobile, strlen(mobile), again));
	assert(strcmp(mobile, again) == 0);

	assert(line_canonical(mobile, strlen(mobile), line));
	assert(strcmp(mobile, line) == 0);
}

/* Check that a line has its form and is its own canonical form. */
static void
check_line(const char *line)
{
	size_t		len = strlen(line);
	char		again[LINE_SIZE];

	assert(len >= 6 && len <= 16);
	assert(strspn(line, "0123456789") == len);
	assert(strncmp(line, "98", 2) == 0 && line[2] != '0');

	assert(line_canonical(line, len, again));
	assert(strcmp(line, again) == 0);
}

/* Read the bytes as a mobile and as a line. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *) data;
	char		mobile[MOBILE_SIZE];
	char		line[LINE_SIZE];

	if (mobile_canonical(text, size, mobile))
		check_mobile(mobile);
	if (line_canonical(text, size, line))
		check_line(line);

	return 0;
}
