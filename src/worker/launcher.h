/*
 * launcher.h
 *		Which databases need a worker.
 */
#ifndef SMS3300_WORKER_LAUNCHER_H
#define SMS3300_WORKER_LAUNCHER_H

extern void launcher_register(void);
extern PGDLLEXPORT void sms3300_launcher_main(Datum unused);

#endif							/* SMS3300_WORKER_LAUNCHER_H */
