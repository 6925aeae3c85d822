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

/*
 * Compose the request for the delivery states of messages that a role has sent, whose
 * ids at the gateway are a list with commas, as request_compose() does.  It goes to the
 * account's delivery_url, which must be known.
 */
extern const char *request_compose_states(const Account *account, Oid role, const char *message_ids,
										  HttpRequest *request);

/* Overwrite and free the body of a request. */
extern void request_discard(HttpRequest *request);

#endif							/* SMS3300_ACCOUNT_REQUEST_H */
