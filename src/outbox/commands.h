/*
 * commands.h
 *		What people do to messages that exist.
 *
 * To see a message is not to command it: the statements below are run with the
 * rights of the table's owner, and the caller of these functions checks first who
 * asks.  Each of them notes in "events" who did what, and when.  What cancels notes what
 * tell_send() is to tell.  That, and what queues again, wakes the worker at commit.
 */
#ifndef SMS3300_OUTBOX_COMMANDS_H
#define SMS3300_OUTBOX_COMMANDS_H

#include "nodes/pg_list.h"
#include "utils/array.h"

/* A message that a person wants something of. */
typedef struct Target
{
	char	   *account;
	char	   *sender;
	bool		redacted;		/* its text was removed */
} Target;

/* Find a message that the current role sees; false if there is none. */
extern bool target_find(Oid namespace, int64 id, Target *target);

/* Messages of one sender on one account. */
typedef struct Targets
{
	char	   *account;
	char	   *sender;
	ArrayType  *ids;
} Targets;

/*
 * Find those of many messages, an array of ids, that the current role sees and commands:
 * a list of Targets.
 */
extern List *targets_find(Oid namespace, Datum ids);

/* Tell whether the current role commands all messages: the table's owner and superusers do. */
extern bool commands_all(Oid namespace);

/* Raise 42501 unless the current role is the sender of a message, or commands all. */
extern void target_require(Oid namespace, int64 id, const Target *target);

/* Cancel a message if it is still queued. */
extern bool outbox_cancel(Oid namespace, int64 id);

/* The same for many, in one statement; how many. */
extern int64 outbox_cancel_many(Oid namespace, List *found);

/* Queue a finished message again, unless it was sent. */
extern bool outbox_requeue(Oid namespace, int64 id);

/* The same for many, in one statement; how many. */
extern int64 outbox_requeue_many(Oid namespace, List *found);

/* Make an unknown message sent or failed, as a person has found out; the note may be empty. */
extern bool outbox_resolve(Oid namespace, int64 id, bool was_sent, const char *note);

/* Take over the queued rows of other databases, and return their number. */
extern int64 outbox_adopt(Oid namespace);

#endif							/* SMS3300_OUTBOX_COMMANDS_H */
