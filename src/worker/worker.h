/*
 * worker.h
 *		The worker process, which serves one database.
 */
#ifndef SMS3300_WORKER_WORKER_H
#define SMS3300_WORKER_WORKER_H

extern int	worker_idle_timeout;	/* ms, sms3300.worker_idle_timeout */

/* Main function of the worker.  Its argument is the OID of the database. */
extern PGDLLEXPORT void sms3300_worker_main(Datum database);

#endif							/* SMS3300_WORKER_WORKER_H */
