/*
 * old.h
 *		The worker's statements on old messages, which are deleted or redacted.
 */
#ifndef SMS3300_OUTBOX_OLD_H
#define SMS3300_OUTBOX_OLD_H

#include "outbox/candidates.h"

/* For the worker, between outbox_open() and outbox_close() */
extern TimestampTz outbox_oldest_finished(const char *account, bool with_text);
extern int	outbox_remove(const char *account, bool only_text, bool redacted, TimestampTz until,
						  int limit, QueuePlace *place);
extern char *outbox_unindexed_reference(void);

#endif							/* SMS3300_OUTBOX_OLD_H */
