/*
 * text.h
 *		Numbers and lines in the server's encoding, for callers that raise an
 *		error where there is none.
 */
#ifndef SMS3300_TEXT_H
#define SMS3300_TEXT_H

extern char *mobile_from_text(const char *str, int len);
extern char *line_from_text(const char *str, int len, const char *what);

#endif							/* SMS3300_TEXT_H */
