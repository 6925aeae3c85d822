/*
 * facts.h
 *		What sms3300_problems is found from: shared memory, and the table as far as it
 *		can be read without waiting.
 */
#ifndef SMS3300_SQL_FACTS_H
#define SMS3300_SQL_FACTS_H

#include "account/account.h"
#include "outbox/backlog.h"
#include "shared/counters.h"
#include "shared/registry.h"

/* An account that exists, or has messages in the queue. */
typedef struct AccountFacts
{
	const char *name;
	const Account *account;		/* NULL: it does not exist */
	AccountCounters counted;
	Backlog		due;			/* n is 0 if none is due */
	bool		explained;		/* why they are not sent */
	bool		stopped;		/* as a whole */
} AccountFacts;

/* What is known, and what the checks have found to be wrong. */
typedef struct Facts
{
	Oid			namespace;
	TimestampTz now;
	bool		readable;		/* the table, without waiting */
	WorkerStat	worker;
	List	   *accounts;		/* of AccountFacts */
	List	   *senders;		/* of Backlog, as those that follow */
	List	   *expiring;
	List	   *finished;
	List	   *foreign;
	int64		due;			/* messages of all accounts */
	TimestampTz oldest_due;		/* 0: there is none */
	List	   *problems;		/* the checks' own */
} Facts;

/* Gather the facts, in the current memory context; namespace and now are given. */
extern void facts_gather(Facts *facts);

/* Find the facts of an account, adding it if necessary. */
extern AccountFacts *facts_account(Facts *facts, const char *name);

#endif							/* SMS3300_SQL_FACTS_H */
