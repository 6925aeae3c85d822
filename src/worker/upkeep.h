/*
 * upkeep.h
 *		What is to be done for the finished messages of all accounts.
 */
#ifndef SMS3300_WORKER_UPKEEP_H
#define SMS3300_WORKER_UPKEEP_H

#include "account/account.h"
#include "worker/queue.h"

/* Begin or end to ask for the delivery states of a queue's messages. */
extern void upkeep_configure_tracking(AccountQueue *queue, const Account *account);

/*
 * Return the queue whose finished messages are due first for retention, or NULL; and when
 * that is, or a time before.
 */
extern AccountQueue *queues_to_tidy(void);
extern TimestampTz queues_tidy_at(TimestampTz now);

/* Return the queue whose delivery states are asked for next, or NULL. */
extern AccountQueue *queues_to_track(void);

#endif							/* SMS3300_WORKER_UPKEEP_H */
