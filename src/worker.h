/*
 * worker.h
 *		The process that serves one database.
 */
#ifndef SMS3300_WORKER_H
#define SMS3300_WORKER_H

/* The main function; its argument is the database's OID. */
extern PGDLLEXPORT void sms3300_worker_main(Datum database);

#endif							/* SMS3300_WORKER_H */
