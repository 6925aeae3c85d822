/*
 * ask.h
 *		Ask the gateway in the caller's session.
 */
#ifndef SMS3300_SQL_ASK_H
#define SMS3300_SQL_ASK_H

#include "net/http.h"

/* Make room for a request; raises 53000 if there are too many open files. */
extern void ask_reserve(Http *http);

/* Make a request, and wait for its reply, subject to cancellation and statement_timeout. */
extern const HttpReply *ask_gateway(Http *http, const HttpRequest *request, const char *wait_event);

#endif							/* SMS3300_SQL_ASK_H */
