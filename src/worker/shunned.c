/*
 * shunned.c
 *		Messages that are skipped for a while.
 *
 * They cannot be claimed or expired because a trigger or a constraint fails for
 * them.
 */
#include "postgres.h"

#include "worker/shunned.h"

static struct
{
	int64		id;
	TimestampTz until;
}			shunned[MAX_SHUNNED];

void
shun(int64 id, TimestampTz until)
{
	static int	next = 0;

	shunned[next].id = id;
	shunned[next].until = until;
	next = (next + 1) % MAX_SHUNNED;
}

bool
is_shunned(int64 id, TimestampTz now)
{
	for (int i = 0; i < MAX_SHUNNED; i++)
		if (shunned[i].id == id && shunned[i].until > now)
			return true;
	return false;
}

int
shunned_now(TimestampTz now, int64 *ids)
{
	int			n = 0;

	for (int i = 0; i < MAX_SHUNNED; i++)
		if (shunned[i].until > now)
			ids[n++] = shunned[i].id;
	return n;
}
