/*
 * utf8_fuzz.c
 *		Compare the reading of UTF-8 with PostgreSQL's own.
 */
#undef NDEBUG
#include "postgres_fe.h"

#include <assert.h>

#include "mb/pg_wchar.h"
#include "text/utf8.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Read the bytes character by character. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *at = (const char *) data;
	const char *end = at + size;

	while (at < end)
	{
		const unsigned char *bytes = (const unsigned char *) at;
		int			length = pg_utf_mblen(bytes);
		bool		legal = length <= end - at && pg_utf8_islegal(bytes, length);
		uint32_t	c = utf8_next(&at, end);

		assert((c != UTF8_INVALID) == legal);
		assert(at == (const char *) bytes + (legal ? length : 1));
		if (legal)
		{
			unsigned char again[4];

			unicode_to_utf8(c, again);
			assert(memcmp(again, bytes, length) == 0);
		}
	}
	return 0;
}
