/*
 * libcurl.c
 *		What libcurl needs of the process: memory, signals, descriptors.
 */
#include "postgres.h"

#include <curl/curl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>

#include "storage/fd.h"

#include "net/libcurl.h"

/* The descriptors that a lookup may open: libcurl's socket pair and the resolver's sockets. */
#define LOOKUP_FDS 4

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

/* Reallocate memory, and overwrite the old block. */
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

void
libcurl_start(void)
{
	static bool started = false;

	if (started)
		return;

	/* Else libcurl, or OpenSSL, writes there what deciphers its connections. */
	unsetenv("SSLKEYLOGFILE");
	if (curl_global_init_mem(CURL_GLOBAL_ALL, malloc, wiped_free, wiped_realloc,
							 strdup, calloc) != CURLE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not set up HTTP requests: libcurl does not start")));
	started = true;
}

void
libcurl_block_signals(sigset_t *saved)
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

void
lookup_reserve(void)
{
	for (int i = 0; i < LOOKUP_FDS; i++)
		ReserveExternalFD();
}

/* Release descriptors. */
static void
release(int n)
{
	while (n-- > 0)
		ReleaseExternalFD();
}

bool
lookup_acquire(int *nlookups)
{
	int			n = 0;

	while (*nlookups > 0 && n < LOOKUP_FDS)
	{
		if (!AcquireExternalFD())
		{
			release(n);
			return false;
		}
		n++;
	}
	++*nlookups;
	return true;
}

void
lookup_release(int *nlookups)
{
	if (--*nlookups > 0)
		release(LOOKUP_FDS);
}

void
lookup_release_all(int nlookups)
{
	release(LOOKUP_FDS * Max(nlookups, 1));
}
