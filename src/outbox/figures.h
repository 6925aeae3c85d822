/*
 * figures.h
 *		Numbers of queued messages, for monitoring.
 *
 * They are read as the table's owner, from the queue's index, at a cost that does
 * not depend on the number of finished messages.  Each is false if there is none, or
 * if the table is locked.
 */
#ifndef SMS3300_OUTBOX_FIGURES_H
#define SMS3300_OUTBOX_FIGURES_H

#include "datatype/timestamp.h"

/* The number of queued messages of an account. */
extern bool figure_queued(Oid namespace, int64 origin, Name account, int64 *n);

/* The number of those of some senders (names), or with "but" of all others. */
extern bool figure_queued_by(Oid namespace, int64 origin, Name account, Datum senders, bool but,
							 int64 *n);

/* The earliest due_at among those of certain priorities; DT_NOEND: none, or the table is locked. */
extern TimestampTz figure_oldest_due_at(Oid namespace, int64 origin, Name account, int least, int most);

/* The number of unfinished messages of an account that another database queued. */
extern bool figure_foreign_rows(Oid namespace, int64 origin, Name account, int64 *n);

#endif							/* SMS3300_OUTBOX_FIGURES_H */
