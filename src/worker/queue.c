/*
 * queue.c
 *		The worker's state of each account and its queue.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "outbox/access.h"
#include "outbox/budget.h"
#include "outbox/candidates.h"
#include "outbox/recent.h"
#include "shared/armed.h"
#include "shared/registry.h"
#include "worker/queue.h"
#include "worker/reopen.h"
#include "worker/roster.h"
#include "worker/stops.h"
#include "worker/upkeep.h"
#include "worker/wire.h"

static uint64 known_generation = 0;

/* Free the queue of an account that no longer exists. */
static void
queue_free(AccountQueue *queue)
{
	roster_remove(queue);
	reopen_forget(queue);
	window_clear(&queue->window);
	mappings_free(&queue->mappings);
	if (queue->codes.ranges)
		pfree(queue->codes.ranges);
	pfree(queue);
}

/* Discard all candidates, because new messages are due from a time on. */
static void
reset_all(TimestampTz from)
{
	dlist_iter	iter;

	dlist_foreach(iter, roster_awake())
	{
		window_reset(&dlist_container(AccountQueue, node, iter.cur)->window, from);
		gate_news(&dlist_container(AccountQueue, node, iter.cur)->gate);
	}
}

void
queues_reset(void)
{
	reset_all(DT_NOBEGIN);
}

void
queues_untake(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, roster_awake())
		window_untake(&dlist_container(AccountQueue, node, iter.cur)->window);
}

void
queues_pass_by(int64 id, int64 spent)
{
	dlist_iter	iter;

	dlist_foreach(iter, roster_awake())
		if (window_pass_by(&dlist_container(AccountQueue, node, iter.cur)->window, id, spent))
			break;
}

/* Open a queue's account, as a person has asked for. */
static void
retry_account(Oid server)
{
	dlist_iter	iter;

	dlist_foreach(iter, roster_awake())
	{
		AccountQueue *queue = dlist_container(AccountQueue, node, iter.cur);

		if (queue->exists && queue->serverid == server && queue->gate.state != ACCOUNT_PAUSED)
			reopen_queue(queue, false, true);
	}
}

/* Copy what the gateway's codes mean to an account. */
static void
keep_codes(AccountQueue *queue, const Account *account)
{
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

	gateway_codes_copy(&queue->codes, &account->codes);
	MemoryContextSwitchTo(caller);
}

/*
 * Copy the required options of a queue's account.  A change opens a stopped account
 * and makes its messages that wait for a retry due.
 */
static void
queue_configure(AccountQueue *queue, TimestampTz now)
{
	const Account *account = account_find(queue->name);

	queue->exists = account != NULL;
	if (account)
	{
		if (account->version != queue->version)
		{
			retention_configure(&queue->retention, account->retention, account->redact_after);
			reopen_follow(queue, account);
		}
		if (queue->serverid != account->serverid)
			roster_note_server(queue, account->serverid);
		budget_prepare(outbox_namespace(), account, now);
		recent_prepare(outbox_namespace(), account, now);
		if (account->paused)
			gate_set(&queue->gate, ACCOUNT_PAUSED);
		queue->max_in_flight = account->max_in_flight;
		queue->rate = account->rate;
		if (queue->rate > 0)
			queue->pace.next_slot = Max(queue->pace.next_slot, counters_sessions_slot(queue->serverid));
		keep_codes(queue, account);
		queue->hours = account->hours;
		queue->urgent_priority = account->urgent_priority;
		queue->nmappings = account->nmappings;
		queue->stop_after_unknown = account->stop_after_unknown;
	}
	else
		retention_configure(&queue->retention, -1, -1);
	if (queue->tracking || (account && account->delivery.on))
		upkeep_configure_tracking(queue, account);
	queue->claimed = queue->suppressed = queue->failed = 0;
}

/* Hold back messages that are not urgent while the account is closed. */
static void
queue_apply_hours(AccountQueue *queue, TimestampTz now)
{
	bool		closed = queue->exists && hours_opening(&queue->hours, now) > now;

	window_hold(&queue->window, closed ? queue->urgent_priority : 0);
}

/* Find out again which mapping is used for whom, and open those that were altered. */
static void
queue_follow_mappings(AccountQueue *queue)
{
	if (mappings_refresh(&queue->mappings, queue->serverid, GetCurrentTimestamp()))
	{
		queue_tell_open(queue);
		reopen_hurry(queue, false);
	}
	if (queue->window.barred)
		window_go_back(&queue->window, DT_NOBEGIN);
}

/*
 * Have all candidates fetched anew, of those accounts that have messages: the others cost
 * nothing, however many they are.
 */
static void
look_at_all(TimestampTz from)
{
	dlist_iter	iter;
	ListCell   *cell;

	roster_wake_all();
	foreach(cell, account_names())
		queue_find_or_add(lfirst(cell));
	dlist_foreach(iter, roster_awake())
		dlist_container(AccountQueue, node, iter.cur)->waits = false;
	foreach(cell, outbox_waiting_accounts())
		queue_find_or_add(lfirst(cell))->waits = true;
	reset_all(from);
	dlist_foreach(iter, roster_awake())
	{
		AccountQueue *queue = dlist_container(AccountQueue, node, iter.cur);

		if (!queue->waits)
			window_expect_nothing(&queue->window);
	}
}

/* Return whether a look is at all accounts.  Wake those that it is at otherwise. */
static bool
looks_at_all(const QueueLook *look)
{
	bool		all = look->from == DT_NOBEGIN || look->accounts.any;

	for (int i = 0; !all && i < look->accounts.n; i++)
		all = roster_wake(look->accounts.servers[i]) == NULL;
	return all;
}

/* Have the candidates of the accounts that a look is at fetched anew. */
static void
look_at_some(const QueueLook *look, TimestampTz now)
{
	for (int i = 0; i < look->accounts.n; i++)
	{
		AccountQueue *queue = roster_wake(look->accounts.servers[i]);

		if (queue == NULL)
			continue;
		window_reset(&queue->window, look->from);
		window_begin(&queue->window, true);
		retention_look_again(&queue->retention, queue->name, now);
		gate_news(&queue->gate);
	}
}

void
queues_begin(const QueueLook *look, TimestampTz now)
{
	dlist_mutable_iter iter;
	uint64		generation = account_generation();
	bool		altered = generation != known_generation;
	bool		all = look && looks_at_all(look);

	if (all || altered)
		look_at_all(look ? look->from : DT_NOEND);
	dlist_foreach_modify(iter, roster_awake())
	{
		AccountQueue *queue = dlist_container(AccountQueue, node, iter.cur);

		queue_configure(queue, now);
		queue_apply_hours(queue, now);
		if (queue->exists && (altered || queue->mappings.serverid != queue->serverid))
			queue_follow_mappings(queue);
		window_begin(&queue->window, all);
		if (all)
			retention_look(&queue->retention, queue->name);
		if (!queue->exists && queue->nholds == 0)
			queue_free(queue);
	}
	if (all)
		counters_take_retries(retry_account);
	else if (look)
		look_at_some(look, now);
	known_generation = generation;
}

void
queue_hold(AccountQueue *queue)
{
	queue->nholds++;
}

void
queue_release(AccountQueue *queue)
{
	Assert(queue->nholds > 0);
	queue->nholds--;
}

TimestampTz
queues_reopen_at(void)
{
	dlist_iter	iter;
	TimestampTz first = DT_NOEND;

	dlist_foreach(iter, roster_awake())
	{
		AccountQueue *queue = dlist_container(AccountQueue, node, iter.cur);

		if (queue->exists && queue->reopening)
			first = Min(first, queue->reopen_at);
	}
	return first;
}

void
queues_each(void (*each) (AccountQueue *queue))
{
	dlist_iter	iter;

	roster_wake_all();
	dlist_foreach(iter, roster_awake())
		each(dlist_container(AccountQueue, node, iter.cur));
}

void
queues_set_back(TimestampTz now)
{
	dlist_iter	iter;

	roster_wake_all();
	dlist_foreach(iter, roster_awake())
	{
		AccountQueue *queue = dlist_container(AccountQueue, node, iter.cur);

		queue->exhausted_until = Min(queue->exhausted_until, now);
		gate_set_back(&queue->gate, now);
		queue->reopen_at = Min(queue->reopen_at, now);
		retention_set_back(&queue->retention, now);
		if (queue->tracking)
			tracking_set_back(queue->tracking, now);
		mappings_set_back(&queue->mappings, now);
		window_set_back(&queue->window);
	}
}

/* Return the messages a second that an account sends; 0: any number. */
static double
queue_rate(const AccountQueue *queue)
{
	return pace_rate(&queue->pace, queue->rate);
}

/* Tell whether there is an account that may send at all. */
static bool
is_served(const AccountQueue *queue)
{
	return registry_enabled && queue->exists && is_armed();
}

/* Return when a queue has candidates; DT_NOEND: when notified. */
static TimestampTz
next_candidates(const AccountQueue *queue, TimestampTz now)
{
	TimestampTz next = window_next(&queue->window);

	if (queue->window.held_due != DT_NOEND)
		next = Min(next, hours_opening(&queue->hours, Max(queue->window.held_due, now)));
	return next;
}

/* Return how many messages of a queue may be claimed now, as far as known. */
static int
allowance(const AccountQueue *queue, TimestampTz now)
{
	if (!is_served(queue) || queue->exhausted_until > now || next_candidates(queue, now) > now)
		return 0;
	return Min(gate_allowance(&queue->gate, now),
			   pace_allowance(&queue->pace, queue->max_in_flight, queue_rate(queue), now));
}

/* Return the same, limited to the room for requests beside those taken already. */
static int
room_for(const AccountQueue *queue, Wire *wire, int taken, TimestampTz now)
{
	return wire_room(wire, queue->pace.in_flight, taken, allowance(queue, now));
}

int
queues_wanted(Wire *wire, TimestampTz now)
{
	dlist_iter	iter;
	int			wanted = 0;

	(void) roster_wake_due(now);
	dlist_foreach(iter, roster_awake())
		wanted += room_for(dlist_container(AccountQueue, node, iter.cur), wire, wanted, now);
	return wanted;
}

/* Serve another queue first each time, so that none starves when room is scarce. */
int
queues_take(Wire *wire, int limit, TimestampTz now, int64 *ids)
{
	static uint32 transaction = 0;
	dlist_iter	iter;
	int			taken = 0;
	int64		room = wire_room_for_texts(wire);

	transaction++;
	if (dlist_is_empty(roster_awake()))
		return 0;
	dlist_push_tail(roster_awake(), dlist_pop_head_node(roster_awake()));

	dlist_foreach(iter, roster_awake())
	{
		AccountQueue *queue = dlist_container(AccountQueue, node, iter.cur);

		WindowTake	take = {
			queue->name, &queue->mappings, &queue->gate, queue->refused_sender, transaction, now, &room
		};

		taken += window_take(&queue->window, &take,
							 Min(room_for(queue, wire, taken, now), limit - taken), ids + taken);
	}
	return taken;
}

void
queues_end(TimestampTz now)
{
	dlist_iter	iter;

	dlist_foreach(iter, roster_awake())
	{
		AccountQueue *queue = dlist_container(AccountQueue, node, iter.cur);

		window_end(&queue->window, queue->name, now);
	}
}

void
queue_claimed(AccountQueue *queue, Mapping *mapping, TimestampTz now)
{
	queue->claimed++;
	if (queue->exhausted_until != 0)
		queue_tell_open(queue);
	queue->exhausted_until = 0;
	window_claimed(&queue->window);
	gate_pass(&queue->gate);
	gate_pass(&mapping->gate);
	mapping_changed(&queue->mappings, mapping, 1);
	pace_begin(&queue->pace, queue_rate(queue), now);
}

void
queue_forbidden(AccountQueue *queue, bool failed)
{
	if (failed)
		queue->failed++;
	else
		queue->suppressed++;
	window_forbidden(&queue->window);
}

void
queues_count_forbidden(TimestampTz now)
{
	dlist_iter	iter;

	dlist_foreach(iter, roster_awake())
	{
		AccountQueue *queue = dlist_container(AccountQueue, node, iter.cur);

		if (queue->suppressed == 0 && queue->failed == 0)
			continue;
		counters_begin();
		counters_add(queue->serverid, COUNTER_SUPPRESSED, queue->suppressed);
		counters_add(queue->serverid, COUNTER_FAILED, queue->failed);
		counters_end();
		retention_recorded(&queue->retention, now);
		queue->suppressed = queue->failed = 0;
	}
}

void
queue_submitting(AccountQueue *queue, int64 delay)
{
	if (queue->claimed > 0)
		pace_delay(&queue->pace, queue_rate(queue), delay);
	queue->claimed = 0;
}

TimestampTz
queues_next_event(Wire *wire, TimestampTz now)
{
	dlist_iter	iter;
	TimestampTz next = roster_wake_due(now);

	dlist_foreach(iter, roster_awake())
	{
		AccountQueue *queue = dlist_container(AccountQueue, node, iter.cur);

		/* If there is no room for a request, a reply will make room. */
		if (is_served(queue) && wire_room(wire, queue->pace.in_flight, 0, 1) > 0)
			next = Min(next, Max(Max(Max(next_candidates(queue, now), queue->exhausted_until), gate_next(&queue->gate)),
								 pace_next(&queue->pace, queue->max_in_flight, queue_rate(queue), now)));
	}
	return next;
}

TimestampTz
queues_stay_until(TimestampTz now)
{
	dlist_iter	iter;
	TimestampTz until = DT_NOBEGIN;

	dlist_foreach(iter, roster_awake())
	{
		AccountQueue *queue = dlist_container(AccountQueue, node, iter.cur);

		if (!is_served(queue) || queue->gate.state == ACCOUNT_PAUSED)
			continue;
		if ((account_has_stopped(queue->gate.state) && window_next(&queue->window) != DT_NOEND) ||
			(queue->window.barred && mappings_next_probe(&queue->mappings)))
			return DT_NOEND;
		until = Max(until, pace_slot(&queue->pace, queue_rate(queue), now));
		if (queue->reopening)
			until = Max(until, queue->reopen_at);
	}
	return until;
}

/*
 * Return what an account shows to have stopped it: its own gate, or that of a mapping if
 * each mapping that has messages has stopped.  A mapping whose messages got through since
 * the other was refused twice counts, so that the account does not show another state
 * with each of them.
 */
static const Gate *
shown_gate(AccountQueue *queue, TimestampTz now)
{
	const Mapping *mapping;

	if (queue->gate.state != ACCOUNT_OPEN || !queue->window.barred ||
		next_candidates(queue, now) <= now)
		return &queue->gate;
	mapping = mappings_next_probe(&queue->mappings);
	return mapping && mapping->alone && mapping->successes == queue->successes &&
		queue->pace.in_flight == mappings_probing(&queue->mappings) ? &mapping->gate : &queue->gate;
}

/* Tell whether a queue has nothing to do before its next candidates, nor anything to say. */
static bool
is_quiet(AccountQueue *queue, TimestampTz now)
{
	bool		paused = queue->gate.state == ACCOUNT_PAUSED;

	return queue->exists && queue->nholds == 0 && (paused || queue->gate.state == ACCOUNT_OPEN) &&
		dlist_is_empty(&queue->mappings.active) && !queue->window.barred && !queue->reopening &&
		queue->exhausted_until == 0 && queue->tracking == NULL && queue->window.candidates == NULL &&
		queue->suppressed == 0 && queue->failed == 0 && queue->hurry.at == DT_NOEND &&
		pace_slot(&queue->pace, queue_rate(queue), now) <= now &&
		(paused || next_candidates(queue, now) > now);
}

/* Publish the state of a queue if it has changed. */
static void
publish_queue(AccountQueue *queue, TimestampTz time, bool *begun)
{
	const Gate *gate = shown_gate(queue, time);
	LiveState	now = gate_live(gate, queue->pace.in_flight);

	now.next_slot = queue_rate(queue) > 0 ? queue->pace.next_slot : 0;
	mappings_publish(&queue->mappings, begun);
	if (gate_live_equal(&now, &queue->published))
		return;
	if (!*begun)
		counters_begin();
	*begun = true;
	counters_set_live(queue->serverid, queue->version, &now, gate->reason);
	queue->published = now;
}

void
queues_publish(void)
{
	TimestampTz now = GetCurrentTimestamp();
	dlist_mutable_iter iter;
	bool		begun = false;

	dlist_foreach_modify(iter, roster_awake())
	{
		AccountQueue *queue = dlist_container(AccountQueue, node, iter.cur);

		publish_queue(queue, now, &begun);
		if (is_quiet(queue, now))
			roster_sleep(queue, queue->gate.state == ACCOUNT_PAUSED ? DT_NOEND : next_candidates(queue, now));
	}
	if (begun)
		counters_end();
}
