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

#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net/sockets.h"

/*
 * A connection that was idle for longer than this is not used again.  Servers
 * keep idle connections for a second or more; one that closes just as the next
 * request arrives would leave it unknown whether the request was taken.
 */
#define MAX_IDLE_US (500 * 1000)

/* Events taken from the kernel in one go. */
#define EVENTS 64

int64
clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* A connection of ours; NULL if the descriptor is something else. */
static Connection *
find(Sockets *sockets, int fd)
{
	return fd < sockets->nconnections && sockets->connections[fd].open ?
		&sockets->connections[fd] : NULL;
}

/* Make room for a descriptor; false if memory runs out. */
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

/* Have epoll look for events of a descriptor, or no longer; a closed one is gone already. */
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
	Sockets    *sockets = arg;
	int			fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);

	if (fd < 0)
		return CURL_SOCKET_BAD;
	if (!make_room(sockets, fd))
	{
		close(fd);
		return CURL_SOCKET_BAD;
	}
	sockets->connections[fd] = (Connection) {.open = true};
	return fd;
}

/* libcurl closes a socket. */
static int
on_close(void *arg, curl_socket_t fd)
{
	Connection *connection = find(arg, fd);

	if (connection)
		connection->open = false;
	return close(fd);
}

/* libcurl wants to wait for a socket, or no longer. */
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
		/* One that nobody waits for is idle, or about to be closed. */
		connection->idle = what == CURL_POLL_REMOVE;
		if (connection->idle)
		{
			connection->idle_since = clock_us();
			sockets->retire_at = Min(sockets->retire_at, connection->idle_since + MAX_IDLE_US);
			if (connection->events == EPOLLIN)
				return 0;
		}
	}
	watch(sockets, fd, events);
	return 0;
}

/* Begin; false, and errno, if the operating system refuses. */
bool
sockets_open(Sockets *sockets)
{
	memset(sockets, 0, sizeof(Sockets));
	sockets->retire_at = PG_INT64_MAX;
	sockets->epoll = epoll_create1(EPOLL_CLOEXEC);
	return sockets->epoll >= 0;
}

/* End, when libcurl has closed its connections. */
void
sockets_close(Sockets *sockets)
{
	if (sockets->epoll >= 0)
		close(sockets->epoll);
	free(sockets->connections);
}

/* Hear from a multi handle what it waits for. */
void
sockets_follow(Sockets *sockets, CURLM *multi)
{
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_wait);
	curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, sockets);
}

/* Have an easy handle open and close its connections here. */
void
sockets_use(Sockets *sockets, CURL *easy)
{
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, sockets);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, sockets);
}

/* Shut an idle connection down: libcurl alone may close it, but finds it dead from now on. */
static void
retire(Sockets *sockets, int fd, Connection *connection)
{
	watch(sockets, fd, 0);
	shutdown(fd, SHUT_RDWR);
	connection->idle = false;
	sockets->retired = true;
}

/*
 * Find sockets that are ready, without waiting: how many, and whether there
 * may be more.  An idle connection that is ready was closed by the other end,
 * or brings what nobody asked for.
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

		if (connection && connection->idle)
		{
			retire(sockets, fd, connection);
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

/* Shut down the connections that have been idle for too long. */
void
sockets_retire(Sockets *sockets)
{
	int64		now = clock_us();

	if (now < sockets->retire_at)
		return;
	sockets->retire_at = PG_INT64_MAX;
	for (int fd = 0; fd < sockets->nconnections; fd++)
	{
		Connection *connection = find(sockets, fd);

		if (connection == NULL || !connection->idle)
			continue;
		if (now - connection->idle_since >= MAX_IDLE_US)
			retire(sockets, fd, connection);
		else
			sockets->retire_at = Min(sockets->retire_at, connection->idle_since + MAX_IDLE_US);
	}
}
