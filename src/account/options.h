/*
 * options.h
 *		The options of a server, and the account that they describe.
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
	OPTION_CODES,				/* min: the verdict; max: not used */
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

/* All options of a server, and how many there are. */
extern const ServerOption server_options[];
extern const int num_server_options;

/* A server's option by its name; NULL if there is none. */
extern const ServerOption *server_option_find(const char *name);

/*
 * The account that a list of valid options describes, in the current context;
 * error 22023 for a value that is not valid.
 */
extern Account *account_from_options(List *options);

#endif							/* SMS3300_ACCOUNT_OPTIONS_H */
