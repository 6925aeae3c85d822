/*
 * history.h
 *		An account's finished messages, which are deleted or redacted when old.
 */
#ifndef SMS3300_HISTORY_H
#define SMS3300_HISTORY_H

#include "queue.h"

/* Where a pass over the messages that are old enough has come to. */
typedef struct HistoryPass
{
	int			step;			/* which kind of messages */
	QueuePlace	place;			/* the last of them that was looked at */
} HistoryPass;

typedef struct History
{
	/* Of the account */
	int64		retention;		/* -1: for ever */
	int64		redact_after;	/* -1: never */

	TimestampTz tidy_at;		/* when there is something to do; DT_NOEND: never */
	TimestampTz not_before;		/* left alone until then */
	HistoryPass pass;
	HistoryPass ahead;			/* likewise, once the current transaction is committed */
	int			limit;			/* how many messages a transaction takes */
	bool		failed;			/* a message had to be passed over in this pass */
	bool		told;			/* the log says so */
} History;

extern void history_configure(History *history, int64 retention, int64 redact_after);
extern void history_recorded(History *history, TimestampTz finished_at);
extern TimestampTz history_next(const History *history);
extern void history_set_back(History *history, TimestampTz now);

/* In a transaction with the queue open */
extern void history_look(History *history, const char *account);
extern void history_tidy(History *history, const char *account, TimestampTz now);

/* After it */
extern void history_tidied(History *history, TimestampTz now);
extern bool history_failed(History *history, TimestampTz now, int64 *id);

#endif							/* SMS3300_HISTORY_H */
