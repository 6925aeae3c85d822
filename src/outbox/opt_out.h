/*
 * opt_out.h
 *		sms_opt_out: who does not want messages.
 */
#ifndef SMS3300_OUTBOX_OPT_OUT_H
#define SMS3300_OUTBOX_OPT_OUT_H

#include "utils/relcache.h"

#include "account/rules.h"

#define OPT_OUT_TABLE "sms_opt_out"

/* Its columns, in the order of the install script. */
enum OptOutColumn
{
	OPT_OUT_MOBILE = 1,
	OPT_OUT_LINE,				/* NULL: whatever the line */
	OPT_OUT_REASON,
	OPT_OUT_SINCE,
	OPT_OUT_BY
};

/* Raise 42804 if the columns of the table are not those of the install script. */
extern void opt_out_check(Relation table);

/*
 * Return whether a recipient has opted out of every line, or of the line given (NULL: of
 * no line in particular).  It costs one index probe, and none if the table is empty or
 * missing, as it is in earlier versions of the extension.  Privileges and policies do not
 * apply, because the rules hold for every sender.  Needs an active snapshot.
 */
extern RulesOptOut opt_out_find(Oid schema, const char *mobile, const char *line);

/*
 * Return whether the table may have an entry.  Where it has none, many recipients need not be
 * looked for with the snapshot that was taken before.
 */
extern bool opt_out_any(Oid schema);

/* Return whether another session's lock keeps the table from being read now. */
extern bool opt_out_is_locked(Oid schema);

/*
 * Record that the gateway refused a message to a recipient who has opted out of a line,
 * with its code.  For the worker, while sms_outbox is open.  Returns NULL, or the error
 * that prevented it, which does not affect the transaction.
 */
extern const char *opt_out_record(const char *mobile, const char *line, int code);

#endif							/* SMS3300_OUTBOX_OPT_OUT_H */
