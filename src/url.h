/*
 * url.h
 *		What may be the address of a gateway.
 */
#ifndef SMS3300_URL_H
#define SMS3300_URL_H

/* Why a URL can't be used, as a sentence; NULL if it can. */
extern const char *url_problem(const char *url);

#endif							/* SMS3300_URL_H */
