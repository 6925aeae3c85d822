/*
 * bare.c
 *		A number of POST requests over libcurl with nothing behind it: the limit
 *		of what can be sent by one process.
 *
 *		bare URL CONNECTIONS REQUESTS BODY [CA_FILE]
 *
 * https trusts the file of certificates only, which libcurl then parses once.
 *
 * It waits as libcurl's authors advise for many connections, with epoll, and
 * uses each easy handle again.  It prints the requests that were answered 200,
 * the seconds from the first request to the last reply, and the seconds of CPU
 * time meanwhile.
 */
#include <curl/curl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

#define EVENTS 64

static CURLM *multi;
static int	epoll;
static long timer_ms = -1;

/* libcurl wants to wait for a socket, or no longer. */
static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	struct epoll_event event = {.data.fd = fd};

	if (what == CURL_POLL_REMOVE)
	{
		epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &event);
		return 0;
	}
	if (what & CURL_POLL_IN)
		event.events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		event.events |= EPOLLOUT;
	if (epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) != 0)
		epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	return 0;
}

/* libcurl wants to be called after some time, or no longer. */
static int
on_timer(CURLM *m, long timeout_ms, void *arg)
{
	timer_ms = timeout_ms;
	return 0;
}

/* A reply is not looked at. */
static size_t
on_write(char *data, size_t size, size_t count, void *arg)
{
	return size * count;
}

/* The seconds of a clock. */
static double
seconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

/* Make a handle that posts the body to the URL. */
static CURL *
make_easy(const char *url, const char *body, const char *ca_file)
{
	CURL	   *easy = curl_easy_init();

	if (ca_file)
	{
		curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file);
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	}

	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	return easy;
}

int
main(int argc, char **argv)
{
	bool		right = argc == 5 || argc == 6;
	int			connections = right ? atoi(argv[2]) : 0;
	int			requests = right ? atoi(argv[3]) : 0;
	int			begun = 0;
	int			answered = 0;
	int			ended = 0;
	int			running;
	int			left;
	double		start;
	double		start_cpu;

	if (connections < 1 || requests < connections)
	{
		fprintf(stderr, "usage: %s URL CONNECTIONS REQUESTS BODY [CA_FILE]\n", argv[0]);
		return 2;
	}
	curl_global_init(CURL_GLOBAL_ALL);
	multi = curl_multi_init();
	epoll = epoll_create1(EPOLL_CLOEXEC);
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) connections);

	start = seconds(CLOCK_MONOTONIC);
	start_cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
	for (; begun < connections; begun++)
		curl_multi_add_handle(multi, make_easy(argv[1], argv[4], argv[5]));

	while (ended < requests)
	{
		struct epoll_event events[EVENTS];
		CURLMsg    *message;
		int			n = epoll_wait(epoll, events, EVENTS, (int) timer_ms);

		if (n == 0 || timer_ms == 0)
		{
			timer_ms = -1;
			curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
		}
		for (int i = 0; i < n; i++)
			curl_multi_socket_action(multi, events[i].data.fd,
									 (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
									 (events[i].events & ~EPOLLOUT ? CURL_CSELECT_IN : 0), &running);

		while ((message = curl_multi_info_read(multi, &left)) != NULL)
		{
			CURL	   *easy = message->easy_handle;
			long		status = 0;

			if (message->data.result == CURLE_OK)
				curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
			answered += status == 200;
			ended++;
			curl_multi_remove_handle(multi, easy);
			if (begun < requests)
			{
				curl_multi_add_handle(multi, easy);
				begun++;
			}
		}
	}
	printf("%d %f %f\n", answered, seconds(CLOCK_MONOTONIC) - start,
		   seconds(CLOCK_PROCESS_CPUTIME_ID) - start_cpu);
	return 0;
}
