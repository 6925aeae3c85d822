/*
 * blocked.h
 *		Locks of other sessions that the worker waits for.
 */
#ifndef SMS3300_WORKER_BLOCKED_H
#define SMS3300_WORKER_BLOCKED_H

/*
 * After each round: note whether the table is locked, or a row that the round needed,
 * for those who look; and log it if that lasts.  Outside a transaction.
 */
extern void blocked_watch(bool table_locked);

#endif							/* SMS3300_WORKER_BLOCKED_H */
