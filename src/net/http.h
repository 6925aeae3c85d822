/*
 * http.h
 *		Many POST requests at once, and the one place to wait.
 *
 * Knows nothing of SMS.  Durations are in microseconds.
 */
#ifndef SMS3300_NET_HTTP_H
#define SMS3300_NET_HTTP_H

/* What is kept of a reply's body, and the most that is read of its header. */
#define HTTP_MAX_BODY (64 * 1024)
#define HTTP_MAX_HEADER (64 * 1024)

typedef struct Http Http;

/* How far a request got before it ended. */
typedef enum HttpPhase
{
	HTTP_RESOLVE,
	HTTP_CONNECT,
	HTTP_TLS,
	HTTP_SEND,
	HTTP_WAIT,					/* all sent, nothing received */
	HTTP_RECEIVE,
	HTTP_DONE					/* the reply came whole */
} HttpPhase;

typedef struct HttpRequest
{
	const char *url;
	const char *ca_file;		/* NULL: the system's */
	int64		keep_idle;		/* a connection idle for longer is not used; below 0: as learnt */
	char	   *body;			/* a form; malloc'ed, passed on with the request */
	size_t		body_size;
	int64		timeout;		/* of the whole request */
	int64		connect_timeout;
	void	   *owner;			/* the caller's */
} HttpRequest;

typedef struct HttpReply
{
	void	   *owner;			/* the request's */
	HttpPhase	phase;
	bool		request_left;	/* the body was handed over whole */
	int			status;			/* the HTTP status; 0: none came */
	int64		retry_after;	/* -1: the reply does not say */
	const char *form;			/* the request's body */
	size_t		form_size;
	const char *body;			/* what came of it; not terminated */
	size_t		body_size;
	const char *error;			/* NULL if the reply came whole */
} HttpReply;

/* Start; raises 58000 if libcurl or a system call fails. */
extern Http *http_open(void);

/* Stop, and drop the active requests. */
extern void http_close(Http *http);

/*
 * Make room for more requests of an account that has "held" active ones, while
 * "taken" places are promised already.  Return for how many there is room.  If
 * descriptors are scarce, some are left to other accounts.
 */
extern int	http_reserve(Http *http, int held, int taken, int wanted);

/* Start a request.  There must be room for it. */
extern void http_submit(Http *http, const HttpRequest *request);

/* Wait for the process latch, the network, a step of the wall clock or the time-out (-1: none). */
extern void http_wait(Http *http, int64 timeout, uint32 wait_event);

/* Return the next finished request, or NULL.  The caller releases it. */
extern const HttpReply *http_next(Http *http);
extern void http_release(Http *http, const HttpReply *reply);

/* Use the connection that a reply came on no more. */
extern void http_distrust(const HttpReply *reply);

/* End all active requests at once, as if they had timed out. */
extern void http_abort_all(Http *http, const char *reason);

extern const char *http_phase_name(HttpPhase phase);

#endif							/* SMS3300_NET_HTTP_H */
