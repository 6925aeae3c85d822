/*
 * delivery.h
 *		What a reply says of delivery states, as an account has it read.
 */
#ifndef SMS3300_ACCOUNT_DELIVERY_H
#define SMS3300_ACCOUNT_DELIVERY_H

#include "account/account.h"
#include "gateway/states.h"
#include "net/http.h"

/*
 * Read the states of ids from a reply with an HTTP status of 2xx, like
 * gateway_read_states(); by the account's expressions if it has them.
 */
extern GatewayAnswer delivery_read(const DeliveryOptions *options, const HttpReply *reply,
								   GatewayState *states, int nstates, int32 *code);

/*
 * Return whether reading a reply by an expression takes no more than time and memory in
 * proportion to its size.  Raises an error if it is not jsonpath.
 */
extern bool delivery_is_bounded(const char *expression);

#endif							/* SMS3300_ACCOUNT_DELIVERY_H */
