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

char *
parts_problem(Parts parts, const Account *account)
{
	if (parts.n <= account->max_parts)
		return NULL;
	return psprintf("the text has %s%d parts, and the option \"max_parts\" of the account allows %d",
					parts.more ? "more than " : "", parts.n, account->max_parts);
}

void
parts_require(Parts parts, const Account *account)
{
	char	   *problem = parts_problem(parts, account);

	if (problem)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("message is too long"),
				 errdetail("%c%s.", pg_toupper((unsigned char) problem[0]), problem + 1),
				 errhint("Shorten the text, or raise \"max_parts\" of account \"%s\". sms3300_segments() shows how a text is split.",
						 account->name)));
}
