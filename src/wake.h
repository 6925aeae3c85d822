/*
 * wake.h
 *		Wake the worker when the current transaction commits.
 */
#ifndef SMS3300_WAKE_H
#define SMS3300_WAKE_H

#include "datatype/timestamp.h"

extern void wake_at_commit(TimestampTz due);

#endif							/* SMS3300_WAKE_H */
