/*
 * sockets.h
 *		The sockets that libcurl waits for, in one epoll descriptor.
 */
#ifndef SMS3300_NET_SOCKETS_H
#define SMS3300_NET_SOCKETS_H

#include <curl/curl.h>

/* What is known of a connection that libcurl has opened. */
typedef struct Connection
{
	bool		open;
	bool		idle;			/* kept for a later request */
	uint32		events;			/* what epoll looks for; 0: it does not know it */
	int64		idle_since;
} Connection;

typedef struct Sockets
{
	int			epoll;
	int			failed;			/* errno, if a socket could not be waited for */
	Connection *connections;	/* by descriptor */
	int			nconnections;
	int64		retire_at;		/* when an idle one may be too old; PG_INT64_MAX: none */
	bool		retired;		/* some were shut down; for the caller to take note and unset */
} Sockets;

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
extern void sockets_use(Sockets *sockets, CURL *easy);
extern int	sockets_ready(Sockets *sockets, ReadySocket *ready, int max, bool *more);
extern void sockets_retire(Sockets *sockets);

#endif							/* SMS3300_NET_SOCKETS_H */
