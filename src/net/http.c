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
 *
 * A look at the network is bounded: handshakes take long, and the process has
 * its latch and its barriers to look at.
 *
 * A name is looked up by one request at a time, and the others for the same
 * server wait for what it finds: each lookup takes a thread and descriptors.
 */
#include "postgres.h"

#include <curl/curl.h>
#include <pthread.h>
#include <unistd.h>

#include "lib/ilist.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#include "compat.h"
#include "net/endpoint.h"
#include "net/http.h"
#include "net/libcurl.h"
#include "net/sockets.h"
#include "net/transfer.h"
#include "shared/clock.h"

/* The most ready sockets, and new requests, that are handled between looks at the clock. */
#define READY 64
#define BEGIN 8
/* A pass over the network ends after this time. */
#define LOOK_US (10 * 1000)

/* For each SHARE requests of an account, one place stays free for others. */
#define SHARE 4

/* libcurl caches an address for a minute. */
#define ADDRESS_US (55 * INT64CONST(1000000))

/* A reused connection shows no lookup; lookups are then not serialized for this long. */
#define UNUSED_ADDRESS_US INT64CONST(1000000)

struct Http
{
	CURLM	   *multi;
	CURLSH	   *sessions;		/* of TLS */
	Endpoints	endpoints;
	Sockets		sockets;
	int64		looked_at;		/* when the last look at the network began */
	bool		cut_short;		/* it did not see everything */
	WaitEventSet *events;
	int			clock_watch;	/* see clock.h */
	int64		timer;			/* when libcurl wants to be called; -1: never */
	int64		deadline;		/* no request under way times out before */
	dlist_head	free;
	dlist_head	starting;		/* submitted, not known to libcurl yet; others wait at their endpoint */
	dlist_head	active;
	dlist_head	done;			/* finished, not fetched yet */
	dlist_head	held;			/* fetched, not released yet */
	int			nfree;
	int			nlookups;		/* active ones that look a name up, and abandoned ones */
	int			nabandoned;
	int			ntransfers;
};

/* Callback: libcurl sets or clears its timer. */
static int
on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	Http	   *http = arg;

	http->timer = timeout_ms < 0 ? -1 : clock_us() + (int64) timeout_ms * 1000;
	return 0;
}

/* Clean up and raise an error after a failed start. */
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
	Http	   *http;

	libcurl_start();
	http = MemoryContextAllocZero(TopMemoryContext, sizeof(Http));
	http->timer = -1;
	http->deadline = PG_INT64_MAX;
	dlist_init(&http->free);
	dlist_init(&http->starting);
	dlist_init(&http->active);
	dlist_init(&http->done);
	dlist_init(&http->held);

	ReserveExternalFD();
	lookup_reserve();
	http->clock_watch = clock_watch_open();
	endpoints_open(&http->endpoints);
	if (!sockets_open(&http->sockets) || http->clock_watch < 0)
		open_failed(http, strerror(errno));

	http->multi = curl_multi_init();
	http->sessions = curl_share_init();
	if (http->multi == NULL || http->sessions == NULL ||
		curl_share_setopt(http->sessions, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) != CURLSHE_OK)
		open_failed(http, "out of memory");
	sockets_follow(&http->sockets, http->multi);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_PIPELINING, (long) CURLPIPE_NOTHING);

	http->events = create_wait_event_set(TopMemoryContext, 4);
	AddWaitEventToSet(http->events, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(http->events, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(http->events, WL_SOCKET_READABLE, http->sockets.epoll, NULL, NULL);
	AddWaitEventToSet(http->events, WL_SOCKET_READABLE, http->clock_watch, NULL, NULL);
	return http;
}

/* Free a list of transfers. */
static void
destroy_all(dlist_head *transfers)
{
	while (!dlist_is_empty(transfers))
		transfer_destroy(dlist_container(Transfer, node, dlist_pop_head_node(transfers)));
}

void
http_close(Http *http)
{
	http_abort_all(http, "it was abandoned");
	destroy_all(&http->done);
	destroy_all(&http->held);
	destroy_all(&http->free);

	/* libcurl would wait for lookups: what they need is left to the process's end. */
	if (http->multi && http->nabandoned == 0)
		curl_multi_cleanup(http->multi);
	if (http->sessions)
		curl_share_cleanup(http->sessions);
	if (http->events)
		FreeWaitEventSet(http->events);
	if (http->clock_watch >= 0)
		close(http->clock_watch);
	sockets_close(&http->sockets);
	endpoints_close(&http->endpoints);
	ReleaseExternalFD();
	lookup_release_all(http->nlookups);
	pfree(http);
}

/* Create transfers until so many are free, or no descriptors are left. */
static void
provide(Http *http, int wanted)
{
	int			before = http->ntransfers;

	while (http->nfree < wanted)
	{
		Transfer   *transfer = transfer_create(&http->sockets, http->sessions);

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
}

/*
 * An account may have at most SHARE times as many requests as places stay free.
 * So a slow account cannot take all places, a new one finds room at once, and the
 * rule limits nobody while descriptors are plentiful.
 */
int
http_reserve(Http *http, int held, int taken, int wanted)
{
	int			left;

	provide(http, taken + wanted + (held + wanted) / SHARE + 1);
	left = http->nfree - taken;
	if (left <= 0)
		return 0;
	return Min(wanted, Max((SHARE * left - held) / (SHARE + 1), held == 0 ? 1 : 0));
}

/* Move a transfer to the finished ones. */
static void
move_to_done(Http *http, Transfer *transfer)
{
	if (transfer->opener.scout)
		sockets_scout_answered(&transfer->opener, transfer->reply.phase == HTTP_DONE);
	dlist_delete(&transfer->node);
	dlist_push_tail(&http->done, &transfer->node);
}

/* End a transfer that was never passed to libcurl. */
static void
fail(Http *http, Transfer *transfer, const char *problem)
{
	transfer->reply.phase = HTTP_RESOLVE;
	transfer->reply.error = problem;
	move_to_done(http, transfer);
}

/*
 * End a lookup: the transfer has an address, or has failed.  Start the transfers
 * that wait for the address, or fail them with the same error.
 */
static void
end_lookup(Http *http, Transfer *transfer, const char *error)
{
	Endpoint   *endpoint = transfer->opener.endpoint;

	transfer->looks_up = endpoint->looking_up = false;
	if (error == NULL)
		endpoint->known_until = transfer->opener.opened ?
			transfer->begun_at + ADDRESS_US : clock_us() + UNUSED_ADDRESS_US;

	while (!dlist_is_empty(&endpoint->waiting))
	{
		Transfer   *waiting = dlist_container(Transfer, node, dlist_pop_head_node(&endpoint->waiting));

		dlist_push_tail(&http->starting, &waiting->node);
		if (error == NULL)
			continue;
		strlcpy(waiting->problem, error, sizeof(waiting->problem));
		fail(http, waiting, waiting->problem);
	}
	http->cut_short = true;		/* others may have waited for its descriptors */
}

/* End the lookups that have returned an address. */
static void
check_lookups(Http *http)
{
	dlist_iter	iter;

	if (http->nlookups == 0)
		return;
	dlist_foreach(iter, &http->active)
	{
		Transfer   *transfer = dlist_container(Transfer, node, iter.cur);

		if (transfer->looks_up && transfer_knows_address(transfer))
		{
			end_lookup(http, transfer, NULL);
			lookup_release(&http->nlookups);
		}
	}
}

/* End a transfer that was passed to libcurl. */
static void
http_finish(Http *http, Transfer *transfer, CURLcode code, const char *error)
{
	bool		looks_up = transfer->looks_up;
	bool		lost = looks_up && !transfer_knows_address(transfer);

	transfer_end(transfer, code, error);
	if (looks_up)
		end_lookup(http, transfer, lost ? transfer->reply.error : NULL);

	/* Where libcurl would wait for the lookup, it is left to itself. */
	if (CURL_JOINS_RESOLVER && lost && error)
	{
		transfer_abandon(transfer);
		http->nabandoned++;
	}
	else
	{
		curl_multi_remove_handle(http->multi, transfer->easy);
		if (looks_up)
			lookup_release(&http->nlookups);
	}
	move_to_done(http, transfer);

	/* Nothing is left that could time out: do not wake for it. */
	if (dlist_is_empty(&http->active))
		http->deadline = PG_INT64_MAX;
}

void
http_submit(Http *http, const HttpRequest *request)
{
	Transfer   *transfer = dlist_container(Transfer, node, dlist_pop_head_node(&http->free));
	Endpoint   *endpoint = endpoint_find(&http->endpoints, request->url, request->ca_file);
	const char *problem;

	http->nfree--;
	http->cut_short = true;		/* to begin it at once */
	dlist_push_tail(&http->starting, &transfer->node);
	transfer->opener.endpoint = endpoint;
	if (endpoint && endpoint_tell(endpoint, request->keep_idle))
		http->sockets.retire_at = 0;
	problem = transfer_begin(transfer, request, http->looked_at);
	if (problem)
		fail(http, transfer, problem);
}

/* Pass a transfer to libcurl. */
static void
hand_over(Http *http, Transfer *transfer)
{
	if (curl_multi_add_handle(http->multi, transfer->easy) != CURLM_OK)
	{
		if (transfer->looks_up)
		{
			end_lookup(http, transfer, "out of memory");
			lookup_release(&http->nlookups);
		}
		fail(http, transfer, "out of memory");
		return;
	}
	dlist_delete(&transfer->node);
	dlist_push_tail(&http->active, &transfer->node);
	http->deadline = Min(http->deadline, transfer_time_limit(transfer));
}

/*
 * Pass at most BEGIN submitted transfers to libcurl, and return how many.  Set
 * those aside that wait for another one's lookup.
 */
static int
hand_over_some(Http *http)
{
	dlist_mutable_iter iter;
	int			n = 0;

	dlist_foreach_modify(iter, &http->starting)
	{
		Transfer   *transfer = dlist_container(Transfer, node, iter.cur);
		Endpoint   *endpoint = transfer->opener.endpoint;

		if (!endpoint->numeric && clock_us() >= endpoint->known_until)
		{
			if (endpoint->looking_up)
			{
				dlist_delete(&transfer->node);
				dlist_push_tail(&endpoint->waiting, &transfer->node);
				continue;
			}
			if (!lookup_acquire(&http->nlookups))
				continue;
			transfer_look_up(transfer);
			endpoint->looking_up = true;
		}
		hand_over(http, transfer);
		if (++n == BEGIN)
			break;
	}
	return n;
}

/* Return whether this pass has used up its time, and note that work is left. */
static bool
is_over(Http *http)
{
	if (clock_us() - http->looked_at <= LOOK_US)
		return false;
	return http->cut_short = true;
}

/* Run libcurl's timer if it has expired. */
static void
act_on_timer(Http *http)
{
	int			running;

	if (http->timer < 0 || clock_us() < http->timer)
		return;
	http->timer = -1;
	curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
}

/* Start the submitted transfers. */
static void
start(Http *http)
{
	do
	{
		if (hand_over_some(http) == 0)
			return;
		act_on_timer(http);
		check_lookups(http);
	} while (!is_over(http));
}

/* Clean up after an abandoned lookup that has ended. */
static void
end_abandoned(Http *http, CURL *easy)
{
	curl_multi_remove_handle(http->multi, easy);
	curl_easy_cleanup(easy);
	http->nabandoned--;
	lookup_release(&http->nlookups);
}

/* Collect the transfers that libcurl has finished. */
static void
gather(Http *http)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(http->multi, &left)) != NULL)
	{
		Transfer   *transfer;

		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &transfer);
		if (transfer)
			http_finish(http, transfer, message->data.result, NULL);
		else
			end_abandoned(http, message->easy_handle);
	}
}

/* End the requests that have timed out. */
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
		else if (now >= transfer_time_limit(transfer))
			http_finish(http, transfer, CURLE_OPERATION_TIMEDOUT, "connecting timed out");
		else
			http->deadline = Min(http->deadline, transfer_time_limit(transfer));
	}
}

/*
 * Let libcurl handle all ready sockets; after a long pause that takes several calls.
 * Return false if time ran out before that.
 */
static bool
http_take(Http *http)
{
	ReadySocket ready[READY];
	int			running;
	bool		more = true;

	while (more)
	{
		int			n = sockets_ready(&http->sockets, ready, READY, &more);

		for (int i = 0; i < n; i++)
		{
			curl_multi_socket_action(http->multi, ready[i].fd, ready[i].what, &running);
			if (is_over(http))
				return false;
		}
	}
	return true;
}

/* Do one pass: everything that can be done without waiting, within LOOK_US. */
static void
run(Http *http)
{
	sigset_t	saved;
	bool		all;

	libcurl_block_signals(&saved);
	http->looked_at = clock_us();
	http->cut_short = false;

	/* What has come is taken before a look at the clock. */
	all = http_take(http);

	/*
	 * A libcurl that may not look whether a connection is dead before it uses it
	 * again is told to keep none.
	 */
	if (sockets_retire(&http->sockets))
		curl_close_idle(http->multi);

	act_on_timer(http);
	check_lookups(http);
	start(http);

	/* Replies that came while it was sending can share the next commit. */
	all = all && http_take(http);
	check_lookups(http);
	gather(http);
	if (all)
		time_out(http);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);

	if (http->sockets.failed)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not wait for a socket: %s", strerror(http->sockets.failed))));
}

/* Return the milliseconds until the next timer, or -1 if there is none. */
static long
next_timer_ms(Http *http, int64 timeout)
{
	int64		now = clock_us();
	int64		next = timeout < 0 ? PG_INT64_MAX : now + timeout;

	if (!dlist_is_empty(&http->done) || http->cut_short)
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

	if (WaitEventSetWait(http->events, next_timer_ms(http, timeout), &event, 1, wait_event) > 0)
	{
		if (event.events & WL_LATCH_SET)
			ResetLatch(MyLatch);
		else if (event.fd == http->clock_watch)
			clock_watch_reset(http->clock_watch);
	}
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

	libcurl_block_signals(&saved);
	gather(http);
	dlist_foreach_modify(iter, &http->active)
		http_finish(http, dlist_container(Transfer, node, iter.cur), CURLE_ABORTED_BY_CALLBACK, reason);

	/* What waited for an address is among them by now. */
	while (!dlist_is_empty(&http->starting))
		fail(http, dlist_head_element(Transfer, node, &http->starting), reason);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
}
