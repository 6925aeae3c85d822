/*
 * wake.h
 *		Wake the worker when the current transaction commits.
 */
#ifndef SMS3300_SHARED_WAKE_H
#define SMS3300_SHARED_WAKE_H

#include "datatype/timestamp.h"

/*
 * Wake the worker at commit for messages that are due and expire at these times or later:
 * of an account, or of any one.
 */
extern void wake_for_account(Oid server, TimestampTz due, TimestampTz expires);
extern void wake_at_commit(TimestampTz due, TimestampTz expires);

/* Wake the worker at commit after a change that may make any message due or expired. */
extern void wake_for_anything(void);

#endif							/* SMS3300_SHARED_WAKE_H */
