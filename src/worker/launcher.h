/*
 * launcher.h
 *		The launcher, which starts a worker for each database that needs one.
 */
#ifndef SMS3300_WORKER_LAUNCHER_H
#define SMS3300_WORKER_LAUNCHER_H

extern void launcher_register(void);
extern PGDLLEXPORT void sms3300_launcher_main(Datum unused);

#endif							/* SMS3300_WORKER_LAUNCHER_H */
