/*
 * srf.c
 *		Begin a function that returns rows.
 */
#include "postgres.h"

#include "sql/srf.h"

void
srf_begin(FunctionCallInfo fcinfo, void *(*find) (FunctionCallInfo fcinfo, FuncCallContext *context))
{
	FuncCallContext *context = SRF_FIRSTCALL_INIT();
	MemoryContext caller = MemoryContextSwitchTo(context->multi_call_memory_ctx);

	if (get_call_result_type(fcinfo, NULL, &context->tuple_desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "unexpected return type of function");
	BlessTupleDesc(context->tuple_desc);
	context->user_fctx = find(fcinfo, context);
	MemoryContextSwitchTo(caller);
}
