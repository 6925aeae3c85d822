/*
 * blank.h
 *		Texts that show nothing.
 */
#ifndef SMS3300_TEXT_BLANK_H
#define SMS3300_TEXT_BLANK_H

#include <stdbool.h>
#include <stddef.h>

/* Return whether a text consists of blanks and invisible characters only. */
extern bool text_is_blank(const char *utf8, size_t len);

#endif							/* SMS3300_TEXT_BLANK_H */
