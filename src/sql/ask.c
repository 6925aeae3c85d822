/*
 * ask.c
 *		Ask the gateway in the caller's session.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "compat.h"
#include "sql/ask.h"

void
ask_reserve(Http *http)
{
	if (http_reserve(http, 0, 0, 1) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("too many open files in this session")));
}

const HttpReply *
ask_gateway(Http *http, const HttpRequest *request, const char *wait_event)
{
	uint32		event = wait_event_named(wait_event);
	const HttpReply *reply;

	http_submit(http, request);
	while ((reply = http_next(http)) == NULL)
	{
		http_wait(http, -1, event);
		CHECK_FOR_INTERRUPTS();
	}
	return reply;
}
