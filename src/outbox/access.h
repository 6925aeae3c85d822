/*
 * access.h
 *		The worker's access to sms_outbox, and the extension that it belongs to.
 */
#ifndef SMS3300_OUTBOX_ACCESS_H
#define SMS3300_OUTBOX_ACCESS_H

/* The version of the extension in this database, by that of this library. */
typedef enum ExtensionAge
{
	EXTENSION_MISSING,
	EXTENSION_OLDER,			/* this library serves all of them */
	EXTENSION_CURRENT,
	EXTENSION_NEWER				/* made for a library that does more than this one */
} ExtensionAge;

extern ExtensionAge extension_find(Oid *namespace);
extern const char *extension_mismatch(ExtensionAge age);

/* The hash that tells rows queued here from rows that came from elsewhere. */
extern int64 outbox_origin(void);

/* The owner of a table; InvalidOid if it is gone. */
extern Oid outbox_owner(Oid table);

/* Whether the worker can work on the table in this transaction. */
typedef enum OutboxAccess
{
	OUTBOX_OPEN,
	OUTBOX_NEWER,				/* open, but for more than results this library is too old */
	OUTBOX_MOVED,				/* open, but for results only: it has another name or schema now */
	OUTBOX_LOCKED,				/* another session holds a lock on it: try again */
	OUTBOX_MISSING				/* the extension is not in this database */
} OutboxAccess;

/* For the worker, in a transaction of its own */
extern OutboxAccess outbox_open(void);
extern void outbox_close(void);
extern Oid	outbox_namespace(void);
extern Oid	outbox_table(void);

#endif							/* SMS3300_OUTBOX_ACCESS_H */
