/*
 * wake.h
 *		Wake the worker when the current transaction commits.
 */
#ifndef SMS3300_SHARED_WAKE_H
#define SMS3300_SHARED_WAKE_H

#include "datatype/timestamp.h"

/*
 * Wake the worker at commit, for messages that are due, and expire, at certain
 * times and not before.
 */
extern void wake_at_commit(TimestampTz due, TimestampTz expires);

/* The same for a change after which anything may be due, or expire. */
extern void wake_for_anything(void);

#endif							/* SMS3300_SHARED_WAKE_H */
