/*
 * utf8_proof.c
 *		The reading of UTF-8 is what the Unicode standard says.
 *
 * The reader looks at four bytes at most.  So what holds for all texts of up to five bytes holds
 * for texts of any length.
 */
#include "proof.h"
#include "text/utf8.h"

#define MAX_LEN		5

/* Return the length of the well-formed sequence that bytes begin with (Unicode, table 3-7), or 0. */
static int
well_formed(const unsigned char *b, size_t n)
{
#define IN(i, first, last)	(n > (i) && b[i] >= (first) && b[i] <= (last))
#define TAIL(i)				IN(i, 0x80, 0xBF)
	if (IN(0, 0x00, 0x7F))
		return 1;
	if (IN(0, 0xC2, 0xDF) && TAIL(1))
		return 2;
	if ((IN(0, 0xE0, 0xE0) && IN(1, 0xA0, 0xBF) && TAIL(2)) ||
		(IN(0, 0xE1, 0xEC) && TAIL(1) && TAIL(2)) ||
		(IN(0, 0xED, 0xED) && IN(1, 0x80, 0x9F) && TAIL(2)) ||
		(IN(0, 0xEE, 0xEF) && TAIL(1) && TAIL(2)))
		return 3;
	if ((IN(0, 0xF0, 0xF0) && IN(1, 0x90, 0xBF) && TAIL(2) && TAIL(3)) ||
		(IN(0, 0xF1, 0xF3) && TAIL(1) && TAIL(2) && TAIL(3)) ||
		(IN(0, 0xF4, 0xF4) && IN(1, 0x80, 0x8F) && TAIL(2) && TAIL(3)))
		return 4;
	return 0;
}

/* Every text: a character is read exactly where one is well formed, or else one byte is skipped. */
void
prove_reading(void)
{
	size_t		n;
	const char *text = any_text(1, MAX_LEN, &n);
	const char *at = text;
	uint32_t	c = utf8_next(&at, text + n);
	int			length = well_formed((const unsigned char *) text, n);

	assert((c != UTF8_INVALID) == (length > 0));
	assert(at == text + (length > 0 ? length : 1));
}

/* Every character: its own UTF-8 is read as that character, whatever follows. */
void
prove_characters(void)
{
	uint32_t	c = nondet_uint32();
	size_t		n;
	char	   *text = any_text(MAX_LEN, MAX_LEN, &n);
	unsigned char *byte = (unsigned char *) text;
	const char *at = text;
	int			length = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	assume(c < 0xD800 || (c > 0xDFFF && c <= 0x10FFFF));
	if (length == 1)
		byte[0] = (unsigned char) c;
	else
		byte[0] = (unsigned char) (((0xF0u << (4 - length)) & 0xFF) | (c >> (6 * (length - 1))));
	for (int i = 1; i < length; i++)
		byte[i] = (unsigned char) (0x80 | ((c >> (6 * (length - 1 - i))) & 0x3F));

	assert(utf8_next(&at, text + n) == c);
	assert(at == text + length);
}
