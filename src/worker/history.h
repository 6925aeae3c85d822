/*
 * history.h
 *		Write what was counted in past hours to sms3300_history.
 */
#ifndef SMS3300_WORKER_HISTORY_H
#define SMS3300_WORKER_HISTORY_H

#include "datatype/timestamp.h"

/*
 * In a round, before it counts: write what the accounts of this database counted before
 * this hour.  Looks at them once an hour, and a minute after a failure.  Outside a
 * transaction.
 */
extern void history_run(TimestampTz now);

#endif							/* SMS3300_WORKER_HISTORY_H */
