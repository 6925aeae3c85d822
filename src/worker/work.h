/*
 * work.h
 *		What a worker has under way.
 */
#ifndef SMS3300_WORKER_WORK_H
#define SMS3300_WORKER_WORK_H

#include "datatype/timestamp.h"
#include "lib/ilist.h"

#include "net/http.h"

typedef struct Work
{
	Http	   *http;
	dlist_head	finished;		/* jobs whose result is to be recorded */
	int			in_flight;
	bool		orphans;		/* rows of a former worker are to be looked for */
	bool		look;			/* something changed in the table or the accounts */
	TimestampTz look_from;		/* nothing new in the table is due before */
	bool		prepared;		/* prepared transactions may hold messages */
	bool		stopping;		/* record, but claim nothing */
	bool		outdated;		/* likewise: the extension is newer than this library */
	TimestampTz poll_at;		/* when to look after prepared transactions */
	TimestampTz next_expiry;
	TimestampTz expire_not_before;
	TimestampTz retry_at;		/* after a failure: no transaction before this */
	int			failures;		/* in a row */
} Work;

#endif							/* SMS3300_WORKER_WORK_H */
