/*
 * gateway.h
 *		The protocol of the 3300 gateway: message to form, reply to verdict.
 *
 * Performs no I/O and needs no server.
 */
#ifndef SMS3300_GATEWAY_GATEWAY_H
#define SMS3300_GATEWAY_GATEWAY_H

/* The longest line kept from a reply. */
#define GATEWAY_LINE_SIZE 32

/* The longest recipient kept from a reply.  A longer one is not a mobile number. */
#define GATEWAY_MOBILE_SIZE 32

/* Maximum number of code ranges in options, and of further default ranges. */
#define GATEWAY_MAX_RANGES 200
#define GATEWAY_MORE_RANGES 50

/* Maximum number of HTTP statuses that an account may list. */
#define GATEWAY_MAX_STATUSES 20

/* The parameters posted for one message, in UTF-8.  NULL parameters are not posted. */
typedef struct GatewayMessage
{
	const char *username;
	const char *password;
	const char *mobile;
	const char *message;
	const char *line;
	const char *line2;
	int			type;			/* this and the next: not posted if negative */
	int			template;
	const char *message_ids;	/* whose states are asked for; with nothing but the credentials */
} GatewayMessage;

/* The verdict on a request. */
typedef enum GatewayVerdict
{
	VERDICT_SENT,				/* the gateway accepted it */
	VERDICT_REJECTED,			/* the gateway refused this message */
	VERDICT_TRANSIENT,			/* refused for now; counts as an attempt */
	VERDICT_ACCOUNT,			/* refused because of the account */
	VERDICT_LINE,				/* refused because of the line, from the message or the account */
	VERDICT_HOURS,				/* refused outside the hours of advertising */
	VERDICT_NOT_SENT,			/* provably never reached the gateway */
	VERDICT_UNKNOWN				/* it may have been sent */
} GatewayVerdict;

/* Codes that have a verdict. */
typedef struct GatewayRange
{
	int			first;
	int			last;
	GatewayVerdict verdict;
} GatewayRange;

/*
 * The verdicts of the gateway's error codes: VERDICT_TRANSIENT, VERDICT_ACCOUNT,
 * VERDICT_LINE, VERDICT_HOURS or VERDICT_REJECTED.  If ranges overlap, the first
 * one applies.  A code that is in no range is ambiguous.  Also the HTTP statuses
 * that say that a message was not sent.
 */
typedef struct GatewayCodes
{
	int			nranges;
	int			room;			/* for so many */
	GatewayRange *ranges;		/* allocated as needed, since accounts may be many; NULL: none */
	int			nunsent;
	int			unsent[GATEWAY_MAX_STATUSES];
} GatewayCodes;

/* What is known of an error code, or of a range of them. */
typedef struct GatewayCode
{
	int			first;
	int			last;
	GatewayVerdict verdict;		/* by default */
	const char *meaning;
	const char *meaning_fa;		/* in Persian, as UTF-8 */
	const char *remedy;			/* what to do, for a person */
} GatewayCode;

/* In the order of the codes. */
extern const GatewayCode gateway_known_codes[];
extern const int gateway_num_known_codes;

/* The content of a reply. */
typedef struct GatewayReply
{
	bool		has_status;
	int32		status;
	bool		has_message_id;
	int64		message_id;
	char		line[GATEWAY_LINE_SIZE];	/* empty: none given */
	char		mobile[GATEWAY_MOBILE_SIZE];	/* empty: none given, or not in digits */
} GatewayReply;

/*
 * Add codes and ranges of codes, such as "15, 23, 100-110", which all mean the
 * same; the empty list adds none.  False if it is no such list, or there would be
 * more than max_ranges in all.
 */
extern bool gateway_codes_add(GatewayCodes *codes, int max_ranges, const char *text,
							  GatewayVerdict verdict);

/* Add a code that is known, or a range. */
extern void gateway_codes_add_known(GatewayCodes *codes, const GatewayCode *known);

/*
 * Take the HTTP statuses that say that a message was not sent, such as
 * "429, 503"; the empty list is none.  False if it is no such list.
 */
extern bool gateway_codes_set_unsent(GatewayCodes *codes, const char *text);

/* Copy codes in place of others, in memory of the current context where these have no room. */
extern void gateway_codes_copy(GatewayCodes *to, const GatewayCodes *from);

/* Find a code that means two things; false if there is none. */
extern bool gateway_codes_overlap(const GatewayCodes *codes, int *code);

/* What an error code means. */
extern GatewayVerdict gateway_codes_verdict(const GatewayCodes *codes, int code);

/* Find what is known of a code; NULL: nothing is. */
extern const GatewayCode *gateway_code_find(int code);

/* Name the class of the codes that have a verdict. */
extern const char *gateway_class_name(GatewayVerdict verdict);

/* The size in bytes of a message's form. */
extern size_t gateway_form_size(const GatewayMessage *message);

/*
 * Write a message's form into a buffer of gateway_form_size() bytes, without a
 * terminating zero.  It is written in place once, so that no copy of the
 * password is left behind in memory.
 */
extern size_t gateway_form_write(const GatewayMessage *message, char *buffer);

/* The value of a field in a form, in UTF-8; NULL if there is none. */
extern char *gateway_form_value(const char *form, size_t size, const char *field);

/*
 * Read a reply.  What is no JSON object with a whole number as "status", or
 * says two different ones, has no status; no input makes this fail.
 */
extern void gateway_parse_reply(const char *text, size_t len, GatewayReply *reply);

/*
 * Tell whether a reply can be the one to a message to a canonical mobile.  It can
 * unless it names another recipient; a masked one says nothing.
 */
extern bool gateway_is_reply_to(const GatewayReply *reply, const char *mobile);

/*
 * Judge by the evidence what became of a message to a canonical mobile: whether
 * the whole request was handed to the network, the HTTP status (0: no reply, or
 * one that broke off where the status alone doesn't decide), and what the reply
 * says.
 */
extern GatewayVerdict gateway_verdict(bool request_left, int http_status, const char *mobile,
									  const GatewayReply *reply, const GatewayCodes *codes);

#endif							/* SMS3300_GATEWAY_GATEWAY_H */
