/*
 * upkeep.c
 *		What is to be done for the finished messages of all accounts.
 */
#include "postgres.h"

#include "shared/armed.h"
#include "shared/registry.h"
#include "worker/roster.h"
#include "worker/upkeep.h"

/* The number of queues whose delivery states are asked for. */
static int	ntracked = 0;

void
upkeep_configure_tracking(AccountQueue *queue, const Account *account)
{
	ntracked -= queue->tracking != NULL;
	tracking_configure(&queue->tracking, account);
	ntracked += queue->tracking != NULL;
}

AccountQueue *
queues_to_tidy(void)
{
	dlist_iter	iter;
	AccountQueue *first = NULL;

	roster_wake_all();
	dlist_foreach(iter, roster_awake())
	{
		AccountQueue *queue = dlist_container(AccountQueue, node, iter.cur);

		if (first == NULL || retention_next(&queue->retention) < retention_next(&first->retention))
			first = queue;
	}
	retention_set_bound(first ? retention_next(&first->retention) : DT_NOEND);
	return first;
}

TimestampTz
queues_tidy_at(TimestampTz now)
{
	if (retention_bound() <= now)
		(void) queues_to_tidy();
	return retention_bound();
}

AccountQueue *
queues_to_track(void)
{
	dlist_iter	iter;
	AccountQueue *first = NULL;

	if (ntracked == 0 || !registry_enabled || !is_armed())
		return NULL;
	dlist_foreach(iter, roster_awake())
	{
		AccountQueue *queue = dlist_container(AccountQueue, node, iter.cur);

		if (queue->tracking &&
			(first == NULL || tracking_next(queue->tracking) < tracking_next(first->tracking)))
			first = queue;
	}
	return first;
}
