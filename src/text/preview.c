/*
 * preview.c
 *		What makes a text long, or look wrong, before it is sent to many.
 */
#include "text/preview.h"

#include <stdbool.h>

#include "text/segments.h"
#include "text/utf8.h"

/* Add a character to a list that does not have it yet and is not full. */
static void
add_character(PreviewList *list, uint32_t code, const char *start, int len)
{
	for (int i = 0; i < list->n; i++)
		if (list->characters[i].code == code)
			return;
	if (list->n < PREVIEW_LIST_MAX)
		list->characters[list->n++] = (PreviewCharacter) {code, start, len};
}

/* Return whether an Arabic letter is typed in place of a Persian one: ي and ى for ی, ك for ک. */
static bool
stands_for_persian(uint32_t c)
{
	return c == 0x064A || c == 0x0649 || c == 0x0643;
}

void
preview_text(const char *utf8, size_t len, Preview *out)
{
	const char *end = utf8 + len;

	out->ucs2.n = out->arabic.n = 0;
	while (utf8 < end)
	{
		const char *start = utf8;
		uint32_t	c = utf8_next(&utf8, end);

		if (c == UTF8_INVALID)
			continue;
		if (!segments_is_gsm7(c))
			add_character(&out->ucs2, c, start, (int) (utf8 - start));
		if (stands_for_persian(c))
			add_character(&out->arabic, c, start, (int) (utf8 - start));
	}
}
