/*
 * shunned.h
 *		Messages that are skipped for a while.
 */
#ifndef SMS3300_WORKER_SHUNNED_H
#define SMS3300_WORKER_SHUNNED_H

#include "datatype/timestamp.h"

/* Maximum number at a time; the oldest entries are replaced. */
#define MAX_SHUNNED 32

/* Skip a message until a time. */
extern void shun(int64 id, TimestampTz until);

/* Return whether a message is skipped now. */
extern bool is_shunned(int64 id, TimestampTz now);

/* Return the messages skipped now, at most MAX_SHUNNED, and their number. */
extern int	shunned_now(TimestampTz now, int64 *ids);

#endif							/* SMS3300_WORKER_SHUNNED_H */
