/*
 * reply.h
 *		The bytes of a reply as values that the table can hold.
 */
#ifndef SMS3300_REPLY_H
#define SMS3300_REPLY_H

#include "utils/jsonb.h"

#include "http.h"

extern Jsonb *reply_as_jsonb(const HttpReply *reply);
extern char *reply_text(Jsonb *reply, const char *key);

#endif							/* SMS3300_REPLY_H */
