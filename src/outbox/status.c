/*
 * status.c
 *		The states of a message: the labels of sms_status.
 */
#include "postgres.h"

#include "outbox/status.h"

static const char *const labels[NUM_MESSAGE_STATUSES] = {
#define X(status, label) [status] = (label),
	MESSAGE_STATUSES(X)
#undef X
};

const char *
status_label(MessageStatus status)
{
	Assert(status < NUM_MESSAGE_STATUSES);
	return labels[status];
}

MessageStatus
status_of_label(const char *label)
{
	for (int i = 0; i < NUM_MESSAGE_STATUSES; i++)
		if (strcmp(label, labels[i]) == 0)
			return (MessageStatus) i;
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("\"%s\" is not a status that this version of sms3300 knows", label)));
}
