/*
 * mobile.c
 *		Bring Iranian mobile numbers and SMS lines to their canonical form.
 *
 * Both are read in two steps.  First the text is reduced to what a telephone
 * would be given: "+" and ASCII digits.  Separators and invisible marks may
 * stand anywhere, even an unpaired parenthesis, because they cannot change
 * which number is meant.  Any other character could, so it is refused rather
 * than skipped: letters, the comma between two numbers, a "#", a "+" after a
 * digit.
 *
 * Then what precedes the national number must be one of a few prefixes.
 * Operator codes are not looked at: they change, and a number refused here
 * could not be sent to at all.
 */
#include "text/mobile.h"

#include <stdint.h>
#include <string.h>

#include "text/utf8.h"

#define lengthof(array)		(sizeof(array) / sizeof((array)[0]))

#define COUNTRY_CODE		"98"
#define COUNTRY_CODE_DIGITS	2

#define MOBILE_DIGITS		10	/* of the national number, 9XXXXXXXXX */
#define LINE_MIN_DIGITS		4
#define LINE_MAX_DIGITS		14

/* The longest prefix and the longest line */
#define DIALLED_MAX			(5 + LINE_MAX_DIGITS)

/* What fold() says of a character that is neither a digit nor "+" */
#define FOLD_SKIP			0
#define FOLD_REFUSE			(-1)

/*
 * What may come before a national number, longest first where one begins with
 * another.  The 0 after the country code is wrong but common: "+98 (0) 912".
 * "+0" is missing because no country code begins with 0.
 */
static const char *const prefixes[] = {
	"00980", "0098", "+980", "+98", "980", "98", "0", ""
};

/* The zeros of the ten-digit runs that are understood */
static const uint32_t zeros[] = {
	'0',
	0x0660,						/* Arabic-Indic */
	0x06F0,						/* Persian */
	0xFF10						/* full-width */
};

/* Separators and invisible marks, ascending */
static const struct
{
	uint32_t	first;
	uint32_t	last;
}			skipped[] = {
	{' ', ' '},
	{'(', ')'},
	{'-', '/'},					/* dash, dot, slash */
	{0x00A0, 0x00A0},			/* no-break space */
	{0x00AD, 0x00AD},			/* soft hyphen */
	{0x061C, 0x061C},			/* Arabic letter mark */
	{0x0640, 0x0640},			/* tatweel */
	{0x2000, 0x200A},			/* spaces of various widths */
	{0x200B, 0x200F},			/* zero-width space, ZWNJ, ZWJ, LRM, RLM */
	{0x2010, 0x2015},			/* hyphens and dashes */
	{0x202A, 0x202E},			/* embeddings and overrides of direction */
	{0x2060, 0x2060},			/* word joiner */
	{0x2066, 0x2069},			/* isolates of direction */
	{0x2212, 0x2212},			/* minus sign */
	{0xFEFF, 0xFEFF}			/* byte order mark */
};

/*
 * Return the ASCII digit or "+" that a character stands for, or FOLD_SKIP, or
 * FOLD_REFUSE.
 */
static int
fold(uint32_t c)
{
	if (c == '+')
		return '+';

	for (size_t i = 0; i < lengthof(zeros); i++)
	{
		if (c >= zeros[i] && c <= zeros[i] + 9)
			return '0' + (int) (c - zeros[i]);
	}

	for (size_t i = 0; i < lengthof(skipped) && c >= skipped[i].first; i++)
	{
		if (c <= skipped[i].last)
			return FOLD_SKIP;
	}

	return FOLD_REFUSE;
}

/*
 * Reduce a text to what would be dialled and return the length of that, or 0
 * if nothing can be dialled.
 */
static size_t
read_dialled(const char *text, size_t len, char dialled[DIALLED_MAX])
{
	const char *end = text + len;
	size_t		n = 0;

	while (text < end)
	{
		int			symbol = fold(utf8_next(&text, end));

		if (symbol == FOLD_SKIP)
			continue;
		if (symbol == FOLD_REFUSE || n == DIALLED_MAX)
			return 0;
		if (symbol == '+' && n > 0)
			return 0;
		dialled[n++] = (char) symbol;
	}

	return n;
}

/* Return the length of the longest prefix that leaves at least min_digits. */
static size_t
prefix_length(const char *dialled, size_t n, size_t min_digits)
{
	for (size_t i = 0; i < lengthof(prefixes); i++)
	{
		size_t		length = strlen(prefixes[i]);

		if (length + min_digits <= n && memcmp(dialled, prefixes[i], length) == 0)
			return length;
	}

	return 0;
}

/* Write the canonical form of a national number. */
static void
write_canonical(char *out, const char *national, size_t n)
{
	memcpy(out, COUNTRY_CODE, COUNTRY_CODE_DIGITS);
	memcpy(out + COUNTRY_CODE_DIGITS, national, n);
	out[COUNTRY_CODE_DIGITS + n] = '\0';
}

/*
 * Bring a mobile number to the form 989XXXXXXXXX, or return false if the text
 * is none.
 *
 * All mobile numbers being of one length, 9812345678 is seen to be a national
 * number although it begins with the country code.
 */
bool
mobile_canonical(const char *text, size_t len, char out[MOBILE_SIZE])
{
	char		dialled[DIALLED_MAX];
	size_t		n = read_dialled(text, len, dialled);
	size_t		skip = prefix_length(dialled, n, MOBILE_DIGITS);

	if (n - skip != MOBILE_DIGITS || dialled[skip] != '9')
		return false;

	write_canonical(out, dialled + skip, MOBILE_DIGITS);
	return true;
}

/*
 * Bring an SMS line to the form 98 and 4 to 14 digits, or return false if the
 * text is none.
 *
 * Lines differ in length, so a leading 98 can only be taken for the country
 * code always or never.  The gateway writes lines with it, hence always: what
 * is too short behind it, 98123, is refused as a clipped number, and a line
 * that should really begin with 98 needs the code, +98 98123.  No national
 * number begins with 0, so one 0 is dropped as the trunk prefix, 021 91000000,
 * and a second one refused.
 */
bool
line_canonical(const char *text, size_t len, char out[LINE_SIZE])
{
	char		dialled[DIALLED_MAX];
	size_t		n = read_dialled(text, len, dialled);
	size_t		skip = prefix_length(dialled, n, 0);
	size_t		digits = n - skip;

	if (digits < LINE_MIN_DIGITS || digits > LINE_MAX_DIGITS)
		return false;
	if (dialled[skip] < '1' || dialled[skip] > '9')
		return false;

	write_canonical(out, dialled + skip, digits);
	return true;
}
