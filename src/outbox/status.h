/*
 * status.h
 *		The states of a message: the labels of sms_status.
 */
#ifndef SMS3300_OUTBOX_STATUS_H
#define SMS3300_OUTBOX_STATUS_H

/* In the order of the install script. */
#define MESSAGE_STATUSES(X) \
	X(STATUS_QUEUED, "queued") \
	X(STATUS_SENDING, "sending") \
	X(STATUS_SENT, "sent") \
	X(STATUS_REJECTED, "rejected") \
	X(STATUS_FAILED, "failed") \
	X(STATUS_UNKNOWN, "unknown") \
	X(STATUS_EXPIRED, "expired") \
	X(STATUS_CANCELLED, "cancelled") \
	X(STATUS_SUPPRESSED, "suppressed")

typedef enum MessageStatus
{
#define X(status, label) status,
	MESSAGE_STATUSES(X)
#undef X
	NUM_MESSAGE_STATUSES
} MessageStatus;

/* The label of a status. */
extern const char *status_label(MessageStatus status);

/* The status that a label names; error 42804 if there is none, as the owner can add labels. */
extern MessageStatus status_of_label(const char *label);

#endif							/* SMS3300_OUTBOX_STATUS_H */
