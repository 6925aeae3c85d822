/*
 * news.h
 *		The accounts whose messages were queued, changed or cancelled, as a worker is told.
 */
#ifndef SMS3300_SHARED_NEWS_H
#define SMS3300_SHARED_NEWS_H

/* More accounts than this are not told apart. */
#define NEWS_ACCOUNTS 8

/* All zero: there are none. */
typedef struct NewsAccounts
{
	bool		any;			/* it may be any account */
	int			n;
	Oid			servers[NEWS_ACCOUNTS];
} NewsAccounts;

/* Add an account; InvalidOid: it may be any. */
extern void news_add(NewsAccounts *accounts, Oid server);

/* Add the accounts of other news. */
extern void news_add_all(NewsAccounts *accounts, const NewsAccounts *others);

#endif							/* SMS3300_SHARED_NEWS_H */
