/*
 * shunned.h
 *		Messages that are left alone for a while, for a reason of their own.
 */
#ifndef SMS3300_WORKER_SHUNNED_H
#define SMS3300_WORKER_SHUNNED_H

#include "datatype/timestamp.h"

/* How many at once; of more, the first are tried again. */
#define MAX_SHUNNED 32

/* Leave a message alone until a time. */
extern void shun(int64 id, TimestampTz until);

/* Tell whether a message is left alone now. */
extern bool is_shunned(int64 id, TimestampTz now);

/* The messages that are left alone now; how many.  There is room for MAX_SHUNNED. */
extern int	shunned_now(TimestampTz now, int64 *ids);

#endif							/* SMS3300_WORKER_SHUNNED_H */
