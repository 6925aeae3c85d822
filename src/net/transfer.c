/*
 * transfer.c
 *		One request over libcurl, and how far it got.
 *
 * When a kept connection dies before the first byte of the reply, libcurl sends
 * a POST again by itself.  It asks before it begins to send, though, and is
 * refused a second time.
 *
 * No callback calls libcurl or PostgreSQL, raises an error or allocates with
 * palloc: a longjmp through libcurl would leave it unusable.
 */
#include "postgres.h"

#include <curl/curl.h>
#include <sys/socket.h>

#include "storage/fd.h"

#include "compat.h"
#include "net/transfer.h"
#include "shared/clock.h"

/* The upper limit for Retry-After. */
#define MAX_RETRY_AFTER_S 3600

/*
 * Connections are not used for longer than this, and addresses are cached for a
 * minute.  So a change of a gateway's address takes effect within five minutes.
 */
#define MAX_LIFETIME_S 230

/* Callback: a TLS handshake starts. */
static CURLcode
on_tls(CURL *easy, void *context, void *arg)
{
	Transfer   *transfer = arg;

	transfer->tls_begun = true;
	trust_apply(transfer->opener.endpoint->trust, context, transfer->opener.scout);
	return CURLE_OK;
}

/* Callback: the request is about to be sent.  Refuse that the second time. */
static int
on_begin(void *arg, char *remote_address, char *local_address, int remote_port, int local_port)
{
	Transfer   *transfer = arg;

	if (transfer->opener.begun)
	{
		transfer->repeated = true;
		return CURL_PREREQFUNC_ABORT;
	}
	transfer->opener.begun = true;
	return CURL_PREREQFUNC_OK;
}

/* Callback: a header line of the reply arrived. */
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

/* Callback: a part of the reply's body arrived.  End the transfer at the limit. */
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

/*
 * For a form larger than this, libcurl would wait for "100 Continue", or be answered 417;
 * newer versions do for one of a megabyte.  It is told not to by a list of headers, which
 * takes time for each request.
 */
#define LARGE_FORM 1024
static struct curl_slist *without_expect = NULL;

/* Set the options that are the same for all requests.  Return false if memory runs out. */
static bool
transfer_configure(Transfer *transfer)
{
	CURL	   *easy = transfer->easy;

	if (without_expect == NULL)
		without_expect = curl_slist_append(NULL, "Expect:");
	if (without_expect == NULL)
		return false;

	curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "sms3300/" SMS3300_VERSION);

	/* The request, and no second time. */
	curl_easy_setopt(easy, CURLOPT_POST, 1L);
	curl_ask_before_request(easy, on_begin, transfer);
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	sockets_use(&transfer->opener, easy);
	curl_limit_lifetime(easy, MAX_LIFETIME_S);

	/* The reply. */
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);

	/* One request a connection at a time, so that evidence stays simple. */
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	curl_allow_http_only(easy);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "");	/* or it looks in the environment each time */
	curl_easy_setopt(easy, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_tls);
	curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, transfer);
	curl_easy_setopt(easy, CURLOPT_SHARE, transfer->sessions);
	curl_no_ca_cache(easy);

	/* Replies are small; so can libcurl's buffers be. */
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 4096L);
	curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 16384L);
	curl_no_resolver_join(easy);
	return true;
}

/* Free the handle, so that the next request uses a new one. */
static void
drop_handle(Transfer *transfer)
{
	if (transfer->easy)
		curl_easy_cleanup(transfer->easy);
	transfer->easy = NULL;
	transfer->target = NULL;
	transfer->trust = 0;
	transfer->fresh = false;
}

/*
 * Choose whether a request uses a connection of its own.  A scout does, and so does
 * each request if idle connections are not reused.
 */
static void
set_fresh(Transfer *transfer, int64 now)
{
	bool		fresh = sockets_send_scout(&transfer->opener) ||
		endpoint_keep_idle(transfer->opener.endpoint, now) == 0;

	if (fresh == transfer->fresh)
		return;
	curl_easy_setopt(transfer->easy, CURLOPT_FRESH_CONNECT, (long) fresh);
	curl_easy_setopt(transfer->easy, CURLOPT_FORBID_REUSE, (long) fresh);
	transfer->fresh = fresh;
}

/* Set the options of this request.  Return false if memory runs out. */
static bool
set_request(Transfer *transfer, const HttpRequest *request, int64 now)
{
	const Endpoint *endpoint = transfer->opener.endpoint;
	Trust	   *trust = endpoint->trust;

	if (transfer->easy == NULL &&
		((transfer->easy = curl_easy_init()) == NULL || !transfer_configure(transfer)))
		return false;
	if (trust && transfer->trust != trust_version(trust))
	{
		if (!trust_set(trust, transfer->easy))
			return false;
		transfer->trust = trust_version(trust);
	}
	set_fresh(transfer, now);
	if (transfer->target != endpoint &&
		(curl_easy_setopt(transfer->easy, CURLOPT_URL, endpoint->url) != CURLE_OK ||
		 curl_easy_setopt(transfer->easy, CURLOPT_CURLU, endpoint->parsed) != CURLE_OK))
		return false;
	transfer->target = endpoint;
	curl_easy_setopt(transfer->easy, CURLOPT_RESOLVE, NULL);
	curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER,
					 request->body_size > LARGE_FORM ? without_expect : NULL);
	curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) request->body_size);
	curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDS, request->body);
	curl_easy_setopt(transfer->easy, CURLOPT_CONNECTTIMEOUT_MS,
					 (long) Min(Max(request->connect_timeout / 1000, 1), PG_INT32_MAX));
	transfer->connect_timeout = request->connect_timeout;
	transfer->limits_connect = true;
	return true;
}

/* Return why TLS failed.  Explain OpenSSL's terse messages. */
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
		{"adding trust anchors", "ca_file holds no certificates"},
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

/* Return what went wrong, without a period, or NULL. */
static const char *
transfer_describe(Transfer *transfer, CURLcode code)
{
	const char *said = transfer->error[0] ? transfer->error : curl_easy_strerror(code);

	if (code == CURLE_OK)
		return NULL;
	if (transfer->too_large)
		return "the reply is too large";

	/* What libcurl says then is of its vain try to send again. */
	if (transfer->repeated)
		return "the connection was closed before a reply came";
	return transfer->reply.phase == HTTP_TLS ? describe_tls(transfer, said) : said;
}

/* Return whether an error code belongs to the TLS handshake. */
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

/* Return how far a transfer got. */
static HttpPhase
phase_reached(Transfer *transfer, CURLcode code)
{
	curl_off_t	resolved = 0;

	if (code == CURLE_OK)
		return HTTP_DONE;
	if (transfer->header_size > 0)
		return HTTP_RECEIVE;
	if (transfer->reply.request_left)
		return HTTP_WAIT;
	if (transfer->opener.begun || curl_has_begun(transfer->easy))
		return HTTP_SEND;

	curl_easy_getinfo(transfer->easy, CURLINFO_NAMELOOKUP_TIME_T, &resolved);
	if (is_tls_error(code))
		return HTTP_TLS;
	if (code == CURLE_COULDNT_RESOLVE_HOST || resolved == 0)
		return HTTP_RESOLVE;
	return code != CURLE_COULDNT_CONNECT && transfer->tls_begun ? HTTP_TLS : HTTP_CONNECT;
}

/*
 * Tell whether a request was handed to the network whole, or may have been.  When
 * a kept connection dies, libcurl starts over and counts from zero: it has asked
 * to send again, or could not even connect for that.  Only where sending itself
 * failed does a count of nothing say that nothing left.
 */
static bool
request_left(Transfer *transfer, CURLcode code)
{
	curl_off_t	sent = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
	return transfer->repeated || sent >= (curl_off_t) transfer->form_size ||
		(transfer->opener.begun && sent == 0 && code != CURLE_SEND_ERROR);
}

/* Create a transfer and set a descriptor aside; NULL if there is none, or no memory. */
Transfer *
transfer_create(Sockets *sockets, CURLSH *sessions)
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
	transfer->opener.sockets = sockets;
	transfer->sessions = sessions;
	transfer_clear(transfer);
	return transfer;
}

/* Free a transfer and release its descriptor. */
void
transfer_destroy(Transfer *transfer)
{
	ReleaseExternalFD();
	transfer_clear(transfer);
	drop_handle(transfer);
	free(transfer->buffer);
	free(transfer);
}

/*
 * Give a transfer, whose endpoint is set, its request, whose body passes on to
 * it, and make it ready for libcurl; NULL, or why that fails.  "now" is the time
 * of this look at the network.
 */
const char *
transfer_begin(Transfer *transfer, const HttpRequest *request, int64 now)
{
	Endpoint   *endpoint = transfer->opener.endpoint;
	const char *problem = NULL;

	transfer->form = request->body;
	transfer->form_size = request->body_size;
	transfer->reply.form = request->body;
	transfer->reply.form_size = request->body_size;
	transfer->reply.owner = request->owner;
	transfer->begun_at = clock_us();
	transfer->deadline = transfer->begun_at + request->timeout;

	if (endpoint == NULL)
		return "out of memory";
	if (endpoint->trust)
		problem = trust_look(endpoint->trust, now, transfer->problem, sizeof(transfer->problem));
	if (problem == NULL && !set_request(transfer, request, now))
		problem = "out of memory";
	return problem;
}

/* Return whether the address is known, or not needed because a connection exists. */
bool
transfer_knows_address(const Transfer *transfer)
{
	return transfer->opener.opened || transfer_has_connected(transfer);
}

/* Return whether the transfer has a connection. */
bool
transfer_has_connected(const Transfer *transfer)
{
	return transfer->opener.begun || curl_has_begun(transfer->easy);
}

/* Return when a transfer times out, unless libcurl enforces an earlier limit. */
int64
transfer_time_limit(const Transfer *transfer)
{
	if (!transfer->limits_connect && !transfer_has_connected(transfer))
		return Min(transfer->deadline, transfer->begun_at + transfer->connect_timeout);
	return transfer->deadline;
}

/*
 * Mark a transfer as the one that looks up the address.  libcurl tells by the wall clock
 * how old the one is that it knows: if that was set back, it would keep it for as long.
 *
 * A libcurl that joins the lookup's thread when it gives up must not give up by itself:
 * connect_timeout is then enforced through transfer_time_limit().
 */
void
transfer_look_up(Transfer *transfer)
{
	transfer->looks_up = true;
	curl_easy_setopt(transfer->easy, CURLOPT_RESOLVE, transfer->opener.endpoint->forget);
	transfer->limits_connect = !CURL_JOINS_RESOLVER;
	if (CURL_JOINS_RESOLVER)
		curl_easy_setopt(transfer->easy, CURLOPT_CONNECTTIMEOUT_MS, (long) PG_INT32_MAX);
}

/*
 * Detach the handle of a hanging lookup.  libcurl ends it later.  It can open no
 * connection, so it sends nothing.
 */
void
transfer_abandon(Transfer *transfer)
{
	static Opener nobody = {.abandoned = true};
	CURL	   *easy = transfer->easy;

	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, &nobody);
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, NULL);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, NULL);
	transfer->easy = NULL;
	drop_handle(transfer);
}

/*
 * Note the evidence that an ended transfer leaves, and the error if libcurl
 * does not know it.
 */
void
transfer_end(Transfer *transfer, CURLcode code, const char *error)
{
	HttpReply  *reply = &transfer->reply;
	long		status = 0;
	curl_off_t	retry_after = 0;
	curl_socket_t connection;

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(transfer->easy, CURLINFO_RETRY_AFTER, &retry_after);
	reply->status = status >= 200 ? (int) status : 0;
	reply->retry_after = retry_after > 0 ?
		(int64) Min(retry_after, MAX_RETRY_AFTER_S) * 1000000 : -1;
	reply->request_left = request_left(transfer, code);
	reply->phase = phase_reached(transfer, code);
	reply->error = error ? error : transfer_describe(transfer, code);
	if (transfer->repeated)
		endpoint_used_again(transfer->opener.endpoint, false, clock_us());
	else if (transfer->opener.begun && !transfer->opener.opened && transfer->header_size > 0)
		endpoint_used_again(transfer->opener.endpoint, true, clock_us());
	if (reply->error == NULL && reply->status == 0)
		reply->error = "the reply has no HTTP status";
	if (reply->error == NULL &&
		curl_easy_getinfo(transfer->easy, CURLINFO_ACTIVESOCKET, &connection) == CURLE_OK &&
		connection != CURL_SOCKET_BAD)
	{
		transfer->connection = connection;
		transfer->connection_number = sockets_number(transfer->opener.sockets, connection);
	}
}

/* A buffer that is larger than what an ordinary reply needs is not kept. */
#define KEPT_CAPACITY 4096

/* Reset a transfer for the next request. */
void
transfer_clear(Transfer *transfer)
{
	if (transfer->capacity > KEPT_CAPACITY)
	{
		free(transfer->buffer);
		transfer->buffer = NULL;
		transfer->capacity = 0;
	}
	if (transfer->form)
	{
		explicit_bzero(transfer->form, transfer->form_size);
		free(transfer->form);
	}
	if (CURL_KEEPS_REQUEST)
		drop_handle(transfer);
	if (transfer->opener.scout)
		sockets_scout_answered(&transfer->opener, false);
	transfer->form = NULL;
	transfer->form_size = 0;
	transfer->opener.begun = transfer->opener.opened = false;
	transfer->repeated = transfer->tls_begun = false;
	transfer->header_size = 0;
	transfer->too_large = false;
	transfer->error[0] = '\0';
	memset(&transfer->reply, 0, sizeof(HttpReply));
	transfer->reply.body = transfer->buffer;
	transfer->reply.retry_after = -1;
	transfer->connection_number = 0;
}

/* libcurl finds it closed before it would use it again. */
void
http_distrust(const HttpReply *reply)
{
	const Transfer *transfer = (const Transfer *) reply;

	sockets_distrust(transfer->opener.sockets, transfer->connection, transfer->connection_number);
}

const char *
http_phase_name(HttpPhase phase)
{
	static const char *const names[] = {
		"resolve", "connect", "tls", "send", "wait", "receive", "done"
	};

	return names[phase];
}
