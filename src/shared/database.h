/*
 * database.h
 *		Commands that need a database to themselves, or alter it.
 */
#ifndef SMS3300_SHARED_DATABASE_H
#define SMS3300_SHARED_DATABASE_H

/* In _PG_init, while the library is preloaded: watch those commands. */
extern void database_watch(void);

#endif							/* SMS3300_SHARED_DATABASE_H */
