/*
 * input.h
 *		Values that people give: checked, and brought to their canonical form.
 */
#ifndef SMS3300_ACCOUNT_INPUT_H
#define SMS3300_ACCOUNT_INPUT_H

#include "text/mobile.h"

/* A text in UTF-8, whose length is adjusted; a copy only where the server has another encoding. */
extern const char *input_to_utf8(const char *str, int *len);

/* Bring a mobile number to its canonical form; false if it is none. */
extern bool input_read_mobile(const char *str, int len, char out[MOBILE_SIZE]);

/* The canonical form of a mobile number; error 22023 if it is none. */
extern char *input_mobile(const char *str, int len);

/* The canonical form of an SMS line; error 22023, which names what holds it, if it is none. */
extern char *input_line(const char *str, int len, const char *what);

/* Error 23502 without a recipient. */
extern void input_require_recipient(bool isnull);

/* Error 23502 without a text, 22023 with an empty one; size is in bytes. */
extern void input_require_message(bool isnull, size_t size);

/* Error 22P05 or 22021 if a text has no form in UTF-8, which is what the gateway gets. */
extern void input_require_utf8(const char *message, size_t size);

/* Error 22023 unless the number named "type", "priority" or "template" is in its range. */
extern void input_check_type(int type);
extern void input_check_priority(int priority);
extern void input_check_template(int template);

#endif							/* SMS3300_ACCOUNT_INPUT_H */
