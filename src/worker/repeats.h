/*
 * repeats.h
 *		What lasts is logged once, then at most once a minute.
 */
#ifndef SMS3300_WORKER_REPEATS_H
#define SMS3300_WORKER_REPEATS_H

/*
 * Return whether to log something that may be repeated: the first few times within a
 * minute (1: the first time).  "what" tells one kind from another.
 */
extern bool repeats_log(const char *what, int few);

#endif							/* SMS3300_WORKER_REPEATS_H */
