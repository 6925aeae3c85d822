/*
 * round.h
 *		The worker's work on the table, from round to round.
 */
#ifndef SMS3300_WORKER_ROUND_H
#define SMS3300_WORKER_ROUND_H

#include "worker/work.h"

extern bool round_is_wanted(Work *work, TimestampTz now);
extern TimestampTz round_next_event(Work *work, TimestampTz now);
extern bool round_run(Work *work);
extern void round_set_back(Work *work, TimestampTz now);

#endif							/* SMS3300_WORKER_ROUND_H */
