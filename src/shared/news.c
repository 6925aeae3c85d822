/*
 * news.c
 *		The accounts whose messages were queued, changed or cancelled, as a worker is told.
 */
#include "postgres.h"

#include "shared/news.h"

void
news_add(NewsAccounts *accounts, Oid server)
{
	for (int i = 0; i < accounts->n; i++)
		if (accounts->servers[i] == server)
			return;
	if (!OidIsValid(server) || accounts->n == NEWS_ACCOUNTS)
		accounts->any = true;
	else
		accounts->servers[accounts->n++] = server;
}

void
news_add_all(NewsAccounts *accounts, const NewsAccounts *others)
{
	accounts->any |= others->any;
	for (int i = 0; i < others->n; i++)
		news_add(accounts, others->servers[i]);
}
