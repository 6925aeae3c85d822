/*
 * parts.c
 *		How many SMS a text is, and whether its account allows as many.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "utils/builtins.h"

#include "account/input.h"
#include "account/parts.h"
#include "compat.h"
#include "text/segments.h"

/*
 * A text of more bytes is not fetched and counted, because its size says that no
 * account allows it: the most that a part takes are 153 characters of 2 bytes.
 */
#define COUNTED_BYTES (128 * 1024)
#define MOST_BYTES_OF_A_PART (2 * 153)

StaticAssertDecl(COUNTED_BYTES / MOST_BYTES_OF_A_PART >= MAX_PARTS_MAX,
				 "a text that is not counted must have too many parts");

Parts
parts_count(Datum message)
{
	size_t		size = toast_raw_datum_size(message) - VARHDRSZ;
	text	   *plain;
	const char *utf8;
	int			len;
	Segments	segments;

	if (size > COUNTED_BYTES)
		return (Parts) {.n = (int) (size / MOST_BYTES_OF_A_PART), .more = true};
	plain = DatumGetTextPP(message);
	len = VARSIZE_ANY_EXHDR(plain);
	utf8 = input_try_utf8(VARDATA_ANY(plain), &len);
	segments_count(utf8 ? utf8 : "", utf8 ? len : 0, &segments);
	if (utf8 && utf8 != VARDATA_ANY(plain))
		pfree(unconstify(char *, utf8));
	if (plain != (text *) DatumGetPointer(message))
		pfree(plain);
	return (Parts) {.n = segments.parts};
}

/*
 * Return the name of the option that limits the parts of a text most, and the limit.  What
 * exceeds the limit of a day would stop the account each day, and never be sent.
 */
static const char *
limiting_option(const Account *account, int *limit)
{
	bool		of_day = account->max_parts_per_day > 0 && account->max_parts_per_day < account->max_parts;

	*limit = of_day ? account->max_parts_per_day : account->max_parts;
	return of_day ? "max_parts_per_day" : "max_parts";
}

char *
parts_problem(Parts parts, const Account *account)
{
	int			limit;
	const char *option = limiting_option(account, &limit);

	if (parts.n <= limit)
		return NULL;
	return psprintf("the text has %s%d parts, and the option \"%s\" of the account allows %d",
					parts.more ? "more than " : "", parts.n, option, limit);
}

void
parts_require(Parts parts, const Account *account)
{
	char	   *problem = parts_problem(parts, account);
	int			limit;

	if (problem)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("message is too long"),
				 errdetail("%c%s.", pg_toupper((unsigned char) problem[0]), problem + 1),
				 errhint("Shorten the text, or raise \"%s\" of account \"%s\". sms3300_segments() shows how a text is split.",
						 limiting_option(account, &limit), account->name)));
}
