/*
 * segments.c
 *		Count the parts of an SMS (3GPP TS 23.038 and 23.040).
 *
 * A part has 140 bytes, of which a header takes 6 if there are several parts.  A
 * character of two units never straddles two parts.  The parts must therefore be
 * filled one by one; dividing the units by the capacity would give too few.
 */
#include "text/segments.h"

#include "text/utf8.h"

typedef struct Encoding
{
	int			single;			/* units in the only part */
	int			multi;			/* units in each of several parts */
	int			(*width) (uint32_t c);	/* units of a character, 0 if none */
} Encoding;

/* Return the septets that a character takes, or 0 if it is not in the alphabet. */
static int
gsm7_width(uint32_t c)
{
	switch (c)
	{
			/* the extension table */
		case '\f':
		case '[':
		case '\\':
		case ']':
		case '^':
		case '{':
		case '|':
		case '}':
		case '~':
		case 0x20AC:			/* € */
			return 2;

			/* the basic table, outside printable ASCII */
		case '\n':
		case '\r':
		case 0x00A1:			/* ¡ */
		case 0x00A3:			/* £ */
		case 0x00A4:			/* ¤ */
		case 0x00A5:			/* ¥ */
		case 0x00A7:			/* § */
		case 0x00BF:			/* ¿ */
		case 0x00C4:			/* Ä */
		case 0x00C5:			/* Å */
		case 0x00C6:			/* Æ */
		case 0x00C7:			/* Ç */
		case 0x00C9:			/* É */
		case 0x00D1:			/* Ñ */
		case 0x00D6:			/* Ö */
		case 0x00D8:			/* Ø */
		case 0x00DC:			/* Ü */
		case 0x00DF:			/* ß */
		case 0x00E0:			/* à */
		case 0x00E4:			/* ä */
		case 0x00E5:			/* å */
		case 0x00E6:			/* æ */
		case 0x00E8:			/* è */
		case 0x00E9:			/* é */
		case 0x00EC:			/* ì */
		case 0x00F1:			/* ñ */
		case 0x00F2:			/* ò */
		case 0x00F6:			/* ö */
		case 0x00F8:			/* ø */
		case 0x00F9:			/* ù */
		case 0x00FC:			/* ü */
		case 0x0393:			/* Γ */
		case 0x0394:			/* Δ */
		case 0x0398:			/* Θ */
		case 0x039B:			/* Λ */
		case 0x039E:			/* Ξ */
		case 0x03A0:			/* Π */
		case 0x03A3:			/* Σ */
		case 0x03A6:			/* Φ */
		case 0x03A8:			/* Ψ */
		case 0x03A9:			/* Ω */
			return 1;

		case '`':
			return 0;

		default:
			return c >= ' ' && c <= 'z';
	}
}

bool
segments_is_gsm7(uint32_t c)
{
	return gsm7_width(c) > 0;
}

/*
 * Return the UTF-16 units that a character takes.
 *
 * Invalid bytes, which only a SQL_ASCII database can contain, count as U+FFFD.
 */
static int
ucs2_width(uint32_t c)
{
	return c >= 0x10000 && c != UTF8_INVALID ? 2 : 1;
}

static const Encoding gsm7 = {160, 153, gsm7_width};
static const Encoding ucs2 = {70, 67, ucs2_width};

/* Fill the parts in one encoding.  Returns false if it lacks a character. */
static inline bool
fill_parts(const Encoding *encoding, const char *utf8, size_t len, Segments *out)
{
	const char *end = utf8 + len;

	out->units = 0;
	out->parts = 1;
	out->units_left = encoding->multi;

	while (utf8 < end)
	{
		int			width = encoding->width(utf8_next(&utf8, end));

		if (width == 0)
			return false;
		if (width > out->units_left)
		{
			out->parts++;
			out->units_left = encoding->multi;
		}
		out->units_left -= width;
		out->units += width;
	}

	if (out->units <= encoding->single)
	{
		out->parts = 1;
		out->units_left = encoding->single - out->units;
	}

	return true;
}

/*
 * Count the units and parts of a text.
 *
 * The empty text is one empty part.
 */
void
segments_count(const char *utf8, size_t len, Segments *out)
{
	out->ucs2 = !fill_parts(&gsm7, utf8, len, out);
	if (out->ucs2)
		(void) fill_parts(&ucs2, utf8, len, out);
}
