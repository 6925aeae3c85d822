/*
 * libcurl.h
 *		What libcurl needs of the process: memory, signals, descriptors.
 */
#ifndef SMS3300_NET_LIBCURL_H
#define SMS3300_NET_LIBCURL_H

#include <signal.h>

/* Initialize libcurl, once a process; error 58000 if it does not start. */
extern void libcurl_start(void);

/* Block the signals that are handled here, so that libcurl's threads inherit that. */
extern void libcurl_block_signals(sigset_t *saved);

/*
 * Set aside what a lookup of a name may hold open, and give it back.  That of
 * the first one always is, from lookup_reserve() to lookup_release_all().
 */
extern void lookup_reserve(void);
extern bool lookup_acquire(int *nlookups);
extern void lookup_release(int *nlookups);
extern void lookup_release_all(int nlookups);

#endif							/* SMS3300_NET_LIBCURL_H */
