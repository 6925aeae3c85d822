/*
 * credentials.h
 *		Who an account is for the gateway: what a user mapping says.
 */
#ifndef SMS3300_ACCOUNT_CREDENTIALS_H
#define SMS3300_ACCOUNT_CREDENTIALS_H

#include "account/account.h"

typedef struct Credentials
{
	char	   *username;
	char	   *password;
} Credentials;

/* Tell whether a role has a user mapping for the account, its own or PUBLIC's. */
extern bool credentials_exist(const Account *account, Oid role);

/* Read the credentials of a role; returns why there are none, NULL if there are. */
extern const char *credentials_read(const Account *account, Oid role,
									Credentials *credentials);

/* Overwrite credentials. */
extern void credentials_forget(Credentials *credentials);

#endif							/* SMS3300_ACCOUNT_CREDENTIALS_H */
