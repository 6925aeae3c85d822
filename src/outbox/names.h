/*
 * names.h
 *		Protect the names of accounts for which messages wait.
 */
#ifndef SMS3300_OUTBOX_NAMES_H
#define SMS3300_OUTBOX_NAMES_H

/* Follow the servers of all databases.  Called while the library is preloaded. */
extern void names_watch(void);

#endif							/* SMS3300_OUTBOX_NAMES_H */
