/*
 * wire.h
 *		The requests of this worker that are on the wire.
 *
 * Durations are in microseconds.
 */
#ifndef SMS3300_WORKER_WIRE_H
#define SMS3300_WORKER_WIRE_H

#include "net/http.h"
#include "worker/job.h"

/* Changed by wire.c only. */
typedef struct Wire
{
	Http	   *http;
	int			in_flight;
} Wire;

/* Begin; error 58000 if the operating system or libcurl refuses. */
extern void wire_open(Wire *wire);

/* How many of the requests wanted there is room for. */
extern int	wire_room(Wire *wire, int wanted);

/* Have the request of a job sent; there must be room for it. */
extern void wire_submit(Wire *wire, Job *job, TimestampTz now);

/* The next job whose request has ended, judged; NULL if there is none. */
extern Job *wire_next(Wire *wire);

/* End a job, and give back what it holds. */
extern void wire_release(Wire *wire, Job *job);

/* Wait for the process latch, the network or the time-out (-1: none). */
extern void wire_wait(Wire *wire, int64 timeout);

/* End the requests under way at once, as if they had timed out now. */
extern void wire_abort(Wire *wire, const char *reason);

#endif							/* SMS3300_WORKER_WIRE_H */
