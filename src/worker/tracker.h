/*
 * tracker.h
 *		Ask the gateway for delivery states, and record what it says.
 */
#ifndef SMS3300_WORKER_TRACKER_H
#define SMS3300_WORKER_TRACKER_H

#include "worker/wire.h"

/* Return when there is work; DT_NOBEGIN: a reply is here; DT_NOEND: none, as far as known. */
extern TimestampTz tracker_next(Wire *wire);

/* Record the reply that has come, or make the next request, which is due. */
extern void tracker_run(Wire *wire);

#endif							/* SMS3300_WORKER_TRACKER_H */
