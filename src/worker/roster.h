/*
 * roster.h
 *		The queues of all accounts: those that are awake, and those that sleep.
 *
 * What a wake-up costs depends on the queues that are awake.  A queue is put to sleep when
 * it has nothing to do before a time; it wakes at that time, or when it is named.
 */
#ifndef SMS3300_WORKER_ROSTER_H
#define SMS3300_WORKER_ROSTER_H

#include "lib/ilist.h"

#include "worker/queue.h"

/* Return the queue of an account, creating it if necessary.  It is awake then. */
extern AccountQueue *queue_find_or_add(const char *name);

/* Return the list of the queues that are awake. */
extern dlist_head *roster_awake(void);

/* Wake all queues. */
extern void roster_wake_all(void);

/* Wake the queue of a server and return it, or NULL if no queue is known to be of that. */
extern AccountQueue *roster_wake(Oid server);

/* Wake the queues whose time has come, and return when that is for the next one. */
extern TimestampTz roster_wake_due(TimestampTz now);

/* Put a queue to sleep until a time; DT_NOEND: until it is named. */
extern void roster_sleep(AccountQueue *queue, TimestampTz until);

/* Note which server a queue's account is. */
extern void roster_note_server(AccountQueue *queue, Oid server);

/* Take a queue that is awake out of the lists. */
extern void roster_remove(AccountQueue *queue);

#endif							/* SMS3300_WORKER_ROSTER_H */
