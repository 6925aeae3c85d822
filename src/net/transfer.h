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
	CURL	   *easy;
	char	   *url;			/* as set on easy */
	char	   *ca_file;		/* as set on easy */
	char	   *form;			/* the request's body */
	size_t		form_size;
	bool		begun;			/* libcurl had a connection, and began to send */
	bool		repeated;		/* and wanted to send once more, which was refused */
	bool		tls_begun;		/* its handshake, so there is a connection */
	size_t		header_size;	/* bytes of header received */
	bool		too_large;
	char	   *buffer;			/* the reply's body */
	size_t		capacity;
	int64		deadline;
	char		error[CURL_ERROR_SIZE];
	char		problem[CURL_ERROR_SIZE + 128];
} Transfer;

extern Transfer *transfer_create(void);
extern void transfer_destroy(Transfer *transfer);
extern const char *transfer_begin(Transfer *transfer, Sockets *sockets, const HttpRequest *request);
extern void transfer_end(Transfer *transfer, CURLcode code, const char *error);
extern void transfer_clear(Transfer *transfer);

#endif							/* SMS3300_NET_TRANSFER_H */
