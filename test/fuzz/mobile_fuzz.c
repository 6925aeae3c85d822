/*
 * mobile_fuzz.c
 *		Feed arbitrary bytes to the readers of numbers.
 *
 * The input is read as it is, and also as the choices of how to write a number.
 */
#undef NDEBUG
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "text/mobile.h"

#define lengthof(array)		(sizeof(array) / sizeof((array)[0]))

/* What a mobile may begin with, before its ten digits. */
static const char *const prefixes[] = {"", "0", "98", "980", "098", "+98", "+980", "0098", "00980"};

/* The zeros of digits; the other nine follow, in the last byte. */
static const char *const zeros[] = {"0", "\u0660", "\u06F0", "\uFF10"};

/* What may stand between digits, the first and the last of each range, and of which kind it is. */
static const struct
{
	const char *text;
	char		kind;			/* 0: it separates nothing */
}			marks[] = {
	{"", 0}, {" ", ' '}, {"(", '('}, {")", '('}, {"-", '-'}, {".", '.'}, {"/", '/'},
	{"\u00A0", ' '}, {"\u00AD", 0}, {"\u061C", 0}, {"\u0640", 0}, {"\u2000", ' '},
	{"\u200A", ' '}, {"\u200B", 0}, {"\u200F", 0}, {"\u2010", '-'}, {"\u2015", '-'},
	{"\u202A", 0}, {"\u202E", 0}, {"\u202F", ' '}, {"\u2060", 0}, {"\u2066", 0},
	{"\u2069", 0}, {"\u2212", '-'}, {"\u3000", ' '}, {"\uFEFF", 0}, {"\uFF08", '('},
	{"\uFF09", '('}, {"\uFF0D", '-'}
};

/* What may not: the neighbours of all these, and some more. */
static const char *const strangers[] = {
	"a", "#", ":", "*", "\x1F", "!", ",", ";", "=", "\xC2\x9F", "\u00A1", "\u00AC", "\u00AE",
	"\u061B", "\u061D", "\u063F", "\u0641", "\u065F", "\u066A", "\u06EF", "\u06FA", "\u1FFF",
	"\u2016", "\u2029", "\u205F", "\u2061", "\u2065", "\u206A", "\u2211", "\u2213", "\u3001",
	"\uFEFE", "\uFF0C", "\uFF0E", "\uFF0F", "\uFF1A", "\xFF", "\xD8"
};

/* What may stand before a number, and after it. */
static const char *const openings[] = {"", "\"", "'", "=\"", "tel:", "Tel:", "\r\n", "\t"};
static const char *const closings[] = {"", "\"", "'", ",", ";", "\r\n", "\t", ".", ", \n"};

/* How many separators there are between the digits of a national number. */
#define NUM_GAPS 9

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

/* Tell whether one of the kinds given stands in a gap, and in no other. */
static bool
is_single(const char gaps[NUM_GAPS], int gap, const char *kinds)
{
	int			count = 0;

	for (int i = 0; i < NUM_GAPS; i++)
		count += gaps[i] == gaps[gap];
	return count == 1 && gaps[gap] != 0 && strchr(kinds, gaps[gap]);
}

/* Tell whether the separators between its digits make a number a decimal or a range. */
static bool
is_decimal_or_range(const char gaps[NUM_GAPS])
{
	return is_single(gaps, NUM_GAPS - 1, " -./") || is_single(gaps, NUM_GAPS - 2, "./") ||
		gaps[NUM_GAPS - 1] == '(' || gaps[NUM_GAPS - 2] == '(';
}

/*
 * Check that a mobile is read however it is written, but not with a stranger in
 * it, and not as a decimal.  Its last digit is no 0, which could be all that is
 * left of one.
 */
static void
check_written(const uint8_t *at, const uint8_t *end)
{
	char		mobile[MOBILE_SIZE] = "989";
	char		dialled[32];
	char		text[512] = "";
	char		spoilt[512] = "";
	char		gaps[NUM_GAPS + 1];
	char		read[MOBILE_SIZE];
	size_t		place;
	size_t		ndigits;

	for (int i = 3; i < MOBILE_SIZE - 1; i++)
		mobile[i] = (char) ('0' + choose(&at, end, 10));
	if (mobile[MOBILE_SIZE - 2] == '0')
		mobile[MOBILE_SIZE - 2] = '1';
	strcpy(dialled, prefixes[choose(&at, end, lengthof(prefixes))]);
	strcat(dialled, mobile + 2);
	ndigits = strlen(dialled);
	place = choose(&at, end, ndigits);
	strcpy(text, openings[choose(&at, end, lengthof(openings))]);
	strcpy(spoilt, text);

	for (size_t i = 0; i < ndigits; i++)
	{
		char		symbol[16] = "+";
		size_t		mark = choose(&at, end, lengthof(marks));

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
		strcat(symbol, marks[mark].text);
		if (i + NUM_GAPS + 1 >= ndigits)
			gaps[i + NUM_GAPS + 1 - ndigits] = marks[mark].kind;
		strcat(text, symbol);
		if (i >= place)
			strcat(spoilt, symbol);
	}
	strcat(text, closings[choose(&at, end, lengthof(closings))]);
	if (is_decimal_or_range(gaps))
		assert(!mobile_canonical(text, strlen(text), read));
	else
	{
		assert(mobile_canonical(text, strlen(text), read));
		assert(strcmp(read, mobile) == 0);
	}
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
