/*
 * request.h
 *		Make an HTTP request of a queued message and its account.
 */
#ifndef SMS3300_ACCOUNT_REQUEST_H
#define SMS3300_ACCOUNT_REQUEST_H

#include "account/account.h"
#include "account/route.h"
#include "net/http.h"

/*
 * Compose the request for a message.  The request is allocated in the current memory
 * context, its body with malloc().  Strings are in the server encoding.  Returns NULL,
 * or the reason why the message cannot be sent; *of_sender is then true if the
 * sender's credentials are the reason.  Needs a transaction.
 */
extern const char *request_compose(const Account *account, Oid role, const char *mobile,
								   const char *message, const Route *own,
								   HttpRequest *request, bool *of_sender);

/* Overwrite and free the body of a request. */
extern void request_discard(HttpRequest *request);

#endif							/* SMS3300_ACCOUNT_REQUEST_H */
