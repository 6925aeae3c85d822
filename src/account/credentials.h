/*
 * credentials.h
 *		Read the credentials in a user mapping.
 */
#ifndef SMS3300_ACCOUNT_CREDENTIALS_H
#define SMS3300_ACCOUNT_CREDENTIALS_H

#include "account/account.h"

typedef struct Credentials
{
	char	   *username;
	char	   *password;
} Credentials;

/* Return whether a role has a user mapping for the account, its own or the one for PUBLIC. */
extern bool credentials_exist(const Account *account, Oid role);

/*
 * Replace a role by the one whose mapping it uses: itself, or InvalidOid for the mapping
 * for PUBLIC.  Returns false if it has none.
 */
extern bool credentials_role(Oid serverid, Oid *role);

/* Read the credentials of a role.  Returns NULL, or the reason why there are none. */
extern const char *credentials_read(const Account *account, Oid role,
									Credentials *credentials);

/* Overwrite the credentials in memory. */
extern void credentials_forget(Credentials *credentials);

#endif							/* SMS3300_ACCOUNT_CREDENTIALS_H */
