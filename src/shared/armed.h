/*
 * armed.h
 *		Whether this copy of the server may send: sms3300.armed_file.
 *
 * A physical copy of a server has the identity of its origin.  It sends nothing
 * where the file, which is not part of the copy, does not exist.
 */
#ifndef SMS3300_SHARED_ARMED_H
#define SMS3300_SHARED_ARMED_H

#include "utils/guc.h"

/* What is said where is_armed() is false. */
#define NOT_ARMED "the file that sms3300.armed_file names does not exist"

extern char *armed_file;		/* sms3300.armed_file; empty: none is needed */

/* Tell whether this server may send.  Looks for the file once a second at most. */
extern bool is_armed(void);

/* Let the next is_armed() look for the file, because the configuration was reloaded. */
extern void armed_look_again(void);

/* Check a value of the setting; GucStringCheckHook. */
extern bool armed_file_check(char **value, void **extra, GucSource source);

#endif							/* SMS3300_SHARED_ARMED_H */
