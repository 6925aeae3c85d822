/*
 * parts.h
 *		How many SMS a text is, and whether its account allows as many.
 */
#ifndef SMS3300_ACCOUNT_PARTS_H
#define SMS3300_ACCOUNT_PARTS_H

#include "account/account.h"

/* How many SMS a text is; 0: it is not known. */
typedef struct Parts
{
	int			n;
	bool		more;			/* it is more than n, and was not counted */
} Parts;

/*
 * Count the parts of a value of the type text in the server's encoding, which may be
 * toasted.  One that cannot be converted to UTF-8 is taken for one part.  Leaves no
 * memory behind.
 */
extern Parts parts_count(Datum message);

/* Return that a text has more parts than an account allows, as a clause; NULL if it does not. */
extern char *parts_problem(Parts parts, const Account *account);

/* Raise 22023 if a text has more parts than an account allows. */
extern void parts_require(Parts parts, const Account *account);

#endif							/* SMS3300_ACCOUNT_PARTS_H */
