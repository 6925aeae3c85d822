/*
 * mobile_fuzz.c
 *		Feed arbitrary bytes to the readers of numbers.
 *
 * The input is read as it is, and also as the choices of how to write a number.
 */
#undef NDEBUG
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "text/mobile.h"

#define lengthof(array)		(sizeof(array) / sizeof((array)[0]))

/* What a mobile may begin with, before its ten digits. */
static const char *const prefixes[] = {"", "0", "98", "980", "+98", "+980", "0098", "00980"};

/* The zeros of digits; the other nine follow, in the last byte. */
static const char *const zeros[] = {"0", "\u0660", "\u06F0", "\uFF10"};

/* What may stand between digits: the first and the last of each range. */
static const char *const marks[] = {
	"", " ", "(", ")", "-", ".", "/", "\u00A0", "\u00AD", "\u061C", "\u0640", "\u2000", "\u200A",
	"\u200B", "\u200F", "\u2010", "\u2015", "\u202A", "\u202E", "\u2060", "\u2066", "\u2069",
	"\u2212", "\uFEFF"
};

/* What may not: the neighbours of all these, and some more. */
static const char *const strangers[] = {
	"a", "#", ":", "*", "\x1F", "!", "'", ",", "\xC2\x9F", "\u00A1", "\u00AC", "\u00AE", "\u061B",
	"\u061D", "\u063F", "\u0641", "\u065F", "\u066A", "\u06EF", "\u06FA", "\u1FFF", "\u2016",
	"\u2029", "\u202F", "\u205F", "\u2061", "\u2065", "\u206A", "\u2211", "\u2213", "\uFEFE",
	"\uFF0B", "\uFF0F", "\uFF1A", "\xFF", "\xD8"
};

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

/* Choose one of some by the next byte. */
static size_t
choose(const uint8_t **at, const uint8_t *end, size_t n)
{
	return *at < end ? *(*at)++ % n : 0;
}

/* Check that a mobile is read however it is written, but not with a stranger in it. */
static void
check_written(const uint8_t *at, const uint8_t *end)
{
	char		mobile[MOBILE_SIZE] = "989";
	char		dialled[32];
	char		text[256] = "";
	char		spoilt[256] = "";
	char		read[MOBILE_SIZE];
	size_t		place;

	for (int i = 3; i < MOBILE_SIZE - 1; i++)
		mobile[i] = (char) ('0' + choose(&at, end, 10));
	strcpy(dialled, prefixes[choose(&at, end, lengthof(prefixes))]);
	strcat(dialled, mobile + 2);
	place = choose(&at, end, strlen(dialled));

	for (size_t i = 0; i < strlen(dialled); i++)
	{
		char		symbol[8] = "+";

		if (i == place)
		{
			strcpy(spoilt, text);
			strcat(spoilt, strangers[choose(&at, end, lengthof(strangers))]);
		}
		if (dialled[i] != '+')
		{
			strcpy(symbol, zeros[choose(&at, end, lengthof(zeros))]);
			symbol[strlen(symbol) - 1] += (char) (dialled[i] - '0');
		}
		strcat(symbol, marks[choose(&at, end, lengthof(marks))]);
		strcat(text, symbol);
		if (i >= place)
			strcat(spoilt, symbol);
	}
	assert(mobile_canonical(text, strlen(text), read));
	assert(strcmp(read, mobile) == 0);
	assert(!mobile_canonical(spoilt, strlen(spoilt), read));
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
	check_written(data, data + size);

	return 0;
}
