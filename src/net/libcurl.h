/*
 * libcurl.h
 *		What libcurl needs of the process: memory, signals, descriptors.
 */
#ifndef SMS3300_NET_LIBCURL_H
#define SMS3300_NET_LIBCURL_H

#include <signal.h>

/* Initialize libcurl once per process; raises 58000 if that fails. */
extern void libcurl_start(void);

/* Block the signals that are handled here; libcurl's threads inherit the mask. */
extern void libcurl_block_signals(sigset_t *saved);

/*
 * Reserve the descriptors that a DNS lookup may open, and release them.  Those of
 * the first lookup are reserved from lookup_reserve() to lookup_release_all().
 */
extern void lookup_reserve(void);
extern bool lookup_acquire(int *nlookups);
extern void lookup_release(int *nlookups);
extern void lookup_release_all(int nlookups);

#endif							/* SMS3300_NET_LIBCURL_H */
