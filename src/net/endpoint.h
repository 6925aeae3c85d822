/*
 * endpoint.h
 *		What is known of the server behind a URL: how long it keeps an idle
 *		connection, and whether its name has just been looked up.
 *
 * Times are by clock_us().
 */
#ifndef SMS3300_NET_ENDPOINT_H
#define SMS3300_NET_ENDPOINT_H

#include "lib/ilist.h"

#include "net/trust.h"

/* How long an idle connection may be reused if nothing else is known, and at most. */
#define ENDPOINT_FIRST_KEEP_IDLE (500 * INT64CONST(1000))
#define ENDPOINT_MAX_KEEP_IDLE (30 * INT64CONST(1000000))

/* A scout that lasts this long is closed: the server keeps connections long enough. */
#define ENDPOINT_SCOUT_TIME (2 * ENDPOINT_MAX_KEEP_IDLE)

typedef struct Endpoint
{
	dlist_node	node;			/* in the table */
	char	   *url;
	CURLU	   *parsed;			/* the URL as libcurl reads it; NULL: it cannot */
	char	   *ca_file;		/* may be NULL */
	Trust	   *trust;			/* NULL: it is not https */
	bool		told;			/* keep_idle is as an option says */
	int64		keep_idle;		/* for how long an idle connection is used again */
	int			early;			/* times that the server closed one at once, in a row */
	int64		early_at;		/* the last of them */
	int			broken;			/* times that it closed one without an answer when it was used again */
	int64		broken_at;		/* the last of them */
	int64		fresh_until;	/* so none is used again */

	/* A connection that is left idle, to learn for how long the server keeps it */
	bool		scouting;
	int64		scout_since;	/* when it became idle; 0: it has not yet */
	int64		next_scout;

	/* Its name */
	bool		numeric;		/* it has none */
	struct curl_slist *forget;	/* has libcurl forget its address; NULL: memory ran out */
	bool		looking_up;		/* a request looks it up */
	int64		known_until;	/* libcurl knows its address as long */
	dlist_head	waiting;		/* requests that need the address */
} Endpoint;

/* Endpoints by a hash of their URL. */
#define ENDPOINT_BUCKETS 256

typedef struct Endpoints
{
	dlist_head	buckets[ENDPOINT_BUCKETS];
} Endpoints;

extern void endpoints_open(Endpoints *endpoints);
extern void endpoints_close(Endpoints *endpoints);

/* Return the endpoint of a URL and a CA file (may be NULL), or NULL if memory runs out. */
extern Endpoint *endpoint_find(Endpoints *endpoints, const char *url, const char *ca_file);

/* Apply keep_idle (below 0: learn it).  Return whether an idle connection may now be too old. */
extern bool endpoint_tell(Endpoint *endpoint, int64 keep_idle);

/* Return how long an idle connection may currently be reused. */
extern int64 endpoint_keep_idle(const Endpoint *endpoint, int64 now);

/* Return whether the next connection should be a scout. */
extern bool endpoint_wants_scout(const Endpoint *endpoint, int64 now);

/* Note that the server closed a connection that had been idle for a time. */
extern void endpoint_ended(Endpoint *endpoint, int64 idle, int64 now);

/* Note whether a request on a connection that was used again was answered, or made the server close it. */
extern void endpoint_used_again(Endpoint *endpoint, bool answered, int64 now);

/* Note that a scout starts, becomes idle, and ends. */
extern void endpoint_scout_begin(Endpoint *endpoint);
extern void endpoint_scout_idle(Endpoint *endpoint, int64 now);
extern void endpoint_scout_end(Endpoint *endpoint, int64 now);

#endif							/* SMS3300_NET_ENDPOINT_H */
