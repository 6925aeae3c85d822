/*
 * trust.h
 *		Which certificates a gateway's is checked against.
 */
#ifndef SMS3300_NET_TRUST_H
#define SMS3300_NET_TRUST_H

#include <curl/curl.h>

/* A CA file, or the system's CA certificates; never freed. */
typedef struct Trust Trust;

/* Return the trust for a CA file, or for the system's if it is NULL; NULL if memory runs out. */
extern Trust *trust_find(const char *ca_file);

/*
 * Parse the certificates if they have changed.  "now" is the time of this pass by
 * clock_us(); files are examined once per pass.  Return NULL, or the problem, in "buffer".
 */
extern const char *trust_look(Trust *trust, int64 now, char *buffer, size_t size);

/* Return a number that identifies the certificates as they are now. */
extern uint64 trust_version(const Trust *trust);

/* Return whether the certificates are parsed here and applied to each connection. */
extern bool trust_is_own(const Trust *trust);

/*
 * Set up a handle so that connections are verified with these certificates, and
 * only connections that were are reused.  Return false if memory runs out.
 */
extern bool trust_set(const Trust *trust, CURL *easy);

/*
 * Apply the certificates to OpenSSL's context of a new connection.  A silent
 * connection sends no close_notify when it is closed.
 */
extern void trust_apply(const Trust *trust, void *context, bool silent);

#endif							/* SMS3300_NET_TRUST_H */
