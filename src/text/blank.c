/*
 * blank.c
 *		Texts that show nothing.
 */
#include "text/blank.h"

#include "text/utf8.h"

typedef struct Range
{
	uint32_t	first;
	uint32_t	last;
} Range;

/* Control characters, white space and default-ignorable characters of Unicode 15, in order */
static const Range blanks[] = {
	{0x0000, 0x0020},
	{0x007F, 0x00A0},
	{0x00AD, 0x00AD},			/* soft hyphen */
	{0x034F, 0x034F},			/* combining grapheme joiner */
	{0x061C, 0x061C},			/* Arabic letter mark */
	{0x115F, 0x1160},			/* Hangul fillers */
	{0x1680, 0x1680},			/* Ogham space */
	{0x17B4, 0x17B5},			/* Khmer inherent vowels */
	{0x180B, 0x180F},			/* Mongolian selectors */
	{0x2000, 0x200F},			/* spaces, ZWSP, ZWNJ, ZWJ, marks of direction */
	{0x2028, 0x202F},			/* separators, embeddings */
	{0x205F, 0x206F},			/* invisible operators, isolates */
	{0x2800, 0x2800},			/* blank Braille pattern */
	{0x3000, 0x3000},			/* ideographic space */
	{0x3164, 0x3164},			/* Hangul filler */
	{0xFE00, 0xFE0F},			/* variation selectors */
	{0xFEFF, 0xFEFF},			/* byte order mark */
	{0xFFA0, 0xFFA0},			/* halfwidth Hangul filler */
	{0xFFF0, 0xFFFB},			/* interlinear annotation */
	{0x1BCA0, 0x1BCA3},			/* shorthand format controls */
	{0x1D173, 0x1D17A},			/* musical format controls */
	{0xE0000, 0xE0FFF}			/* tags, variation selectors */
};

/* Return whether a character shows nothing. */
static bool
is_blank(uint32_t c)
{
	for (size_t i = 0; i < sizeof(blanks) / sizeof(blanks[0]) && blanks[i].first <= c; i++)
		if (c <= blanks[i].last)
			return true;
	return false;
}

bool
text_is_blank(const char *utf8, size_t len)
{
	const char *end = utf8 + len;

	while (utf8 < end)
		if (!is_blank(utf8_next(&utf8, end)))
			return false;
	return true;
}
