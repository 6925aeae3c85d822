/*
 * json.h
 *		Read the JSON of a reply.
 *
 * Performs no I/O and needs no server.
 */
#ifndef SMS3300_GATEWAY_JSON_H
#define SMS3300_GATEWAY_JSON_H

#include "common/jsonapi.h"

/*
 * Parse the text of a reply, with or without a byte order mark.  Strings get to the
 * actions with their escapes replaced.  Returns false if it is not JSON in UTF-8, or
 * nests too deeply.
 */
extern bool json_read(const char *text, size_t len, JsonSemAction *actions);

/* Read a whole number of 64 bits; false if the text is anything else. */
extern bool json_integer(const char *text, int64 *value);

#endif							/* SMS3300_GATEWAY_JSON_H */
