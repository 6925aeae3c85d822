/*
 * replay.pml
 *		What runs were seen to do, for the model to find a way to.
 *
 * traces.h, which test/model/replay writes, has for each trace what the gateway
 * did with its requests, in their order, the row's events, each with its attempt,
 * and the row's status in the end; a 0 ends each list.  A step that the gateway
 * or the row would tell of is possible only where the trace has it next.
 */

/* What the gateway did with a request */
#define ACCEPTED 1
#define REFUSED 2
#define REFUSED_FOR_NOW 3
#define REFUSED_ACCOUNT 4
#define NOTHING 5
#define REFUSED_UNSURE 6

c_decl {
\#include "traces.h"
}

short which;					/* trace */
byte request;					/* the place of what comes next */
byte event;
byte next_request;				/* and what it is; 0: nothing more */
byte next_event;
byte next_attempt;
byte last_status;
bit known;

#define REQUEST_IS(answer) (next_request == answer)
#define EVENT_IS(m, what) \
	(what == DONE_SENT || (next_event == what && next_attempt == row[m].attempts))

#define NEXT_REQUEST c_code { now.request++; read_trace(); }
#define CAN(deed) (next_event == deed)
#define DID c_code { now.event++; read_trace(); }
#define NEXT_EVENT \
	if \
	:: job[I(p, m)] != DONE_SENT -> c_code { now.event++; read_trace(); } \
	:: else \
	fi

c_code {
/* Read what comes next, and say if no other way has led as far. */
static void
read_trace(void)
{
	static int	farthest[TRACES];
	int			far = now.request + now.event + 1;

	now.next_request = requests[now.which][now.request];
	now.next_event = events[now.which][now.event];
	now.next_attempt = attempts[now.which][now.event];
	now.last_status = statuses[now.which];
	if (far > farthest[now.which])
		printf("reached %d %d %d\n", now.which, now.request, now.event);
	if (far > farthest[now.which])
		farthest[now.which] = far;
}

/* Say that the model has a way to all of a trace. */
static void
say_known(void)
{
	static char said[TRACES];

	if (!said[now.which])
		printf("known %d\n", now.which);
	said[now.which] = 1;
}
}
