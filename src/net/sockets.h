/*
 * sockets.h
 *		The sockets that libcurl waits for, in one epoll descriptor.
 */
#ifndef SMS3300_NET_SOCKETS_H
#define SMS3300_NET_SOCKETS_H

#include <curl/curl.h>

#include "net/endpoint.h"

typedef struct Sockets Sockets;

/* The transfer for which libcurl opens connections; it outlives the request. */
typedef struct Opener
{
	Sockets    *sockets;
	Endpoint   *endpoint;
	bool		scout;			/* what it opens is left idle, to see how long it lasts */
	bool		opened;			/* a socket: so an address is known */
	bool		abandoned;		/* nothing may be opened any more */
	bool		begun;			/* a connection is there, and sending begins */
} Opener;

/* State of a connection that libcurl has opened. */
typedef struct Connection
{
	bool		open;			/* libcurl has it */
	uint64		number;			/* of all that were opened: descriptors are used again */
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
	uint64		nopened;		/* connections, so far */
	int			nscouts;		/* scouts that are out, each with a descriptor set aside */
	int64		retire_at;		/* when an idle one may be too old; PG_INT64_MAX: none */
	bool		retired;		/* some were shut down; see sockets_retire() */
};

/* A socket that is ready, and for what, in libcurl's terms. */
typedef struct ReadySocket
{
	curl_socket_t fd;
	int			what;
} ReadySocket;

extern bool sockets_open(Sockets *sockets);
extern void sockets_close(Sockets *sockets);
extern void sockets_follow(Sockets *sockets, CURLM *multi);
extern void sockets_use(Opener *opener, CURL *easy);
extern int	sockets_ready(Sockets *sockets, ReadySocket *ready, int max, bool *more);
extern bool sockets_retire(Sockets *sockets);

/* Return the number of the connection that libcurl has on a descriptor; 0: none. */
extern uint64 sockets_number(Sockets *sockets, int fd);

/* Shut down the connection of a number, unless it is closed, so that libcurl does not use it again. */
extern void sockets_distrust(Sockets *sockets, int fd, uint64 number);

/* Make an opener's connection a scout if one is wanted and there is room.  Return whether it is. */
extern bool sockets_send_scout(Opener *opener);

/* Note that a scout's request has ended.  Without a reply its connection is not watched. */
extern void sockets_scout_answered(Opener *opener, bool answered);

#endif							/* SMS3300_NET_SOCKETS_H */
