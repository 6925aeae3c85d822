/*
 * codes.c
 *		What the gateway's error codes and HTTP statuses mean.
 *
 * Compiled with FRONTEND defined this file needs only libpgcommon, which is
 * how the fuzzers drive it.
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include <ctype.h>
#include <errno.h>
#include <limits.h>

#include "gateway/gateway.h"

/* Read one non-negative code; NULL if there is none. */
static const char *
parse_code(const char *text, int *code)
{
	char	   *end;
	long		value;

	while (isspace((unsigned char) *text))
		text++;
	if (!isdigit((unsigned char) *text))
		return NULL;
	errno = 0;
	value = strtol(text, &end, 10);
	if (errno != 0 || value > INT_MAX)
		return NULL;
	while (isspace((unsigned char) *end))
		end++;
	*code = (int) value;
	return end;
}

/* Add a range. */
static void
add_range(GatewayCodes *codes, int first, int last, GatewayVerdict verdict)
{
	if (codes->nranges == codes->room)
	{
		codes->room = Max(2 * codes->room, 16);
		codes->ranges = codes->ranges == NULL ? palloc(sizeof(GatewayRange) * codes->room) :
			repalloc(codes->ranges, sizeof(GatewayRange) * codes->room);
	}
	codes->ranges[codes->nranges++] = (GatewayRange) {first, last, verdict};
}

/*
 * Add codes and ranges of codes, such as "15, 23, 100-110", which all mean the
 * same; the empty list adds none.  False if it is no such list, or there would be
 * more than max_ranges in all.
 */
bool
gateway_codes_add(GatewayCodes *codes, int max_ranges, const char *text,
				  GatewayVerdict verdict)
{
	while (isspace((unsigned char) *text))
		text++;
	if (*text == '\0')
		return true;

	for (;;)
	{
		int			first;
		int			last;

		if (codes->nranges >= max_ranges ||
			(text = parse_code(text, &first)) == NULL)
			return false;
		last = first;
		if (*text == '-' && (text = parse_code(text + 1, &last)) == NULL)
			return false;
		if (last < first)
			return false;

		add_range(codes, first, last, verdict);

		if (*text == '\0')
			return true;
		if (*text++ != ',')
			return false;
	}
}

/* Add a code that is known, or a range. */
void
gateway_codes_add_known(GatewayCodes *codes, const GatewayCode *known)
{
	add_range(codes, known->first, known->last, known->verdict);
}

/* Copy codes in place of others, in memory of the current context where these have no room. */
void
gateway_codes_copy(GatewayCodes *to, const GatewayCodes *from)
{
	GatewayRange *ranges = to->ranges;
	int			room = to->room;

	if (room < from->nranges)
	{
		room = from->nranges;
		ranges = palloc(sizeof(GatewayRange) * room);
		if (to->ranges)
			pfree(to->ranges);
	}
	*to = *from;
	to->ranges = ranges;
	to->room = room;
	if (from->nranges > 0)
		memcpy(ranges, from->ranges, sizeof(GatewayRange) * from->nranges);
}

/*
 * Take the HTTP statuses that say that a message was not sent, such as
 * "429, 503"; the empty list is none.  False if it is no such list.
 */
bool
gateway_codes_set_unsent(GatewayCodes *codes, const char *text)
{
	codes->nunsent = 0;
	while (isspace((unsigned char) *text))
		text++;
	while (*text)
	{
		int			status;

		if (codes->nunsent > 0 && *text++ != ',')
			return false;
		text = parse_code(text, &status);
		if (text == NULL || status < 400 || status > 599 ||
			codes->nunsent == GATEWAY_MAX_STATUSES)
			return false;
		codes->unsent[codes->nunsent++] = status;
	}
	return true;
}

/* Find a code that means two things; false if there is none. */
bool
gateway_codes_overlap(const GatewayCodes *codes, int *code)
{
	for (int i = 0; i < codes->nranges; i++)
		for (int j = 0; j < i; j++)
			if (codes->ranges[i].verdict != codes->ranges[j].verdict &&
				codes->ranges[i].first <= codes->ranges[j].last &&
				codes->ranges[j].first <= codes->ranges[i].last)
			{
				*code = Max(codes->ranges[i].first, codes->ranges[j].first);
				return true;
			}
	return false;
}

/* What an error code means. */
GatewayVerdict
gateway_codes_verdict(const GatewayCodes *codes, int code)
{
	for (int i = 0; i < codes->nranges; i++)
		if (code >= codes->ranges[i].first && code <= codes->ranges[i].last)
			return codes->ranges[i].verdict;
	return VERDICT_UNKNOWN;
}
