/*
 * trust.h
 *		Which certificates a gateway's is checked against.
 */
#ifndef SMS3300_NET_TRUST_H
#define SMS3300_NET_TRUST_H

#include <curl/curl.h>

/* A file of certificates, or what the system trusts; it is never freed. */
typedef struct Trust Trust;

/* The trust in a file, or in what the system trusts if it is NULL; NULL if memory runs out. */
extern Trust *trust_find(const char *ca_file);

/*
 * Parse it if it has changed.  A second look at the same time, by clock_us(), is
 * spared.  NULL, or why it cannot be used, written to "buffer" if need be.
 */
extern const char *trust_look(Trust *trust, int64 now, char *buffer, size_t size);

/* A number for what is trusted now; nothing else has had it. */
extern uint64 trust_version(const Trust *trust);

/* Tell whether it is parsed here, and applied to each connection. */
extern bool trust_is_own(const Trust *trust);

/*
 * Have a handle's connections checked against it; none is used that was checked
 * against anything else.  False if memory runs out.
 */
extern bool trust_set(const Trust *trust, CURL *easy);

/*
 * The same for a connection whose handshake begins, of which this is OpenSSL's
 * context.  A silent one does not tell the server when it ends.
 */
extern void trust_apply(const Trust *trust, void *context, bool silent);

#endif							/* SMS3300_NET_TRUST_H */
