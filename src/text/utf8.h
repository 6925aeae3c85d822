/*
 * utf8.h
 *		Read UTF-8 one character at a time, without a server.
 */
#ifndef SMS3300_TEXT_UTF8_H
#define SMS3300_TEXT_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The value of a byte that does not begin a valid character. */
#define UTF8_INVALID	UINT32_MAX

/*
 * Decode the character at *cursor, which lies before end, and move past it.
 *
 * Overlong forms, surrogates, code points above U+10FFFF and truncated sequences
 * are invalid.  Only one byte of them is skipped, so that the reader finds the
 * next valid character.
 */
static inline uint32_t
utf8_next(const char **cursor, const char *end)
{
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	const unsigned char *byte = (const unsigned char *) *cursor;
	ptrdiff_t	available = end - *cursor;
	uint32_t	c = byte[0];
	int			length;

	(*cursor)++;

	if (c < 0x80)
		return c;

	if ((c & 0xE0) == 0xC0)
	{
		length = 2;
		c &= 0x1F;
	}
	else if ((c & 0xF0) == 0xE0)
	{
		length = 3;
		c &= 0x0F;
	}
	else if ((c & 0xF8) == 0xF0)
	{
		length = 4;
		c &= 0x07;
	}
	else
		return UTF8_INVALID;

	if (available < length)
		return UTF8_INVALID;

	for (int i = 1; i < length; i++)
	{
		if ((byte[i] & 0xC0) != 0x80)
			return UTF8_INVALID;
		c = (c << 6) | (byte[i] & 0x3F);
	}

	if (c < smallest[length] || (c >= 0xD800 && c <= 0xDFFF) || c > 0x10FFFF)
		return UTF8_INVALID;

	*cursor += length - 1;
	return c;
}

#endif							/* SMS3300_TEXT_UTF8_H */
