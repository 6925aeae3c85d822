/*
 * figures.h
 *		Numbers of queued messages, for monitoring.
 *
 * They are read as the table's owner, from the queue's index, at a cost that does
 * not depend on the number of finished messages.
 */
#ifndef SMS3300_OUTBOX_FIGURES_H
#define SMS3300_OUTBOX_FIGURES_H

#include "datatype/timestamp.h"

/* The number of queued messages of an account. */
extern int64 figure_queued(Oid namespace, int64 origin, Name account);

/* The earliest due_at among them; false if there are none. */
extern bool figure_oldest_due_at(Oid namespace, int64 origin, Name account, TimestampTz *due_at);

/* The number of unfinished messages of an account that another database queued. */
extern int64 figure_foreign_rows(Oid namespace, int64 origin, Name account);

#endif							/* SMS3300_OUTBOX_FIGURES_H */
