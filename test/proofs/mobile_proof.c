/*
 * mobile_proof.c
 *		No number is read but as it was written, and no byte is read or written beside its place.
 *
 * A number is read in two steps. What the first makes of a text, the second is tried with every
 * possible outcome of, whether or not there is a text for it.
 */
#include "proof.h"
#include "text/mobile.c"

/* The longest texts, in bytes. */
#define MAX_LEN		6

/* What may stand before a national number. */
static const char *const before_number[] = {"", "0", "98", "980", "098", "+98", "+980", "0098", "00980"};

/* Return anything that may have been read: up to 32 symbols, and the separators before each. */
static Dialled
any_dialled(void)
{
	Dialled		dialled;

	assume(dialled.n <= DIALLED_MAX);
	for (size_t i = 0; i < DIALLED_MAX; i++)
	{
		assume((dialled.digits[i] >= '0' && dialled.digits[i] <= '9') ||
			   (i == 0 && dialled.digits[i] == '+'));
		assume(dialled.before[i] < 32);
	}
	return dialled;
}

/* Every text: what is read of it is symbols, no more than there is room for or bytes of it. */
void
prove_reading(void)
{
	size_t		n;
	const char *text = any_text(0, MAX_LEN, &n);
	Dialled		dialled;

	if (!read_dialled(text, n, &dialled))
		return;
	assert(dialled.n <= n);
	for (size_t i = 0; i < dialled.n; i++)
	{
		char		symbol = dialled.digits[i];

		assert((symbol >= '0' && symbol <= '9') || (i == 0 && symbol == '+'));
	}
}

/* Any symbol, after any number so far, is appended unless there is no room for it. */
void
prove_appending(void)
{
	Dialled		before = any_dialled();
	Dialled		after = before;
	int			digit = nondet_int();
	int			separated = nondet_int();
	char		symbol;
	bool		added;
	size_t		i = nondet_size();

	assume(digit >= 0 && digit <= 10);
	symbol = digit == 10 ? '+' : (char) ('0' + digit);
	assume(separated >= 0 && separated < 32);
	added = append_symbol(&after, symbol, separated);
	assert(added == (before.n < DIALLED_MAX && (symbol != '+' || before.n == 0)));
	assert(after.n == before.n + added);
	if (added)
		assert(after.digits[before.n] == symbol && after.before[before.n] == separated);
	assume(i < before.n);
	assert(after.digits[i] == before.digits[i] && after.before[i] == before.before[i]);
}

/* Every character: the digit that it stands for is one of Unicode's decimal digits. */
void
prove_symbols(void)
{
	uint32_t	c = nondet_uint32();
	char		symbol = symbol_of(c);

	if (symbol >= '0' && symbol <= '9')
		assert(c == (uint32_t) symbol || c - 0x0660 == (uint32_t) (symbol - '0') ||
			   c - 0x06F0 == (uint32_t) (symbol - '0') || c - 0xFF10 == (uint32_t) (symbol - '0'));
	else
		assert(symbol == 0 || (symbol == '+' && (c == '+' || c == 0xFF0B)));

	/* what is a digit, separates nothing and wraps nothing */
	if (symbol != 0)
		assert(separator_kind(c) < 0 && !is_wrapping(c));
	assert(separator_kind(c) >= -1 && separator_kind(c) < 32);
	assert(separator_kind(c) < 0 || !is_wrapping(c));
}

/* Return whether the symbols begin with one of the prefixes. */
static bool
begins_with(const Dialled *dialled, const char *prefix, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (i >= dialled->n || dialled->digits[i] != prefix[i])
			return false;
	return true;
}

/*
 * Everything that may have been read, as a mobile: it is one of the prefixes and ten digits, the
 * first of which is a 9. Those ten are written, after 98.
 */
void
prove_mobiles(void)
{
	Dialled		dialled = any_dialled();
	size_t		national;
	bool		expected = false;
	char		out[MOBILE_SIZE];

	for (size_t p = 0; p < lengthof(before_number); p++)
	{
		size_t		length = strlen(before_number[p]);

		expected |= dialled.n == length + MOBILE_DIGITS && begins_with(&dialled, before_number[p], length) &&
			dialled.digits[length] == '9';
	}
	assert(is_mobile(&dialled, &national) == expected);
	if (!expected || is_decimal_or_range(&dialled, national))
		return;
	assert(national == dialled.n - MOBILE_DIGITS);
	write_canonical(out, dialled.digits + national, MOBILE_DIGITS);
	assert(out[0] == '9' && out[1] == '8' && out[MOBILE_SIZE - 1] == 0);
	for (size_t i = 0; i < MOBILE_DIGITS; i++)
		assert(out[2 + i] == dialled.digits[national + i]);
}

/* Everything that may have been read: what is cut off is a dot and zeros, and a mobile is left. */
void
prove_decimals(void)
{
	Dialled		read = any_dialled();
	Dialled		dialled = read;
	size_t		national;
	size_t		i = nondet_size();

	drop_zero_decimals(&dialled);
	assert(dialled.n <= read.n);
	if (dialled.n < read.n)
		assert(read.before[dialled.n] == DOT && is_mobile(&dialled, &national));
	assume(i < read.n);
	assert(dialled.digits[i] == read.digits[i] && dialled.before[i] == read.before[i]);
	assert(i < dialled.n || read.digits[i] == '0');
}

/* Everything that may have been read, as a line: the longest prefix goes, and only that. */
void
prove_lines(void)
{
	Dialled		dialled = any_dialled();
	size_t		longest = 0;

	for (size_t p = 0; p < lengthof(before_number); p++)
	{
		size_t		length = strlen(before_number[p]);

		if (begins_with(&dialled, before_number[p], length) && length > longest)
			longest = length;
	}
	assert(prefix_length(&dialled, 0) == longest);
}
