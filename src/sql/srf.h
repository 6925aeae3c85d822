/*
 * srf.h
 *		Begin a function that returns rows.
 */
#ifndef SMS3300_SQL_SRF_H
#define SMS3300_SQL_SRF_H

#include "fmgr.h"
#include "funcapi.h"

/*
 * Begin to return the rows of a function's first call.  What "find" returns becomes
 * user_fctx; it may set max_calls, and allocates what all calls need.
 */
extern void srf_begin(FunctionCallInfo fcinfo,
					  void *(*find) (FunctionCallInfo fcinfo, FuncCallContext *context));

#endif							/* SMS3300_SQL_SRF_H */
