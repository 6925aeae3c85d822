/*
 * request.h
 *		A queued message and its account become an HTTP request.
 */
#ifndef SMS3300_ACCOUNT_REQUEST_H
#define SMS3300_ACCOUNT_REQUEST_H

#include "account/account.h"
#include "account/route.h"
#include "net/http.h"

/*
 * Complete a request for a message, in the current memory context but for its
 * body.  Strings are in the server's encoding.  Returns why that can't be done,
 * NULL if it was; *of_sender tells whether it's the sender's credentials that
 * are missing.  Needs a transaction.
 */
extern const char *request_compose(const Account *account, Oid role, const char *mobile,
								   const char *message, const Route *own,
								   HttpRequest *request, bool *of_sender);

/* Overwrite and free what request_compose() allocated. */
extern void request_discard(HttpRequest *request);

#endif							/* SMS3300_ACCOUNT_REQUEST_H */
