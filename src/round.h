/*
 * round.h
 *		The worker's work on the table, from round to round.
 */
#ifndef SMS3300_ROUND_H
#define SMS3300_ROUND_H

#include "work.h"

extern bool work_is_wanted(Work *work, TimestampTz now);
extern TimestampTz work_next_event(Work *work, TimestampTz now);
extern bool work_round(Work *work);
extern void work_set_back(Work *work, TimestampTz now);

#endif							/* SMS3300_ROUND_H */
