/*
 * http.c
 *		Many POST requests at once over libcurl, and the one place to wait.
 *
 * The sockets that libcurl waits for are gathered in an epoll descriptor, which
 * is waited on together with the process latch and the postmaster's death.
 *
 * libcurl looks at its own time limit before it looks at the socket.  A process
 * that was held up by its database would so discard replies that have long
 * arrived.  The limit of the whole request is therefore kept here, and looked
 * at after the sockets.
 */
#include "postgres.h"

#include <curl/curl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>

#include "lib/ilist.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#include "compat.h"
#include "net/http.h"
#include "net/sockets.h"
#include "net/transfer.h"

/* Sockets looked at in one go, and how often without a pause. */
#define READY 64
#define MAX_PASSES 32

struct Http
{
	CURLM	   *multi;
	Sockets		sockets;
	WaitEventSet *events;
	int64		timer;			/* when libcurl wants to be called; -1: never */
	int64		deadline;		/* no request under way times out before */
	dlist_head	free;
	dlist_head	starting;		/* submitted, not known to libcurl yet */
	dlist_head	active;
	dlist_head	done;			/* finished, not fetched yet */
	dlist_head	held;			/* fetched, not released yet */
	int			nfree;
	int			ntransfers;
};

/* libcurl wants to be called after some time, or no longer. */
static int
on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	Http	   *http = arg;

	http->timer = timeout_ms < 0 ? -1 : clock_us() + (int64) timeout_ms * 1000;
	return 0;
}

/*
 * libcurl copies what it sends, the secrets with it, so what it frees is
 * overwritten first.
 */
static void
wiped_free(void *memory)
{
	if (memory == NULL)
		return;
	explicit_bzero(memory, malloc_usable_size(memory));
	free(memory);
}

/* Change the size, leaving nothing behind where the memory moves. */
static void *
wiped_realloc(void *memory, size_t size)
{
	void	   *moved = malloc(size);

	if (moved == NULL || memory == NULL)
		return moved;
	memcpy(moved, memory, Min(size, malloc_usable_size(memory)));
	wiped_free(memory);
	return moved;
}

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
	http->deadline = PG_INT64_MAX;
	dlist_init(&http->free);
	dlist_init(&http->starting);
	dlist_init(&http->active);
	dlist_init(&http->done);
	dlist_init(&http->held);

	ReserveExternalFD();
	if (!sockets_open(&http->sockets))
		open_failed(http, strerror(errno));

	http->multi = curl_multi_init();
	if (http->multi == NULL)
		open_failed(http, "out of memory");
	sockets_follow(&http->sockets, http->multi);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_PIPELINING, (long) CURLPIPE_NOTHING);

	http->events = create_wait_event_set(TopMemoryContext, 3);
	AddWaitEventToSet(http->events, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(http->events, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(http->events, WL_SOCKET_READABLE, http->sockets.epoll, NULL, NULL);
	return http;
}

/* Free a list of transfers, and give their descriptors back. */
static void
destroy_all(dlist_head *transfers)
{
	while (!dlist_is_empty(transfers))
	{
		transfer_destroy(dlist_container(Transfer, node, dlist_pop_head_node(transfers)));
		ReleaseExternalFD();
	}
}

void
http_close(Http *http)
{
	dlist_iter	iter;

	dlist_foreach(iter, &http->active)
		curl_multi_remove_handle(http->multi, dlist_container(Transfer, node, iter.cur)->easy);
	destroy_all(&http->starting);
	destroy_all(&http->active);
	destroy_all(&http->done);
	destroy_all(&http->held);
	destroy_all(&http->free);
	if (http->multi)
		curl_multi_cleanup(http->multi);
	if (http->events)
		FreeWaitEventSet(http->events);
	sockets_close(&http->sockets);
	ReleaseExternalFD();
	pfree(http);
}

/* A new transfer, with a descriptor set aside; NULL if there is none to be had. */
static Transfer *
create(void)
{
	Transfer   *transfer;

	if (!AcquireExternalFD())
		return NULL;
	transfer = transfer_create();
	if (transfer == NULL)
		ReleaseExternalFD();
	return transfer;
}

int
http_reserve(Http *http, int wanted)
{
	int			before = http->ntransfers;

	while (http->nfree < wanted)
	{
		Transfer   *transfer = create();

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

/* Put a transfer that is over among the finished ones. */
static void
move_to_done(Http *http, Transfer *transfer)
{
	dlist_delete(&transfer->node);
	dlist_push_tail(&http->done, &transfer->node);
}

/* End a transfer that never got to libcurl. */
static void
fail(Http *http, Transfer *transfer, const char *problem)
{
	transfer->reply.phase = HTTP_RESOLVE;
	transfer->reply.error = problem;
	move_to_done(http, transfer);
}

/* End a transfer that libcurl knows. */
static void
http_finish(Http *http, Transfer *transfer, CURLcode code, const char *error)
{
	transfer_end(transfer, code, error);
	curl_multi_remove_handle(http->multi, transfer->easy);
	move_to_done(http, transfer);

	/* Nothing is left that could time out: do not wake for it. */
	if (dlist_is_empty(&http->active))
		http->deadline = PG_INT64_MAX;
}

void
http_submit(Http *http, const HttpRequest *request)
{
	Transfer   *transfer = dlist_container(Transfer, node, dlist_pop_head_node(&http->free));
	const char *problem;

	http->nfree--;
	dlist_push_tail(&http->starting, &transfer->node);
	problem = transfer_begin(transfer, &http->sockets, request);
	if (problem)
		fail(http, transfer, problem);
}

/* Hand what was submitted over to libcurl. */
static void
start(Http *http)
{
	while (!dlist_is_empty(&http->starting))
	{
		Transfer   *transfer = dlist_head_element(Transfer, node, &http->starting);

		if (curl_multi_add_handle(http->multi, transfer->easy) != CURLM_OK)
		{
			fail(http, transfer, "out of memory");
			continue;
		}
		dlist_delete(&transfer->node);
		dlist_push_tail(&http->active, &transfer->node);
		http->deadline = Min(http->deadline, transfer->deadline);
	}
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
		http_finish(http, transfer, message->data.result, NULL);
	}
}

/* End the requests whose time is over. */
static void
time_out(Http *http)
{
	int64		now = clock_us();
	dlist_mutable_iter iter;

	if (now < http->deadline)
		return;
	http->deadline = PG_INT64_MAX;
	dlist_foreach_modify(iter, &http->active)
	{
		Transfer   *transfer = dlist_container(Transfer, node, iter.cur);

		if (now >= transfer->deadline)
			http_finish(http, transfer, CURLE_OPERATION_TIMEDOUT, "the request timed out");
		else
			http->deadline = Min(http->deadline, transfer->deadline);
	}
}

/*
 * Have libcurl take all that has come: after a long pause that may be more than
 * it reads in one go.
 */
static void
http_take(Http *http)
{
	ReadySocket ready[READY];
	int			running;
	bool		more = true;

	for (int pass = 0; more && pass < MAX_PASSES; pass++)
	{
		int			n = sockets_ready(&http->sockets, ready, READY, &more);

		for (int i = 0; i < n; i++)
			curl_multi_socket_action(http->multi, ready[i].fd, ready[i].what, &running);
	}
}

/* Let libcurl do what can be done without waiting. */
static void
run(Http *http)
{
	sigset_t	saved;
	int			running;

	block_signals(&saved);

	/* What has come is taken before a look at the clock. */
	http_take(http);

	/*
	 * A libcurl that may not look whether a connection is dead before it uses it
	 * again is told to keep none.
	 */
	sockets_retire(&http->sockets);
	if (http->sockets.retired)
		curl_close_idle(http->multi);
	http->sockets.retired = false;

	start(http);
	if (http->timer >= 0 && clock_us() >= http->timer)
	{
		http->timer = -1;
		curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);

		/* Replies that came while it was sending can share the next commit. */
		http_take(http);
	}
	gather(http);
	time_out(http);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);

	if (http->sockets.failed)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not wait for a socket: %s", strerror(http->sockets.failed))));
}

/* The milliseconds until something has to be looked at; -1: nothing has. */
static long
next_timer_ms(Http *http, int64 timeout)
{
	int64		now = clock_us();
	int64		next = timeout < 0 ? PG_INT64_MAX : now + timeout;

	if (!dlist_is_empty(&http->done) || !dlist_is_empty(&http->starting))
		return 0;
	if (http->timer >= 0)
		next = Min(next, http->timer);
	next = Min(next, Min(http->deadline, http->sockets.retire_at));

	if (next == PG_INT64_MAX)
		return -1;
	return (long) Min((Max(next - now, 0) + 999) / 1000, PG_INT32_MAX);
}

void
http_wait(Http *http, int64 timeout, uint32 wait_event)
{
	WaitEvent	event;

	if (WaitEventSetWait(http->events, next_timer_ms(http, timeout), &event, 1, wait_event) > 0 &&
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

	transfer_clear(transfer);
	dlist_delete(&transfer->node);
	dlist_push_head(&http->free, &transfer->node);
	http->nfree++;
}

void
http_abort_all(Http *http, const char *reason)
{
	dlist_mutable_iter iter;
	sigset_t	saved;

	while (!dlist_is_empty(&http->starting))
		fail(http, dlist_head_element(Transfer, node, &http->starting), reason);
	block_signals(&saved);
	gather(http);
	dlist_foreach_modify(iter, &http->active)
		http_finish(http, dlist_container(Transfer, node, iter.cur), CURLE_ABORTED_BY_CALLBACK, reason);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
}

const char *
http_phase_name(HttpPhase phase)
{
	static const char *const names[] = {
		"resolve", "connect", "tls", "send", "wait", "receive", "done"
	};

	return names[phase];
}
