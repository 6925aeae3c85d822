/*
 * input.h
 *		Check values that callers give, and bring them to their canonical form.
 */
#ifndef SMS3300_ACCOUNT_INPUT_H
#define SMS3300_ACCOUNT_INPUT_H

#include "text/mobile.h"

/*
 * Return a text in UTF-8 and set *len to its length.  It is a copy only if the
 * server encoding is not UTF-8.
 */
extern const char *input_to_utf8(const char *str, int *len);

/* Convert a text to UTF-8, which the gateway requires.  Returns NULL if that is impossible. */
extern const char *input_try_utf8(const char *str, int *len);

/* Bring a mobile number to its canonical form.  Returns false if it is not one. */
extern bool input_read_mobile(const char *str, int len, char out[MOBILE_SIZE]);

/* Return the canonical form of a mobile number.  Raises 22023 if it is not one. */
extern char *input_mobile(const char *str, int len);

/* The order of canonical mobile numbers, for qsort() and bsearch(). */
extern int	input_compare_mobiles(const void *a, const void *b);

/* Return the canonical form of an SMS line.  Raises 22023, naming "what", if it is not one. */
extern char *input_line(const char *str, int len, const char *what);

/* Raise 23502 if there is no recipient. */
extern void input_require_recipient(bool isnull);

/* Raise 23502 if there is no text, 22023 if its size (in bytes) is 0. */
extern void input_require_message(bool isnull, size_t size);

/* Raise 22023 if a text, which can be converted to UTF-8, shows nothing. */
extern void input_require_visible(const char *message, size_t size);

/* Raise 22P05 or 22021 if a text cannot be converted to UTF-8, as the gateway requires. */
extern void input_require_utf8(const char *message, size_t size);

/* Raise 22023 if "type", "priority" or "template" is out of range. */
extern void input_check_type(int type);
extern void input_check_priority(int priority);
extern void input_check_template(int template);

#endif							/* SMS3300_ACCOUNT_INPUT_H */
