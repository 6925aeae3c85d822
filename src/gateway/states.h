/*
 * states.h
 *		What a reply says of the delivery states that were asked for.
 *
 * Performs no I/O and needs no server.
 */
#ifndef SMS3300_GATEWAY_STATES_H
#define SMS3300_GATEWAY_STATES_H

/* Ids below this are error codes in this family of gateways. */
#define GATEWAY_MIN_ID 1000

/* Maximum number of ids in a request. */
#define GATEWAY_MAX_STATES 1000

/* The state of one id that was asked for. */
typedef struct GatewayState
{
	int64		id;
	bool		answered;		/* the reply says which state it has, and no other one */
	bool		contradicted;	/* while it is read: it says two things, or one that is no state */
	int32		state;
} GatewayState;

/* What a reply says as a whole. */
typedef enum GatewayAnswer
{
	ANSWER_READ,				/* at least one of the ids has a state */
	ANSWER_REFUSED,				/* it has an error code */
	ANSWER_UNREADABLE			/* neither */
} GatewayAnswer;

/*
 * Read the states of ids, which differ and are at least GATEWAY_MIN_ID.  Only an explicit
 * pair of id and state counts; in a request for a single id, also a state alone.  *code is
 * the error code of a reply that is refused.
 */
extern GatewayAnswer gateway_read_states(const char *text, size_t len,
										 GatewayState *states, int nstates, int32 *code);

/*
 * Note that a reply gives an id a state (NULL: something that is no state), both as texts.
 * "quoted" says whether they were strings, which must be of digits.
 */
extern void gateway_note_state(GatewayState *states, int nstates, const char *id, bool id_quoted,
							   const char *state, bool state_quoted);

/* Settle which ids have a state, after all was noted; return how many. */
extern int	gateway_settle_states(GatewayState *states, int nstates);

#endif							/* SMS3300_GATEWAY_STATES_H */
