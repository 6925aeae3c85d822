/*
 * input.h
 *		Checks of what callers give that need nothing but the value.
 */
#ifndef SMS3300_INPUT_H
#define SMS3300_INPUT_H

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

#endif							/* SMS3300_INPUT_H */
