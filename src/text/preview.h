/*
 * preview.h
 *		What makes a text long, or look wrong, before it is sent to many.
 */
#ifndef SMS3300_TEXT_PREVIEW_H
#define SMS3300_TEXT_PREVIEW_H

#include <stddef.h>
#include <stdint.h>

/* No more than so many characters are listed */
#define PREVIEW_LIST_MAX 64

/* A character of a text */
typedef struct PreviewCharacter
{
	uint32_t	code;
	const char *start;			/* in the text */
	int			len;			/* in bytes */
} PreviewCharacter;

/* Different characters, in the order of their first places */
typedef struct PreviewList
{
	int			n;
	PreviewCharacter characters[PREVIEW_LIST_MAX];
} PreviewList;

typedef struct Preview
{
	PreviewList ucs2;			/* that the GSM 7-bit alphabet lacks */
	PreviewList arabic;			/* Arabic letters that look like Persian ones */
} Preview;

/* Look through a text.  Invalid bytes are passed over. */
extern void preview_text(const char *utf8, size_t len, Preview *out);

#endif							/* SMS3300_TEXT_PREVIEW_H */
