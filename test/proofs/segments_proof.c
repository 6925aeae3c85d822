/*
 * segments_proof.c
 *		The parts of a text are counted as the standard says, and are as few as can be.
 *
 * A part of a real message is longer than the texts that can be searched. How parts are filled
 * does not depend on it, so they are short here: all lengths from 2 to 4 units. The real lengths
 * are in segments_count(), of which the texts are too short to fill a part.
 */
#include "proof.h"
#include "text/segments.c"

/* The longest texts, in bytes. */
#define MAX_FILLING	8
#define MAX_COUNTED	4

/* The basic table of 3GPP TS 23.038, in its order, without the escape to the other one. */
static const uint32_t basic[] = {
	'@', 0xA3, '$', 0xA5, 0xE8, 0xE9, 0xF9, 0xEC, 0xF2, 0xC7, '\n', 0xD8, 0xF8, '\r', 0xC5, 0xE5,
	0x394, '_', 0x3A6, 0x393, 0x39B, 0x3A9, 0x3A0, 0x3A8, 0x3A3, 0x398, 0x39E, 0xC6, 0xE6, 0xDF, 0xC9,
	' ', '!', '"', '#', 0xA4, '%', '&', '\'', '(', ')', '*', '+', ',', '-', '.', '/',
	'0', '1', '2', '3', '4', '5', '6', '7', '8', '9', ':', ';', '<', '=', '>', '?',
	0xA1, 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O',
	'P', 'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y', 'Z', 0xC4, 0xD6, 0xD1, 0xDC, 0xA7,
	0xBF, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o',
	'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z', 0xE4, 0xF6, 0xF1, 0xFC, 0xE0
};

/* The extension table, in its order. */
static const uint32_t extension[] = {'\f', '^', '{', '}', '\\', '[', '~', ']', '|', 0x20AC};

/* Return how often a list has a character. */
static int
occurrences(const uint32_t *list, size_t n, uint32_t c)
{
	int			count = 0;

	for (size_t i = 0; i < n; i++)
		count += list[i] == c;
	return count;
}

/* Every number: the septets and UTF-16 units that it takes as a character. */
void
prove_widths(void)
{
	uint32_t	c = nondet_uint32();
	int			one = occurrences(basic, sizeof(basic) / sizeof(basic[0]), c);
	int			two = occurrences(extension, sizeof(extension) / sizeof(extension[0]), c);

	assert(gsm7_width(c) == one + 2 * two);
	assert(segments_is_gsm7(c) == (one + two > 0));
	assert(ucs2_width(c) == (c > 0xFFFF && c != UTF8_INVALID ? 2 : 1));
}

/*
 * Every text: a character takes no more than two units for each of its bytes. So the units of the
 * longest text that PostgreSQL can hold, of less than 1 GB, do not overflow an int.
 */
void
prove_no_overflow(void)
{
	size_t		n;
	const char *text = any_text(1, 5, &n);
	const char *at = text;
	uint32_t	c = utf8_next(&at, text + n);

	assert(gsm7_width(c) >= 0 && gsm7_width(c) <= 2 * (at - text));
	assert(ucs2_width(c) >= 1 && ucs2_width(c) <= 2 * (at - text));
	assert(2 * (int64_t) 0x3FFFFFFF <= INT32_MAX);
}

/* Return the units of a character of an alphabet of three: none, one or two. */
static int
own_width(uint32_t c)
{
	return (int) c;
}

/*
 * For each sequence of characters of one or two units, or outside the alphabet, and each short
 * length of a part: the total is the sum of the units, the room that remains in the last part is
 * right, and the characters do not fit into fewer parts.
 */
void
prove_filling(void)
{
	Encoding	encoding = {nondet_int(), nondet_int(), own_width};
	size_t		n;
	const char *text = any_text(0, MAX_FILLING, &n);
	int			units = 0;
	int			here = 0;		/* in the last part of our own division */
	int			parts = 1;		/* of it */
	bool		in_alphabet = true;
	Segments	out;

	assume(encoding.multi >= 2 && encoding.multi <= 4);
	assume(encoding.single >= encoding.multi && encoding.single <= encoding.multi + 2);
	for (size_t i = 0; i < n; i++)
	{
		assume(text[i] >= 0 && text[i] <= 2);
		in_alphabet &= text[i] != 0;
	}
	assert(fill_parts(&encoding, text, n, &out) == in_alphabet);
	if (!in_alphabet)
		return;

	/* any division of the characters into parts, none of which is too long */
	for (size_t i = 0; i < n; i++)
	{
		units += text[i];
		if (nondet_bool())
		{
			parts++;
			here = 0;
		}
		here += text[i];
		assume(here <= encoding.multi);
	}

	assert(out.units == units);
	assert(out.units_left >= 0);
	if (units <= encoding.single)
		assert(out.parts == 1 && out.units_left == encoding.single - units);
	else
	{
		assert(out.parts <= parts);
		assert(out.units_left < encoding.multi);

		/* each part but the last may lack a unit, for a character of two that did not fit */
		assert(out.parts * encoding.multi - out.units_left >= units);
		assert(out.parts * encoding.multi - out.units_left - units < out.parts);
	}
}

/* Every short text: it is in the alphabet, or in UCS-2, and never in more than one part. */
void
prove_counts(void)
{
	size_t		n;
	const char *text = any_text(0, MAX_COUNTED, &n);
	const char *at = text;
	int			septets = 0;
	int			units = 0;
	bool		in_alphabet = true;
	Segments	out;

	segments_count(text, n, &out);
	while (at < text + n)
	{
		uint32_t	c = utf8_next(&at, text + n);

		in_alphabet &= gsm7_width(c) > 0;
		septets += gsm7_width(c);
		units += ucs2_width(c);
	}
	assert(out.ucs2 == !in_alphabet);
	assert(out.parts == 1);
	assert(out.units == (in_alphabet ? septets : units));
	assert(out.units_left == (in_alphabet ? 160 : 70) - out.units);
}
