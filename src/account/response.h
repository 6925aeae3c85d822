/*
 * response.h
 *		Convert the bytes of a reply to values that the table can hold.
 */
#ifndef SMS3300_ACCOUNT_RESPONSE_H
#define SMS3300_ACCOUNT_RESPONSE_H

#include "utils/jsonb.h"

#include "net/http.h"

/* Return the body of a reply as jsonb with the password masked; NULL if it is empty. */
extern Jsonb *response_as_jsonb(const HttpReply *reply);

/* Return a string field of a reply; NULL if there is no such string. */
extern char *response_text(Jsonb *reply, const char *key);

/*
 * Return a string field of the body of a reply in at most "size" bytes, for people who
 * may not see the message: without what identifies it or its sender.  NULL if there is
 * no such string.  Needs a transaction.
 */
extern char *response_words(const HttpReply *reply, const char *key, int size);

#endif							/* SMS3300_ACCOUNT_RESPONSE_H */
