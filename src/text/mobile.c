/*
 * mobile.c
 *		Bring Iranian mobile numbers and SMS lines to their canonical form.
 *
 * Both are read in two steps.  First the text is reduced to what would be
 * dialled: "+" and ASCII digits.  Separators and invisible marks are allowed
 * anywhere, even an unpaired parenthesis, because they cannot change the number.
 * At the ends, characters left over from copying a cell or a link are allowed
 * too.  Any other character could change the number and so is an error: letters,
 * the comma between two numbers, a "#", a "+" between digits.
 *
 * Second, the national number must be preceded by one of a few prefixes.
 * Operator codes are not checked.  They change, and nothing could be sent to a
 * number that is rejected here.
 *
 * One kind of separator does change the number.  A spreadsheet that took a
 * number for a decimal leaves 912345678.0 where a digit was lost, and a range of
 * numbers is written 0912345678-9.  Without the separator each would be the
 * number of a stranger.
 */
#include "text/mobile.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "text/utf8.h"

#define lengthof(array)		(sizeof(array) / sizeof((array)[0]))

#define COUNTRY_CODE		"98"
#define COUNTRY_CODE_DIGITS	2

#define MOBILE_DIGITS		10	/* of the national number, 9XXXXXXXXX */
#define LINE_MIN_DIGITS		4
#define LINE_MAX_DIGITS		14

/* More digits than any prefix, line and decimal part together */
#define DIALLED_MAX			32

/* Kinds of separators, as flags; invisible marks separate nothing */
#define SPACE				1
#define DASH				2
#define DOT					4
#define SLASH				8
#define PARENTHESIS			16
#define INVISIBLE			0

/*
 * The prefixes of a national number, longest first if one begins with another.
 * The 0 after the country code in "+98 (0) 912" and the one before it in "0989"
 * are wrong but common.  "+0" is not included because no country code begins
 * with 0.
 */
static const char *const prefixes[] = {
	"00980", "0098", "+980", "+98", "980", "098", "98", "0", ""
};

/* The zeros of the supported sets of ten digits */
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
	int			kind;
}			separators[] = {
	{' ', ' ', SPACE},
	{'(', ')', PARENTHESIS},
	{'-', '-', DASH},
	{'.', '.', DOT},
	{'/', '/', SLASH},
	{0x00A0, 0x00A0, SPACE},	/* no-break space */
	{0x00AD, 0x00AD, INVISIBLE},	/* soft hyphen */
	{0x061C, 0x061C, INVISIBLE},	/* Arabic letter mark */
	{0x0640, 0x0640, INVISIBLE},	/* tatweel */
	{0x2000, 0x200A, SPACE},	/* spaces of various widths */
	{0x200B, 0x200F, INVISIBLE},	/* zero-width space, ZWNJ, ZWJ, LRM, RLM */
	{0x2010, 0x2015, DASH},		/* hyphens and dashes */
	{0x202A, 0x202E, INVISIBLE},	/* embeddings and overrides of direction */
	{0x202F, 0x202F, SPACE},	/* narrow no-break space */
	{0x2060, 0x2060, INVISIBLE},	/* word joiner */
	{0x2066, 0x2069, INVISIBLE},	/* isolates of direction */
	{0x2212, 0x2212, DASH},		/* minus sign */
	{0x3000, 0x3000, SPACE},	/* ideographic space */
	{0xFEFF, 0xFEFF, INVISIBLE},	/* byte order mark */
	{0xFF08, 0xFF09, PARENTHESIS},	/* full-width parentheses */
	{0xFF0D, 0xFF0D, DASH}		/* full-width hyphen */
};

/* What would be dialled */
typedef struct Dialled
{
	char		digits[DIALLED_MAX];	/* the first may be "+" */
	unsigned char before[DIALLED_MAX];	/* the separators between a digit and the previous one */
	size_t		n;
} Dialled;

/* Return the ASCII digit or "+" that a character stands for, or 0. */
static char
symbol_of(uint32_t c)
{
	if (c == '+' || c == 0xFF0B)
		return '+';
	for (size_t i = 0; i < lengthof(zeros); i++)
		if (c >= zeros[i] && c <= zeros[i] + 9)
			return (char) ('0' + (c - zeros[i]));
	return 0;
}

/* Return the kind of a separator or an invisible mark, or -1. */
static int
separator_kind(uint32_t c)
{
	for (size_t i = 0; i < lengthof(separators) && c >= separators[i].first; i++)
		if (c <= separators[i].last)
			return separators[i].kind;
	return -1;
}

/* Return whether a character is allowed at either end of a number. */
static bool
is_wrapping(uint32_t c)
{
	return c == '\t' || c == '\n' || c == '\r' || c == '\'' || c == '"';
}

/* Skip "tel:", or the =" of a spreadsheet formula, at the start of a text. */
static const char *
skip_opening(const char *text, const char *end)
{
	if (end - text >= 4 && strncasecmp(text, "tel:", 4) == 0)
		return text + 4;
	if (end - text >= 2 && text[0] == '=' && text[1] == '"')
		return text + 2;
	return text;
}

/* Append a digit, or a "+" before the first one.  Returns false if that is not possible. */
static bool
append_symbol(Dialled *dialled, char symbol, int separated)
{
	if (dialled->n == DIALLED_MAX || (symbol == '+' && dialled->n > 0))
		return false;
	dialled->before[dialled->n] = (unsigned char) separated;
	dialled->digits[dialled->n++] = symbol;
	return true;
}

/* Reduce a text to what would be dialled.  Returns false if it contains anything else. */
static bool
read_dialled(const char *text, size_t len, Dialled *dialled)
{
	const char *end = text + len;
	int			separated = 0;	/* since the last digit */
	bool		ended = false;	/* only characters allowed at the end may follow */
	bool		closed = false; /* by a sign that may occur once */

	dialled->n = 0;
	while (text < end)
	{
		const char *opened = dialled->n == 0 ? skip_opening(text, end) : text;
		uint32_t	c;
		char		symbol;
		int			kind;

		if (opened != text)
		{
			text = opened;
			continue;
		}
		c = utf8_next(&text, end);
		symbol = symbol_of(c);
		kind = separator_kind(c);
		if (kind >= 0)
			separated |= kind;
		else if (is_wrapping(c))
			ended = dialled->n > 0;
		else if ((c == ',' || c == ';' || symbol == '+') && dialled->n > 0)
		{
			if (closed || (symbol == '+' && dialled->digits[0] == '+'))
				return false;
			ended = closed = true;
		}
		else if (symbol == 0 || ended || !append_symbol(dialled, symbol, separated))
			return false;
		else
			separated = 0;
	}
	return true;
}

/* Return whether a separator is of a kind that occurs at only one place of a number. */
static bool
is_single(const Dialled *dialled, size_t first, size_t place, int kinds)
{
	int			here = dialled->before[place] & kinds;

	for (size_t i = first; i < dialled->n; i++)
		if (i != place)
			here &= ~dialled->before[i];
	return here != 0;
}

/*
 * Return whether the digits from the first one on are a decimal number or a range
 * of numbers, which a lone separator before the last ones indicates.
 */
static bool
is_decimal_or_range(const Dialled *dialled, size_t first)
{
	size_t		last = dialled->n - 1;

	if (first > DIALLED_MAX - MOBILE_DIGITS || dialled->n != first + MOBILE_DIGITS)
		return false;
	return is_single(dialled, first + 1, last, SPACE | DASH | DOT | SLASH) ||
		is_single(dialled, first + 1, last - 1, DOT | SLASH) ||
		((dialled->before[last] | dialled->before[last - 1]) & PARENTHESIS) != 0;
}

/* Return the length of the longest prefix that leaves at least min_digits. */
static size_t
prefix_length(const Dialled *dialled, size_t min_digits)
{
	for (size_t i = 0; i < lengthof(prefixes); i++)
	{
		size_t		length = strlen(prefixes[i]);

		if (length + min_digits <= dialled->n &&
			memcmp(dialled->digits, prefixes[i], length) == 0)
			return length;
	}

	return 0;
}

/* Return whether the digits are a mobile number, and where its national number begins. */
static bool
is_mobile(const Dialled *dialled, size_t *national)
{
	*national = prefix_length(dialled, MOBILE_DIGITS);
	return dialled->n - *national == MOBILE_DIGITS && dialled->digits[*national] == '9';
}

/* Remove the decimal part of a mobile number if it consists of zeros. */
static void
drop_zero_decimals(Dialled *dialled)
{
	Dialled		whole = *dialled;
	size_t		national;

	while (whole.n > 1 && whole.digits[whole.n - 1] == '0')
		if (whole.before[--whole.n] == DOT)
		{
			if (is_mobile(&whole, &national))
				*dialled = whole;
			return;
		}
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
 * Bring a mobile number to the form 989XXXXXXXXX.  Returns false if the text is
 * not one.
 *
 * All mobile numbers have the same length.  So 9812345678 is known to be a
 * national number although it begins with the country code.
 */
bool
mobile_canonical(const char *text, size_t len, char out[MOBILE_SIZE])
{
	Dialled		dialled;
	size_t		national;

	if (!read_dialled(text, len, &dialled))
		return false;
	drop_zero_decimals(&dialled);
	if (!is_mobile(&dialled, &national) || is_decimal_or_range(&dialled, national))
		return false;

	write_canonical(out, dialled.digits + national, MOBILE_DIGITS);
	return true;
}

/*
 * Bring an SMS line to the form 98 and 4 to 14 digits.  Returns false if the text
 * is not one.
 *
 * Lines differ in length, so a leading 98 must be taken for the country code
 * either always or never.  The gateway writes lines with the country code, so it
 * is always.  A line that is too short after it, such as 98123, is rejected as
 * truncated.  A line that begins with 98 must be written with the country code,
 * +98 98123.  No national number begins with 0, so one 0 is removed as the trunk
 * prefix, as in 021 91000000, and a second one is an error.
 */
bool
line_canonical(const char *text, size_t len, char out[LINE_SIZE])
{
	Dialled		dialled;
	size_t		skip;
	size_t		digits;

	if (!read_dialled(text, len, &dialled))
		return false;
	skip = prefix_length(&dialled, 0);
	digits = dialled.n - skip;
	if (digits < LINE_MIN_DIGITS || digits > LINE_MAX_DIGITS)
		return false;
	if (dialled.digits[skip] < '1' || dialled.digits[skip] > '9')
		return false;

	write_canonical(out, dialled.digits + skip, digits);
	return true;
}
