/*
 * account.h
 *		An account: a foreign server of the wrapper sms3300 and its user mappings.
 *
 * Durations are in microseconds.
 */
#ifndef SMS3300_ACCOUNT_ACCOUNT_H
#define SMS3300_ACCOUNT_ACCOUNT_H

#include "nodes/pg_list.h"

#include "account/hours.h"
#include "gateway/gateway.h"
#include "text/mobile.h"

/* For type and template: not given. */
#define ROUTE_NONE (-1)

/* The highest value of "max_parts": no network joins more parts. */
#define MAX_PARTS_MAX 255

extern char *account_default_name;	/* sms3300.account */

/* Mobile numbers in their canonical form, sorted. */
typedef struct MobileList
{
	int			n;
	char		mobiles[FLEXIBLE_ARRAY_MEMBER][MOBILE_SIZE];
} MobileList;

/* Maximum number of looks at a message's delivery state. */
#define MAX_DELIVERY_CHECKS 10

/* How an account follows what becomes of the messages that it has sent. */
typedef struct DeliveryOptions
{
	bool		on;
	int			nchecks;
	int64		checks[MAX_DELIVERY_CHECKS];	/* how long after finished_at to ask; rising */
	int			batch;			/* ids in a request */
	int64		interval;		/* the least time between two requests */
	GatewayCodes codes;			/* VERDICT_SENT: delivered; VERDICT_REJECTED: undelivered; others wait */
	char	   *items;			/* jsonpath expressions; all NULL: the built-in reading */
	char	   *id;
	char	   *state;
} DeliveryOptions;
/* At most so many messages to a number within a time. */
typedef struct PerMobile
{
	int			n;				/* 0: any number */
	int64		time;
	const char *text;			/* as the option says */
} PerMobile;

typedef struct Account
{
	Oid			serverid;
	uint64		version;		/* changes when the server or one of its mappings is altered */
	uint64		server_version; /* changes when the server is altered */
	int			nmappings;		/* user mappings of the server */
	char	   *name;
	char	   *url;
	char	   *delivery_url;	/* where delivery states are asked for; NULL: not known */
	char	   *ca_file;		/* NULL: the system's */
	char	   *line;			/* NULL: none */
	char	   *line2;			/* NULL: none */
	int			type;			/* ROUTE_NONE: none */
	int			template;		/* ROUTE_NONE: none */
	int			max_parts;		/* of a text */
	int			max_in_flight;
	double		rate;			/* messages per second; 0: no limit */
	int64		timeout;
	int64		connect_timeout;
	int64		validity;
	int			max_attempts;
	int			stop_after_unknown;
	bool		resend_unknown;
	GatewayCodes codes;
	bool		paused;
	int			max_parts_per_day;	/* 0: any number */
	PerMobile	max_per_mobile;
	Hours		hours;			/* with the time zone, also if there are no spans */
	const char *hours_text;		/* as the option says; NULL: none */
	int			urgent_priority;	/* this and higher ones do not wait for the hours */
	MobileList *deliver_only;	/* NULL: any number */
	bool		record_opt_outs;
	int64		retention;		/* -1: none */
	int64		redact_after;	/* -1: none */
	int64		keep_idle;		/* -1: as learnt */
	DeliveryOptions delivery;
	char	   *notify;			/* the channel of its NOTIFYs; NULL: none */
	const char *unreadable;		/* its options are not valid, which pauses it; NULL: they are */
} Account;

/* Return why an account is paused. */
static inline const char *
account_why_paused(const Account *account)
{
	return account->unreadable ? account->unreadable : "the option \"paused\" of the account is true";
}

/* Follow the accounts of all databases.  Called while the library is preloaded. */
extern void account_watch(void);

/* Return the foreign-data wrapper of all accounts, InvalidOid if there is none. */
extern Oid	account_wrapper(void);

/*
 * Return the account of a name, or NULL if there is none.  The result is valid
 * until the end of the transaction.  Needs a transaction.
 */
extern const Account *account_find(const char *name);

/* Return the names of all accounts of this database as a list of strings. */
extern List *account_names(void);

/* Return a number that changes when a user's mapping is altered; 0: there is none. */
extern uint64 account_mapping_version(Oid serverid, Oid user);

/* Return a number that changes whenever any account or mapping may have changed. */
extern uint64 account_generation(void);

#endif							/* SMS3300_ACCOUNT_ACCOUNT_H */
