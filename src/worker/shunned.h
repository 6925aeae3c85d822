/*
 * shunned.h
 *		Messages that are skipped for a while.
 */
#ifndef SMS3300_WORKER_SHUNNED_H
#define SMS3300_WORKER_SHUNNED_H

#include "datatype/timestamp.h"

/*
 * Skip a message from a time on: each time for longer, up to five minutes.  Returns false
 * if there are too many to remember it.
 */
extern bool shun(int64 id, TimestampTz now);

/* Return whether a message is skipped now. */
extern bool is_shunned(int64 id, TimestampTz now);

#endif							/* SMS3300_WORKER_SHUNNED_H */
