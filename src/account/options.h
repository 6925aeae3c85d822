/*
 * options.h
 *		Read the options of a server into an account.
 */
#ifndef SMS3300_ACCOUNT_OPTIONS_H
#define SMS3300_ACCOUNT_OPTIONS_H

#include "nodes/pg_list.h"

#include "account/account.h"

typedef enum OptionKind
{
	OPTION_URL,
	OPTION_FILE,				/* superusers only */
	OPTION_LINE,
	OPTION_INT,
	OPTION_RATE,
	OPTION_DURATION,
	OPTION_DURATION_OR_ZERO,
	OPTION_ON_UNKNOWN,
	OPTION_CODES,				/* min is the verdict; max is not used */
	OPTION_STATUSES,
	OPTION_MOBILES,
	OPTION_CHANNEL,
	OPTION_CHECKS,
	OPTION_JSONPATH,
	OPTION_HOURS,
	OPTION_PER_MOBILE,
	OPTION_TIMEZONE,
	OPTION_BOOL
} OptionKind;

typedef struct ServerOption
{
	const char *name;
	OptionKind	kind;
	size_t		offset;			/* in Account */
	int			min;
	int			max;
} ServerOption;

/* All options of servers, and their number. */
extern const ServerOption server_options[];
extern const int num_server_options;

/* Return the option of a name, or NULL. */
extern const ServerOption *server_option_find(const char *name);

/*
 * Return the account that a list of options describes, allocated in the current
 * memory context.  Unknown options are ignored.  Raises 22023 for an invalid value.
 */
extern Account *account_from_options(List *options);

#endif							/* SMS3300_ACCOUNT_OPTIONS_H */
