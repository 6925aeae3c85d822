/*
 * segments.h
 *		Count the parts of an SMS.
 */
#ifndef SMS3300_TEXT_SEGMENTS_H
#define SMS3300_TEXT_SEGMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Segments
{
	bool		ucs2;			/* or else the GSM 7-bit alphabet */
	int			units;			/* UTF-16 units or septets of the text */
	int			parts;
	int			units_left;		/* that still fit into the last part */
} Segments;

/* Return whether a character is in the GSM 7-bit alphabet; one that is not forces UCS-2. */
extern bool segments_is_gsm7(uint32_t c);

extern void segments_count(const char *utf8, size_t len, Segments *out);

#endif							/* SMS3300_TEXT_SEGMENTS_H */
