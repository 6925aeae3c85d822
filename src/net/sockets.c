/*
 * sockets.c
 *		The sockets that libcurl waits for, in one epoll descriptor.
 *
 * libcurl says through its callbacks what it waits for.  A connection that it
 * keeps for later stays in epoll, so that the next request on it needs no
 * system call for that, and a close by the other end is heard of.
 *
 * No callback calls libcurl or PostgreSQL, raises an error or allocates with
 * palloc: a longjmp through libcurl would leave it unusable.
 */
#include "postgres.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "storage/fd.h"

#include "net/sockets.h"
#include "shared/clock.h"

/* The most scouts at the same time; see endpoint.c. */
#define MAX_SCOUTS 8

/* Events taken from the kernel in one go. */
#define EVENTS 64

/* Return the connection of a descriptor, or NULL if it is not a connection. */
static Connection *
find(Sockets *sockets, int fd)
{
	Connection *connection = fd < sockets->nconnections ? &sockets->connections[fd] : NULL;

	return connection && (connection->open || connection->alone) ? connection : NULL;
}

/* Make room for a descriptor.  Return false if memory runs out. */
static bool
make_room(Sockets *sockets, int fd)
{
	int			n = fd + 64;
	Connection *larger;

	if (fd < sockets->nconnections)
		return true;
	larger = realloc(sockets->connections, n * sizeof(Connection));
	if (larger == NULL)
		return false;
	memset(larger + sockets->nconnections, 0, (n - sockets->nconnections) * sizeof(Connection));
	sockets->connections = larger;
	sockets->nconnections = n;
	return true;
}

/* Set the events that epoll watches a descriptor for; 0 removes it. */
static void
watch(Sockets *sockets, int fd, uint32 events)
{
	Connection *connection = find(sockets, fd);
	struct epoll_event event = {.events = events,.data.fd = fd};
	int			result;

	if (connection && connection->events == events)
		return;
	if (events == 0)
	{
		epoll_ctl(sockets->epoll, EPOLL_CTL_DEL, fd, &event);
		result = 0;
	}
	else if (connection)
		result = epoll_ctl(sockets->epoll, connection->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD,
						   fd, &event);
	else
		result = epoll_ctl(sockets->epoll, EPOLL_CTL_MOD, fd, &event) == 0 ? 0 :
			epoll_ctl(sockets->epoll, EPOLL_CTL_ADD, fd, &event);
	if (connection)
		connection->events = events;
	if (result != 0)
		sockets->failed = errno;
}

/*
 * libcurl opens a connection.  Without a place to note when it gets idle it
 * could not be kept, so none is opened.
 */
static curl_socket_t
on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	Opener	   *opener = arg;
	Sockets    *sockets = opener->sockets;
	int			fd = opener->abandoned ? -1 :
		socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);

	if (fd < 0)
		return CURL_SOCKET_BAD;
	if (!make_room(sockets, fd))
	{
		close(fd);
		return CURL_SOCKET_BAD;
	}

	/*
	 * What is not delivered when the connection is closed, or this process ends, is
	 * dropped.  The kernel would repeat it for minutes: the request would arrive long
	 * after the message has become unknown, and perhaps been sent again.
	 */
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger) {.l_onoff = 1}, sizeof(struct linger));
	sockets->connections[fd] = (Connection) {.open = true,.number = ++sockets->nopened,
	.endpoint = opener->endpoint,.scout = opener->scout ? opener : NULL};
	opener->opened = true;
	return fd;
}

/* Start to watch a scout's idle connection. */
static void
leave_alone(Sockets *sockets, int fd, Connection *connection)
{
	int64		now = clock_us();

	connection->idle_since = now;
	endpoint_scout_idle(connection->endpoint, now);
	sockets->retire_at = Min(sockets->retire_at, now + ENDPOINT_SCOUT_TIME);
	watch(sockets, fd, EPOLLIN | EPOLLRDHUP);
}

/* End a scout and release its descriptor. */
static void
end_scout(Sockets *sockets, Endpoint *endpoint)
{
	endpoint_scout_end(endpoint, clock_us());
	sockets->nscouts--;
	ReleaseExternalFD();
}

/* Close a scout's connection. */
static void
close_alone(int fd, Connection *connection)
{
	close(fd);
	*connection = (Connection) {.open = false};
}

/*
 * libcurl closes a socket.  One that has carried a scout's request is kept here,
 * until it is known that it was answered, and from then on is left idle.
 */
static int
on_close(void *arg, curl_socket_t fd)
{
	Sockets    *sockets = arg;
	Connection *connection = find(sockets, fd);

	if (connection == NULL)
		return close(fd);
	connection->open = connection->idle = false;
	connection->alone = connection->answered || (connection->scout && connection->scout->begun);
	if (!connection->alone)
		return close(fd);
	watch(sockets, fd, 0);
	if (connection->answered)
		leave_alone(sockets, fd, connection);
	return 0;
}

/* Callback: libcurl starts or stops waiting for a socket. */
static int
on_wait(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	Sockets    *sockets = arg;
	Connection *connection = find(sockets, fd);
	uint32		events = 0;

	if (what != CURL_POLL_REMOVE)
	{
		if (what & CURL_POLL_IN)
			events |= EPOLLIN;
		if (what & CURL_POLL_OUT)
			events |= EPOLLOUT;
	}

	if (connection)
	{
		/* One that nobody waits for is idle, or about to be closed as a scout's is. */
		connection->idle = what == CURL_POLL_REMOVE && !connection->scout && !connection->answered;
		if (connection->idle)
		{
			int64		now = clock_us();

			connection->idle_since = now;
			sockets->retire_at = Min(sockets->retire_at,
									 now + endpoint_keep_idle(connection->endpoint, now));
			if (connection->events == EPOLLIN)
				return 0;
		}
	}
	watch(sockets, fd, events);
	return 0;
}

/* Start.  Return false, with errno set, if a system call fails. */
bool
sockets_open(Sockets *sockets)
{
	memset(sockets, 0, sizeof(Sockets));
	sockets->retire_at = PG_INT64_MAX;
	ReserveExternalFD();
	sockets->epoll = epoll_create1(EPOLL_CLOEXEC);
	return sockets->epoll >= 0;
}

/* Stop, after libcurl has closed its connections. */
void
sockets_close(Sockets *sockets)
{
	for (int fd = 0; fd < sockets->nconnections; fd++)
		if (sockets->connections[fd].alone)
			close(fd);
	for (; sockets->nscouts > 0; sockets->nscouts--)
		ReleaseExternalFD();
	if (sockets->epoll >= 0)
		close(sockets->epoll);
	ReleaseExternalFD();
	free(sockets->connections);
}

/* Set the callbacks of a multi handle. */
void
sockets_follow(Sockets *sockets, CURLM *multi)
{
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_wait);
	curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, sockets);
}

/* Set the callbacks of an easy handle. */
void
sockets_use(Opener *opener, CURL *easy)
{
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, opener);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, opener->sockets);
}

uint64
sockets_number(Sockets *sockets, int fd)
{
	const Connection *connection = find(sockets, fd);

	return connection && connection->open ? connection->number : 0;
}

void
sockets_distrust(Sockets *sockets, int fd, uint64 number)
{
	if (number != 0 && sockets_number(sockets, fd) == number)
		(void) shutdown(fd, SHUT_RDWR);
}

/* Make an opener's connection a scout if one is wanted and there is room.  Return whether it is. */
bool
sockets_send_scout(Opener *opener)
{
	Sockets    *sockets = opener->sockets;

	if (sockets->nscouts == MAX_SCOUTS || !endpoint_wants_scout(opener->endpoint, clock_us()) ||
		!AcquireExternalFD())
		return false;
	sockets->nscouts++;
	endpoint_scout_begin(opener->endpoint);
	opener->scout = true;
	return true;
}

/* Note that a scout's request has ended.  Without a reply its connection is not watched. */
void
sockets_scout_answered(Opener *opener, bool answered)
{
	Sockets    *sockets = opener->sockets;
	bool		found = false;

	opener->scout = false;
	for (int fd = 0; fd < sockets->nconnections; fd++)
	{
		Connection *connection = find(sockets, fd);

		if (connection == NULL || connection->scout != opener)
			continue;
		connection->scout = NULL;
		connection->answered = answered && !found;
		if (connection->alone && connection->answered)
			leave_alone(sockets, fd, connection);
		else if (connection->alone)
			close_alone(fd, connection);
		found |= answered;
	}
	if (!found)
		end_scout(sockets, opener->endpoint);
}

/* Return whether the peer has closed a connection, even if there is data to read. */
static bool
has_ended(int fd)
{
	struct tcp_info info;
	socklen_t	size = sizeof(info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 ||
		info.tcpi_state != TCP_ESTABLISHED;
}

/* Shut down an idle connection, so that libcurl finds it dead; only libcurl may close it. */
static void
retire(Sockets *sockets, int fd, Connection *connection)
{
	watch(sockets, fd, 0);
	shutdown(fd, SHUT_RDWR);
	connection->idle = false;
	sockets->retired = true;
}

/*
 * Handle an event on an idle connection: the peer closed it, or sent unexpected
 * data.  In the latter case a scout stays open, as libcurl does not use it.
 */
static void
hear(Sockets *sockets, int fd, Connection *connection)
{
	Endpoint   *endpoint = connection->endpoint;
	bool		ended = has_ended(fd);
	char		bytes[1024];

	if (connection->idle)
	{
		int64		now = clock_us();

		if (ended)
		{
			endpoint_ended(endpoint, now - connection->idle_since, now);
			sockets->retire_at = now;
		}
		retire(sockets, fd, connection);
	}
	else if (ended)
	{
		close_alone(fd, connection);
		end_scout(sockets, endpoint);
	}
	else
		(void) recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
}

/*
 * Find ready sockets without waiting.  Return how many, and whether there may be
 * more.
 */
int
sockets_ready(Sockets *sockets, ReadySocket *ready, int max, bool *more)
{
	struct epoll_event events[EVENTS];
	int			n = epoll_wait(sockets->epoll, events, Min(max, EVENTS), 0);
	int			nready = 0;

	*more = n > 0;
	for (int i = 0; i < n; i++)
	{
		int			fd = events[i].data.fd;
		Connection *connection = find(sockets, fd);
		int			what = 0;

		if (connection && (connection->idle || connection->alone))
		{
			hear(sockets, fd, connection);
			continue;
		}
		if (events[i].events & (EPOLLIN | EPOLLHUP))
			what |= CURL_CSELECT_IN;
		if (events[i].events & EPOLLOUT)
			what |= CURL_CSELECT_OUT;
		if (events[i].events & EPOLLERR)
			what |= CURL_CSELECT_ERR;
		ready[nready++] = (ReadySocket) {fd, what};
	}
	return nready;
}

/* Shut down connections that have been idle for too long. */
static void
retire_idle(Sockets *sockets)
{
	int64		now = clock_us();

	if (now < sockets->retire_at)
		return;
	sockets->retire_at = PG_INT64_MAX;
	for (int fd = 0; fd < sockets->nconnections; fd++)
	{
		Connection *connection = find(sockets, fd);
		Endpoint   *endpoint;
		int64		until;

		if (connection == NULL || (!connection->idle && !connection->answered))
			continue;
		endpoint = connection->endpoint;
		until = connection->idle_since +
			(connection->idle ? endpoint_keep_idle(endpoint, now) : ENDPOINT_SCOUT_TIME);
		if (now < until)
			sockets->retire_at = Min(sockets->retire_at, until);
		else if (connection->idle)
			retire(sockets, fd, connection);
		else if (connection->alone)
		{
			close_alone(fd, connection);
			end_scout(sockets, endpoint);
		}
	}
}

/* Do so, and return whether an idle connection was shut down since the last call. */
bool
sockets_retire(Sockets *sockets)
{
	bool		retired;

	retire_idle(sockets);
	retired = sockets->retired;
	sockets->retired = false;
	return retired;
}
