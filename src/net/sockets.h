/*
 * sockets.h
 *		The sockets that libcurl waits for, in one epoll descriptor.
 */
#ifndef SMS3300_NET_SOCKETS_H
#define SMS3300_NET_SOCKETS_H

#include <curl/curl.h>

#include "net/endpoint.h"

typedef struct Sockets Sockets;

/* Who has connections opened; outlives the request. */
typedef struct Opener
{
	Sockets    *sockets;
	Endpoint   *endpoint;
	bool		scout;			/* what it opens is left idle, to see how long it lasts */
	bool		opened;			/* a socket: so an address is known */
	bool		abandoned;		/* nothing may be opened any more */
	bool		begun;			/* a connection is there, and sending begins */
} Opener;

/* What is known of a connection that libcurl has opened. */
typedef struct Connection
{
	bool		open;			/* libcurl has it */
	bool		idle;			/* kept for a later request */
	bool		alone;			/* a scout's, which libcurl has closed: it is ours */
	uint32		events;			/* what epoll looks for; 0: it does not know it */
	int64		idle_since;
	Endpoint   *endpoint;
	Opener	   *scout;			/* whose request it carries, if it is a scout's */
	bool		answered;		/* that request was: now it is left idle */
} Connection;

struct Sockets
{
	int			epoll;
	int			failed;			/* errno, if a socket could not be waited for */
	Connection *connections;	/* by descriptor */
	int			nconnections;
	int			nscouts;		/* scouts that are out, each with a descriptor set aside */
	int64		retire_at;		/* when an idle one may be too old; PG_INT64_MAX: none */
	bool		retired;		/* some were shut down; for the caller to take note and unset */
};

/* A socket that is ready, and for what, as libcurl says it. */
typedef struct ReadySocket
{
	curl_socket_t fd;
	int			what;
} ReadySocket;

/* A clock that nobody sets, in microseconds. */
extern int64 clock_us(void);

extern bool sockets_open(Sockets *sockets);
extern void sockets_close(Sockets *sockets);
extern void sockets_follow(Sockets *sockets, CURLM *multi);
extern void sockets_use(Opener *opener, CURL *easy);
extern int	sockets_ready(Sockets *sockets, ReadySocket *ready, int max, bool *more);
extern void sockets_retire(Sockets *sockets);

/* Have an opener's connection be a scout, if that is of use and there is room. */
extern bool sockets_send_scout(Opener *opener);

/* The request of a scout is over; without a reply its connection tells nothing. */
extern void sockets_scout_answered(Opener *opener, bool answered);

#endif							/* SMS3300_NET_SOCKETS_H */
