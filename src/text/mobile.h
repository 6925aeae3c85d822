/*
 * mobile.h
 *		Bring Iranian mobile numbers and SMS lines to their canonical form.
 */
#ifndef SMS3300_TEXT_MOBILE_H
#define SMS3300_TEXT_MOBILE_H

#include <stdbool.h>
#include <stddef.h>

/* 989XXXXXXXXX and a terminating zero byte */
#define MOBILE_SIZE		13

/* 98, at most 14 digits and a terminating zero byte */
#define LINE_SIZE		17

extern bool mobile_canonical(const char *text, size_t len, char out[MOBILE_SIZE]);
extern bool line_canonical(const char *text, size_t len, char out[LINE_SIZE]);

#endif							/* SMS3300_TEXT_MOBILE_H */
