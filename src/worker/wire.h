/*
 * wire.h
 *		Manage this worker's requests on the wire.
 *
 * Durations are in microseconds.
 */
#ifndef SMS3300_WORKER_WIRE_H
#define SMS3300_WORKER_WIRE_H

#include "net/http.h"
#include "worker/job.h"

/* Written by wire.c only. */
typedef struct Wire
{
	Http	   *http;
	int			in_flight;
	bool		asking;			/* a request for delivery states is on the wire */
	const HttpReply *answer;	/* its reply, until it is released; NULL: none */
	int64		bytes;			/* of their forms */
} Wire;

/* Start libcurl.  Raises 58000 if that or a system call fails. */
extern void wire_open(Wire *wire);

/*
 * Return for how many of the wanted requests of an account there is room, given how
 * many it holds and how many are taken already.  Some room is left to others.
 */
extern int	wire_room(Wire *wire, int held, int taken, int wanted);

/* Return how many bytes the texts of further messages may have; at most 0: no room. */
extern int64 wire_room_for_texts(const Wire *wire);

/* Send the request of a job.  There must be room for it. */
extern void wire_submit(Wire *wire, Job *job);

/* Return the next job whose request has ended, with its verdict, or NULL. */
extern Job *wire_next(Wire *wire);

/* Send a request for delivery states, of which one may be under way. */
extern void wire_ask(Wire *wire, HttpRequest *request);

/* Release the reply to it. */
extern void wire_release_answer(Wire *wire);

/* Free a job and release its reply. */
extern void wire_release(Wire *wire, Job *job);

/* Wait for the process latch, the network or a time-out (-1: none). */
extern void wire_wait(Wire *wire, int64 timeout);

/* End all active requests at once, as if they had timed out. */
extern void wire_abort(Wire *wire, const char *reason);

#endif							/* SMS3300_WORKER_WIRE_H */
