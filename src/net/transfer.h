/*
 * transfer.h
 *		One request over libcurl, and how far it got.
 */
#ifndef SMS3300_NET_TRANSFER_H
#define SMS3300_NET_TRANSFER_H

#include <curl/curl.h>

#include "lib/ilist.h"

#include "net/http.h"
#include "net/sockets.h"

typedef struct Transfer
{
	HttpReply	reply;			/* first, so that a reply is its transfer */
	dlist_node	node;			/* for the owner's lists */
	Opener		opener;
	CURL	   *easy;
	const Endpoint *target;		/* whose URL is set on easy */
	uint64		trust;			/* as set on easy: its version */
	bool		fresh;			/* as set on easy: a connection of its own */
	CURLSH	   *sessions;		/* of TLS, to be resumed */
	char	   *form;			/* the request's body */
	size_t		form_size;
	bool		repeated;		/* and wanted to send once more, which was refused */
	bool		tls_begun;		/* its handshake, so there is a connection */
	size_t		header_size;	/* bytes of header received */
	bool		too_large;
	int			connection;		/* that the reply came on: its descriptor */
	uint64		connection_number;	/* and its number; 0: it is not known */
	char	   *buffer;			/* the reply's body */
	size_t		capacity;
	bool		looks_up;		/* the address, for others too */
	int64		begun_at;
	int64		deadline;
	int64		connect_timeout;
	bool		limits_connect;	/* libcurl ends it when that is over */
	char		error[CURL_ERROR_SIZE];
	char		problem[CURL_ERROR_SIZE + 128];
} Transfer;

extern Transfer *transfer_create(Sockets *sockets, CURLSH *sessions);
extern void transfer_destroy(Transfer *transfer);
extern const char *transfer_begin(Transfer *transfer, const HttpRequest *request, int64 now);
extern void transfer_look_up(Transfer *transfer);
extern bool transfer_knows_address(const Transfer *transfer);
extern int64 transfer_time_limit(const Transfer *transfer);
extern bool transfer_has_connected(const Transfer *transfer);
extern void transfer_abandon(Transfer *transfer);
extern void transfer_end(Transfer *transfer, CURLcode code, const char *error);
extern void transfer_clear(Transfer *transfer);

#endif							/* SMS3300_NET_TRANSFER_H */
