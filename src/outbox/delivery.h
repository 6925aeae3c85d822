/*
 * delivery.h
 *		The delivery states of sent messages: the rows to ask for, and what is learnt.
 *
 * For the worker, while sms_outbox is open.
 */
#ifndef SMS3300_OUTBOX_DELIVERY_H
#define SMS3300_OUTBOX_DELIVERY_H

#include "outbox/candidates.h"

/* In the order of the install script. */
#define DELIVERY_STATES(X) \
	X(DELIVERY_WAITING, "waiting") \
	X(DELIVERY_DELIVERED, "delivered") \
	X(DELIVERY_UNDELIVERED, "undelivered") \
	X(DELIVERY_UNCONFIRMED, "unconfirmed")

typedef enum DeliveryState
{
#define X(state, label) state,
	DELIVERY_STATES(X)
#undef X
	NUM_DELIVERY_STATES
} DeliveryState;

/* The label of a state. */
extern const char *delivery_label(DeliveryState state);

/* A finished message, in the order in which they were finished. */
typedef struct FinishedMessage
{
	QueuePlace	place;
	bool		waiting;		/* for its delivery state, in this database */
	int64		message_id;
	char	   *sender;
} FinishedMessage;

/* What is learnt of a message. */
typedef struct DeliveryResult
{
	int64		id;
	int64		message_id;		/* at the gateway; the row must have it still */
	DeliveryState state;
	bool		has_code;
	int32		code;
	bool		written;		/* set by delivery_record() */
} DeliveryResult;

/* Tell whether the table has the columns of delivery states. */
extern bool delivery_is_known(void);

/*
 * Read the finished messages of an account behind a place and until a time, at most
 * "limit".  Returns their number.
 */
extern int	delivery_messages(const char *account, const QueuePlace *after, TimestampTz until,
							  int limit, FinishedMessage *messages);

/* When the first message behind a place was finished; DT_NOEND: there is none. */
extern TimestampTz delivery_next(const char *account, const QueuePlace *after);

/*
 * Write states onto the rows that wait for them, but for those that are locked, and tell
 * listeners of the account.
 */
extern void delivery_record(const char *account, DeliveryResult *results, int nresults);

#endif							/* SMS3300_OUTBOX_DELIVERY_H */
