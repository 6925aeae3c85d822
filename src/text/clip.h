/*
 * clip.h
 *		Copy a text into a place of a fixed size.
 */
#ifndef SMS3300_TEXT_CLIP_H
#define SMS3300_TEXT_CLIP_H

#include "mb/pg_wchar.h"

/* Copy a text in the database's encoding; if it is too long, up to the end of a character. */
static inline void
clip_text(char *place, const char *text, size_t size)
{
	int			len = pg_mbcliplen(text, (int) strlen(text), (int) size - 1);

	memcpy(place, text, len);
	place[len] = '\0';
}

#endif							/* SMS3300_TEXT_CLIP_H */
