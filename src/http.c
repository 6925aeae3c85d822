/*
 * http.c
 *		Many POST requests at once over libcurl, and the one place to wait.
 *
 * libcurl says through its callbacks which sockets it waits for and until
 * when.  The sockets are gathered in an epoll descriptor of our own, which is
 * waited on together with the process latch and the postmaster's death.
 *
 * No callback calls libcurl or PostgreSQL, raises an error or allocates with
 * palloc: a longjmp through libcurl would leave it unusable.
 *
 * Two habits of libcurl would break the promise that nothing is sent twice:
 *
 * - When a kept connection dies before the first byte of the reply, it sends a
 *   POST again by itself.  The body is therefore handed over by a read
 *   callback, and a seek callback refuses to rewind it: libcurl then gives up
 *   with CURLE_SEND_FAIL_REWIND.
 *
 * - It looks at its own time limit before it looks at the socket.  A process
 *   that was held up by its database would so discard replies that have long
 *   arrived.  The limit of the whole request is therefore kept here, and looked
 *   at after the sockets.
 */
#include "postgres.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/ilist.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#include "compat.h"
#include "http.h"
#include "wiped.h"

/*
 * A connection that was idle for longer than this is not used again.  Servers
 * keep idle connections for a second or more; one that closes just as the next
 * request arrives would leave it unknown whether the request was taken.
 */
#define MAX_IDLE_US (500 * 1000)

/* Events taken from the kernel in one go, and how often without a pause. */
#define EVENTS 64
#define MAX_PASSES 32

/* A descriptor that is no connection, and a connection in use. */
#define NO_CONNECTION (-1)
#define IN_USE 0

/* More of Retry-After than this is not believed. */
#define MAX_RETRY_AFTER_S 3600

typedef struct Transfer
{
	HttpReply	reply;			/* first, so that a reply is its transfer */
	dlist_node	node;			/* in one of the lists of Http */
	CURL	   *easy;
	char	   *url;			/* as set on easy */
	char	   *ca_file;		/* as set on easy */
	char	   *form;			/* the request's body */
	size_t		form_size;
	size_t		form_at;		/* how much of it was handed over */
	size_t		header_size;	/* bytes of header received */
	bool		too_large;
	char	   *buffer;			/* the reply's body */
	size_t		capacity;
	int64		deadline;
	char		error[CURL_ERROR_SIZE];
	char		problem[CURL_ERROR_SIZE + 128];
} Transfer;

struct Http
{
	CURLM	   *multi;
	int			epoll;
	WaitEventSet *events;
	int64		timer;			/* when libcurl wants to be called; -1: never */
	int			failed;			/* errno, if a socket could not be waited for */
	dlist_head	free;
	dlist_head	active;
	dlist_head	done;			/* finished, not fetched yet */
	dlist_head	held;			/* fetched, not released yet */
	int			nfree;
	int			ntransfers;
	int64	   *idle_since;		/* by descriptor; or one of the two below */
	int			idle_size;
};

/* A clock that nobody sets, in microseconds. */
static int64
clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* -------------------------------------------------------------------------
 * Callbacks
 * ------------------------------------------------------------------------- */

/*
 * libcurl opens a connection.  Without a place to note when it gets idle it
 * could not be kept, so none is opened.
 */
static curl_socket_t
on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	Http	   *http = arg;
	int			fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);

	if (fd >= http->idle_size)
	{
		int			size = fd + 64;
		int64	   *larger = realloc(http->idle_since, size * sizeof(int64));

		if (larger == NULL)
		{
			close(fd);
			return CURL_SOCKET_BAD;
		}
		for (int i = http->idle_size; i < size; i++)
			larger[i] = NO_CONNECTION;
		http->idle_since = larger;
		http->idle_size = size;
	}
	if (fd >= 0)
		http->idle_since[fd] = IN_USE;
	return fd;
}

/* libcurl wants to wait for a socket, or no longer. */
static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	Http	   *http = arg;
	struct epoll_event event = {.data.fd = fd};

	/* A connection that nobody waits for is idle, or about to be closed. */
	if (fd < http->idle_size && http->idle_since[fd] != NO_CONNECTION)
		http->idle_since[fd] = what == CURL_POLL_REMOVE ? clock_us() : IN_USE;

	if (what == CURL_POLL_REMOVE)
	{
		/* It may be closed, and so be gone, already. */
		epoll_ctl(http->epoll, EPOLL_CTL_DEL, fd, &event);
		return 0;
	}

	if (what & CURL_POLL_IN)
		event.events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		event.events |= EPOLLOUT;
	if (epoll_ctl(http->epoll, EPOLL_CTL_MOD, fd, &event) != 0 &&
		epoll_ctl(http->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		http->failed = errno;
	return 0;
}

/* libcurl wants to be called after some time, or no longer. */
static int
on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	Http	   *http = arg;

	http->timer = timeout_ms < 0 ? -1 : clock_us() + (int64) timeout_ms * 1000;
	return 0;
}

/* libcurl closes a socket. */
static int
on_close(void *arg, curl_socket_t fd)
{
	Http	   *http = arg;

	if (fd < http->idle_size)
		http->idle_since[fd] = NO_CONNECTION;
	return close(fd);
}

/* libcurl takes the next piece of the body; after the last it has no business here. */
static size_t
on_read(char *buffer, size_t size, size_t count, void *arg)
{
	Transfer   *transfer = arg;
	size_t		n = Min(size * count, transfer->form_size - transfer->form_at);

	if (n == 0)
		return CURL_READFUNC_ABORT;
	memcpy(buffer, transfer->form + transfer->form_at, n);
	transfer->form_at += n;
	return n;
}

/*
 * libcurl wants to send the body again: never.  From 8.7 on it also asks, as
 * the next request begins, for the rewind that it was refused in the last one;
 * that does no harm, as nothing of the new body was handed over yet.
 */
static int
on_seek(void *arg, curl_off_t offset, int origin)
{
	Transfer   *transfer = arg;

	return transfer->form_at == 0 ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
}

/* A line of the reply's header arrived. */
static size_t
on_header(char *data, size_t size, size_t count, void *arg)
{
	Transfer   *transfer = arg;

	transfer->header_size += size * count;
	if (transfer->header_size > HTTP_MAX_HEADER)
	{
		transfer->too_large = true;
		return 0;
	}
	return size * count;
}

/* A piece of the reply's body arrived; past the limit the transfer ends. */
static size_t
on_write(char *data, size_t size, size_t count, void *arg)
{
	Transfer   *transfer = arg;
	HttpReply  *reply = &transfer->reply;
	size_t		n = Min(size * count, HTTP_MAX_BODY - reply->body_size);

	if (reply->body_size + n > transfer->capacity)
	{
		size_t		capacity = Max(reply->body_size + n, 1024);
		char	   *larger = realloc(transfer->buffer, capacity);

		if (larger == NULL)
			return 0;
		transfer->buffer = larger;
		transfer->capacity = capacity;
		reply->body = larger;
	}
	memcpy(transfer->buffer + reply->body_size, data, n);
	reply->body_size += n;
	if (n < size * count)
		transfer->too_large = true;
	return n;
}

/* -------------------------------------------------------------------------
 * Transfers
 * ------------------------------------------------------------------------- */

/* Set what is the same for all requests. */
static bool
configure(Http *http, Transfer *transfer)
{
	static struct curl_slist *headers = NULL;
	CURL	   *easy = transfer->easy;

	/* Neither wait for "100 Continue" nor be answered 417. */
	if (headers == NULL)
		headers = curl_slist_append(NULL, "Expect:");
	if (headers == NULL)
		return false;

	curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "sms3300/" SMS3300_VERSION);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);

	/* The body, and no second time. */
	curl_easy_setopt(easy, CURLOPT_POST, 1L);
	curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(easy, CURLOPT_READDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
	curl_easy_setopt(easy, CURLOPT_SEEKDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);

	/* The reply. */
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, http);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, http);

	/* One request a connection at a time, so that evidence stays simple. */
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	curl_allow_http_only(easy);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);

	/* Replies are small; so can libcurl's buffers be. */
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 4096L);
	curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 16384L);
	curl_no_resolver_join(easy);
	return true;
}

/* Take what belongs to one request off a transfer. */
static void
clear(Transfer *transfer)
{
	if (transfer->form)
	{
		explicit_bzero(transfer->form, transfer->form_size);
		free(transfer->form);
	}
	transfer->form = NULL;
	transfer->form_size = transfer->form_at = 0;
	transfer->header_size = 0;
	transfer->too_large = false;
	transfer->error[0] = '\0';
	memset(&transfer->reply, 0, sizeof(HttpReply));
	transfer->reply.body = transfer->buffer;
	transfer->reply.retry_after = -1;
}

/* Say why TLS failed; what OpenSSL puts in words of its own is made plain. */
static const char *
describe_tls(Transfer *transfer, const char *said)
{
	static const struct
	{
		const char *words;
		const char *meaning;
	}			plain[] = {
		{"unsupported protocol", "the server offers no TLS 1.2 or newer"},
		{"protocol version", "the server offers no TLS 1.2 or newer"},
		{"wrong version number", "the server does not speak TLS on this port"},
		{"setting certificate", "ca_file holds no certificates"},
	};

	for (size_t i = 0; i < lengthof(plain); i++)
		if (strstr(said, plain[i].words))
		{
			snprintf(transfer->problem, sizeof(transfer->problem), "TLS failed: %s (%s)",
					 plain[i].meaning, said);
			return transfer->problem;
		}
	snprintf(transfer->problem, sizeof(transfer->problem), "TLS failed: %s", said);
	return transfer->problem;
}

/* Say what went wrong, in a sentence's part; NULL if nothing did. */
static const char *
describe(Transfer *transfer, CURLcode code)
{
	const char *said = transfer->error[0] ? transfer->error : curl_easy_strerror(code);

	if (code == CURLE_OK)
		return NULL;
	if (transfer->too_large)
		return "the reply is too large";

	/* What libcurl says then is of its vain try to send again. */
	if (transfer->reply.request_left && transfer->header_size == 0 &&
		code != CURLE_RECV_ERROR && code != CURLE_GOT_NOTHING)
		return "the connection was closed before a reply came";
	return transfer->reply.phase == HTTP_TLS ? describe_tls(transfer, said) : said;
}

/* Tell whether a TLS handshake failed, or could not even begin. */
static bool
is_tls_error(CURLcode code)
{
	switch (code)
	{
		case CURLE_SSL_CONNECT_ERROR:
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_SSL_CERTPROBLEM:
		case CURLE_SSL_CIPHER:
		case CURLE_SSL_CACERT_BADFILE:
		case CURLE_SSL_ISSUER_ERROR:
		case CURLE_SSL_INVALIDCERTSTATUS:
			return true;
		default:
			return false;
	}
}

/* Tell how far a transfer got. */
static HttpPhase
phase_reached(Transfer *transfer, CURLcode code)
{
	curl_off_t	resolved = 0;
	curl_off_t	ready = 0;

	if (code == CURLE_OK)
		return HTTP_DONE;
	if (transfer->header_size > 0)
		return HTTP_RECEIVE;
	if (transfer->reply.request_left)
		return HTTP_WAIT;

	curl_easy_getinfo(transfer->easy, CURLINFO_NAMELOOKUP_TIME_T, &resolved);
	curl_easy_getinfo(transfer->easy, CURLINFO_PRETRANSFER_TIME_T, &ready);
	if (is_tls_error(code))
		return HTTP_TLS;
	if (code == CURLE_COULDNT_RESOLVE_HOST || resolved == 0)
		return HTTP_RESOLVE;
	if (code == CURLE_COULDNT_CONNECT || (ready == 0 && !curl_is_connected(transfer->easy)))
		return HTTP_CONNECT;
	return ready == 0 ? HTTP_TLS : HTTP_SEND;
}

/* End a transfer: note the evidence and put it among the finished ones. */
static void
finish(Http *http, Transfer *transfer, CURLcode code, const char *error)
{
	HttpReply  *reply = &transfer->reply;
	long		status = 0;
	curl_off_t	retry_after = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(transfer->easy, CURLINFO_RETRY_AFTER, &retry_after);
	reply->status = status >= 200 ? (int) status : 0;
	reply->retry_after = retry_after > 0 ?
		(int64) Min(retry_after, MAX_RETRY_AFTER_S) * 1000000 : -1;
	reply->request_left = transfer->form_at == transfer->form_size;
	reply->phase = phase_reached(transfer, code);
	reply->error = error ? error : describe(transfer, code);
	if (reply->error == NULL && reply->status == 0)
		reply->error = "the reply has no HTTP status";

	curl_multi_remove_handle(http->multi, transfer->easy);

	dlist_delete(&transfer->node);
	dlist_push_tail(&http->done, &transfer->node);
}

/* -------------------------------------------------------------------------
 * The engine
 * ------------------------------------------------------------------------- */

/* Block the signals that are handled here, so that libcurl's threads inherit that. */
static void
block_signals(sigset_t *saved)
{
	sigset_t	all;

	sigfillset(&all);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGABRT);
	pthread_sigmask(SIG_SETMASK, &all, saved);
}

/* Raise an error about a failed start. */
static void
open_failed(Http *http, const char *what)
{
	http_close(http);
	ereport(ERROR,
			(errcode(ERRCODE_SYSTEM_ERROR),
			 errmsg("could not set up HTTP requests: %s", what)));
}

Http *
http_open(void)
{
	static bool initialized = false;
	Http	   *http;

	if (!initialized)
	{
		/* Else libcurl, or OpenSSL, writes there what deciphers its connections. */
		unsetenv("SSLKEYLOGFILE");

		/* It copies what it sends, so what it frees is overwritten. */
		if (curl_global_init_mem(CURL_GLOBAL_ALL, malloc, wiped_free, wiped_realloc,
								 strdup, calloc) != CURLE_OK)
			ereport(ERROR,
					(errcode(ERRCODE_SYSTEM_ERROR),
					 errmsg("could not set up HTTP requests: libcurl does not start")));
		initialized = true;
	}

	http = MemoryContextAllocZero(TopMemoryContext, sizeof(Http));
	http->timer = -1;
	dlist_init(&http->free);
	dlist_init(&http->active);
	dlist_init(&http->done);
	dlist_init(&http->held);
	http->epoll = -1;

	ReserveExternalFD();
	http->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (http->epoll < 0)
		open_failed(http, strerror(errno));

	http->multi = curl_multi_init();
	if (http->multi == NULL)
		open_failed(http, "out of memory");
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_PIPELINING, (long) CURLPIPE_NOTHING);

	http->events = create_wait_event_set(TopMemoryContext, 3);
	AddWaitEventToSet(http->events, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(http->events, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(http->events, WL_SOCKET_READABLE, http->epoll, NULL, NULL);
	return http;
}

/* Free a transfer and give its descriptor back. */
static void
destroy(Transfer *transfer)
{
	clear(transfer);
	if (transfer->easy)
		curl_easy_cleanup(transfer->easy);
	free(transfer->url);
	free(transfer->ca_file);
	free(transfer->buffer);
	free(transfer);
	ReleaseExternalFD();
}

/* Free a list of transfers. */
static void
destroy_all(dlist_head *transfers)
{
	while (!dlist_is_empty(transfers))
		destroy(dlist_container(Transfer, node, dlist_pop_head_node(transfers)));
}

void
http_close(Http *http)
{
	dlist_iter	iter;

	dlist_foreach(iter, &http->active)
		curl_multi_remove_handle(http->multi, dlist_container(Transfer, node, iter.cur)->easy);
	destroy_all(&http->active);
	destroy_all(&http->done);
	destroy_all(&http->held);
	destroy_all(&http->free);
	if (http->multi)
		curl_multi_cleanup(http->multi);
	if (http->events)
		FreeWaitEventSet(http->events);
	if (http->epoll >= 0)
		close(http->epoll);
	ReleaseExternalFD();
	free(http->idle_since);
	pfree(http);
}

/* A new transfer, with a descriptor set aside; NULL if there is none to be had. */
static Transfer *
create(Http *http)
{
	Transfer   *transfer;

	if (!AcquireExternalFD())
		return NULL;
	transfer = calloc(1, sizeof(Transfer));
	if (transfer == NULL)
	{
		ReleaseExternalFD();
		return NULL;
	}
	clear(transfer);
	return transfer;
}

int
http_reserve(Http *http, int wanted)
{
	int			before = http->ntransfers;

	while (http->nfree < wanted)
	{
		Transfer   *transfer = create(http);

		if (transfer == NULL)
			break;
		dlist_push_head(&http->free, &transfer->node);
		http->nfree++;
		http->ntransfers++;
	}

	/* No more connections, used or idle, than descriptors set aside. */
	if (http->ntransfers != before)
	{
		curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long) http->ntransfers);
		curl_multi_setopt(http->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long) http->ntransfers);
	}
	return http->nfree;
}

/* Tell whether two strings, either of which may be NULL, are the same. */
static bool
same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* Why a file of certificates can't be read, NULL if it can; a pipe would be waited for. */
static const char *
ca_file_problem(Transfer *transfer, const char *path)
{
	struct stat st;
	int			fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	const char *problem = fd < 0 || fstat(fd, &st) != 0 ? strerror(errno) :
		S_ISREG(st.st_mode) ? NULL : "it is no file";

	if (fd >= 0)
		close(fd);
	if (problem == NULL)
		return NULL;
	snprintf(transfer->problem, sizeof(transfer->problem), "TLS failed: ca_file cannot be read: %s",
			 problem);
	return transfer->problem;
}

/* Set what a request asks for; false if memory runs out. */
static bool
prepare(Http *http, Transfer *transfer, const HttpRequest *request)
{
	/* The default of ca_file can't be set again, but on a new handle. */
	if (transfer->easy && !same(transfer->ca_file, request->ca_file))
	{
		curl_easy_cleanup(transfer->easy);
		transfer->easy = NULL;
	}
	if (transfer->easy == NULL)
	{
		free(transfer->url);
		free(transfer->ca_file);
		transfer->url = transfer->ca_file = NULL;
		if ((transfer->easy = curl_easy_init()) == NULL || !configure(http, transfer))
			return false;
		if (request->ca_file)
		{
			if ((transfer->ca_file = strdup(request->ca_file)) == NULL ||
				curl_easy_setopt(transfer->easy, CURLOPT_CAINFO, request->ca_file) != CURLE_OK ||
				curl_easy_setopt(transfer->easy, CURLOPT_CAPATH, NULL) != CURLE_OK)
				return false;
			curl_no_ca_cache(transfer->easy);
		}
	}
	if (!same(transfer->url, request->url))
	{
		free(transfer->url);
		if ((transfer->url = strdup(request->url)) == NULL ||
			curl_easy_setopt(transfer->easy, CURLOPT_URL, request->url) != CURLE_OK)
			return false;
	}
	curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) request->body_size);
	curl_easy_setopt(transfer->easy, CURLOPT_CONNECTTIMEOUT_MS,
					 (long) Min(Max(request->connect_timeout / 1000, 1), PG_INT32_MAX));
	return true;
}

void
http_submit(Http *http, const HttpRequest *request)
{
	Transfer   *transfer = dlist_container(Transfer, node, dlist_pop_head_node(&http->free));
	const char *problem = request->ca_file ? ca_file_problem(transfer, request->ca_file) : NULL;
	sigset_t	saved;

	http->nfree--;
	dlist_push_tail(&http->active, &transfer->node);

	transfer->form = request->body;
	transfer->form_size = request->body_size;
	transfer->reply.form = request->body;
	transfer->reply.form_size = request->body_size;
	transfer->reply.owner = request->owner;
	transfer->deadline = clock_us() + request->timeout;

	block_signals(&saved);
	if (problem == NULL &&
		(!prepare(http, transfer, request) ||
		 curl_multi_add_handle(http->multi, transfer->easy) != CURLM_OK))
		problem = "out of memory";
	pthread_sigmask(SIG_SETMASK, &saved, NULL);

	if (problem)
	{
		transfer->reply.phase = HTTP_RESOLVE;
		transfer->reply.error = problem;
		dlist_delete(&transfer->node);
		dlist_push_tail(&http->done, &transfer->node);
	}
}

/* Tell whether the other end closed an idle connection, or sent what nobody asked for. */
static bool
is_closed(int fd)
{
	char		byte;

	return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 ||
		(errno != EAGAIN && errno != EWOULDBLOCK);
}

/*
 * Close connections that were idle for too long, or that the other end has
 * closed.  libcurl alone may close them, but it looks before it uses one again,
 * and finds these dead; a libcurl that may not look is told to keep none.
 */
static void
retire_idle(Http *http)
{
	int64		now = clock_us();
	bool		retired = false;

	for (int fd = 0; fd < http->idle_size; fd++)
		if (http->idle_since[fd] > IN_USE &&
			(now - http->idle_since[fd] > MAX_IDLE_US || is_closed(fd)))
		{
			shutdown(fd, SHUT_RDWR);
			http->idle_since[fd] = IN_USE;
			retired = true;
		}
	if (retired)
		curl_close_idle(http->multi);
}

/* Gather the transfers that libcurl has finished. */
static void
gather(Http *http)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(http->multi, &left)) != NULL)
	{
		Transfer   *transfer;

		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &transfer);
		finish(http, transfer, message->data.result, NULL);
	}
}

/* Let libcurl do what can be done without waiting. */
static void
run(Http *http)
{
	struct epoll_event events[EVENTS];
	sigset_t	saved;
	dlist_mutable_iter iter;
	int			running;
	int			n;
	int64		now;

	block_signals(&saved);
	retire_idle(http);

	/*
	 * Take all that has come before looking at the clock: after a long pause
	 * that may be more than libcurl reads in one go.
	 */
	for (int pass = 0; pass < MAX_PASSES; pass++)
	{
		n = epoll_wait(http->epoll, events, EVENTS, 0);
		if (n <= 0)
			break;
		for (int i = 0; i < n; i++)
		{
			int			what = 0;

			if (events[i].events & (EPOLLIN | EPOLLHUP))
				what |= CURL_CSELECT_IN;
			if (events[i].events & EPOLLOUT)
				what |= CURL_CSELECT_OUT;
			if (events[i].events & EPOLLERR)
				what |= CURL_CSELECT_ERR;
			curl_multi_socket_action(http->multi, events[i].data.fd, what, &running);
		}
	}

	if (http->timer >= 0 && clock_us() >= http->timer)
	{
		http->timer = -1;
		curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
	gather(http);

	now = clock_us();
	dlist_foreach_modify(iter, &http->active)
	{
		Transfer   *transfer = dlist_container(Transfer, node, iter.cur);

		if (now >= transfer->deadline)
			finish(http, transfer, CURLE_OPERATION_TIMEDOUT, "the request timed out");
	}
	pthread_sigmask(SIG_SETMASK, &saved, NULL);

	if (http->failed)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not wait for a socket: %s", strerror(http->failed))));
}

/* The milliseconds until libcurl or a request's time-out has to be looked at; -1: none. */
static long
next_timer_ms(Http *http, int64 timeout)
{
	int64		now = clock_us();
	int64		next = timeout < 0 ? PG_INT64_MAX : now + timeout;
	dlist_iter	iter;

	if (http->timer >= 0)
		next = Min(next, http->timer);
	dlist_foreach(iter, &http->active)
		next = Min(next, dlist_container(Transfer, node, iter.cur)->deadline);

	if (next == PG_INT64_MAX)
		return -1;
	return (long) Min((Max(next - now, 0) + 999) / 1000, PG_INT32_MAX);
}

void
http_wait(Http *http, int64 timeout, uint32 wait_event)
{
	WaitEvent	event;
	long		wait_ms = dlist_is_empty(&http->done) ? next_timer_ms(http, timeout) : 0;

	if (WaitEventSetWait(http->events, wait_ms, &event, 1, wait_event) > 0 &&
		(event.events & WL_LATCH_SET))
		ResetLatch(MyLatch);
	run(http);
}

const HttpReply *
http_next(Http *http)
{
	Transfer   *transfer;

	if (dlist_is_empty(&http->done))
		return NULL;
	transfer = dlist_container(Transfer, node, dlist_pop_head_node(&http->done));
	dlist_push_tail(&http->held, &transfer->node);
	return &transfer->reply;
}

void
http_release(Http *http, const HttpReply *reply)
{
	Transfer   *transfer = (Transfer *) reply;

	clear(transfer);
	dlist_delete(&transfer->node);
	dlist_push_head(&http->free, &transfer->node);
	http->nfree++;
}

void
http_abort_all(Http *http, const char *reason)
{
	dlist_mutable_iter iter;
	sigset_t	saved;

	block_signals(&saved);
	gather(http);
	dlist_foreach_modify(iter, &http->active)
		finish(http, dlist_container(Transfer, node, iter.cur), CURLE_ABORTED_BY_CALLBACK, reason);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
}

/* -------------------------------------------------------------------------
 * Names
 * ------------------------------------------------------------------------- */

/* A part of a URL in the current memory context, empty if it has none. */
static const char *
url_part(CURLU *url, CURLUPart which)
{
	char	   *part = NULL;
	char	   *copy;

	if (curl_url_get(url, which, &part, 0) != CURLUE_OK)
		return "";
	copy = pstrdup(part);
	curl_free(part);
	return copy;
}

const char *
http_url_problem(const char *url)
{
	const char *problem = NULL;
	CURLU	   *parsed;

	/* libcurl's versions differ in what of this they take, and for what. */
	for (const char *c = url; *c; c++)
		if (*c <= ' ' || *c > '~' || *c == '\\' || *c == '#')
			return "It contains a blank, a backslash, a fragment (#) or a character that is not ASCII."
				" A host's name in other letters has an ASCII form (xn--...).";

	parsed = curl_url();
	if (parsed == NULL)
		return "Memory ran out.";
	if (curl_url_set(parsed, CURLUPART_URL, url, 0) != CURLUE_OK ||
		strcmp(url_part(parsed, CURLUPART_PORT), "0") == 0)
		problem = "It is no URL.";
	else if (url_part(parsed, CURLUPART_USER)[0] || url_part(parsed, CURLUPART_PASSWORD)[0] ||
			 strcasestr(url_part(parsed, CURLUPART_QUERY), "password=") != NULL)
		problem = "It contains credentials, which everybody could read there.";
	else if (strcmp(url_part(parsed, CURLUPART_SCHEME), "http") != 0 &&
			 strcmp(url_part(parsed, CURLUPART_SCHEME), "https") != 0)
		problem = "Only http and https are supported.";
	curl_url_cleanup(parsed);
	return problem;
}

const char *
http_phase_name(HttpPhase phase)
{
	static const char *const names[] = {
		"resolve", "connect", "tls", "send", "wait", "receive", "done"
	};

	return names[phase];
}
