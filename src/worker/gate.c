/*
 * gate.c
 *		Whether an account, or a user mapping, sends: open, held, or stopped by a refusal.
 */
#include "postgres.h"


#include "text/clip.h"
#include "worker/gate.h"
#include "worker/pace.h"

#define FIRST_PROBE_DELAY USECS_PER_SEC

LiveState
gate_live(const Gate *gate, int in_flight)
{
	return (LiveState) {
		.in_flight = in_flight, .state = gate->state,
		.probe_at = gate->state == ACCOUNT_STOPPED ? gate->probe_at : 0,
		.of_mapping = account_has_stopped(gate->state) && gate->of_mapping
	};
}

bool
gate_live_equal(const LiveState *a, const LiveState *b)
{
	return a->in_flight == b->in_flight && a->state == b->state && a->probe_at == b->probe_at &&
		a->next_slot == b->next_slot;
}

int
gate_allowance(const Gate *gate, TimestampTz now)
{
	switch (gate->state)
	{
		case ACCOUNT_OPEN:
			return INT_MAX;
		case ACCOUNT_STOPPED:
			return gate->probe_at <= now || gate_is_for_others(gate, now) ? 1 : 0;
		case ACCOUNT_PAUSED:
		case ACCOUNT_PROBING:
			break;
	}
	return 0;
}

TimestampTz
gate_next(const Gate *gate)
{
	switch (gate->state)
	{
		case ACCOUNT_OPEN:
			return DT_NOBEGIN;
		case ACCOUNT_STOPPED:
			return gate->other_at != 0 ? Min(gate->probe_at, gate->other_at) : gate->probe_at;
		case ACCOUNT_PAUSED:
		case ACCOUNT_PROBING:
			break;
	}
	return DT_NOEND;
}

void
gate_pass(Gate *gate)
{
	if (gate->state == ACCOUNT_STOPPED)
		gate->state = ACCOUNT_PROBING;
}

void
gate_return(Gate *gate)
{
	if (gate->state == ACCOUNT_PROBING)
		gate->state = ACCOUNT_STOPPED;
}

bool
gate_stop(Gate *gate, int64 retry_after, TimestampTz now)
{
	bool		was_open = gate->state == ACCOUNT_OPEN;

	if (!was_open && gate->state != ACCOUNT_PROBING)
		return false;
	Assert(!was_open || gate->failures == 0);
	gate->state = ACCOUNT_STOPPED;
	gate->failures++;
	gate->probe_at = now +
		(retry_after >= 0 ? retry_after : pace_backoff(FIRST_PROBE_DELAY, gate->failures));
	return was_open;
}

void
gate_blame(Gate *gate, int64 refused, const char *reason, bool of_mapping)
{
	gate->of_mapping = of_mapping;
	gate->refused = refused;
	clip_text(gate->reason, reason, COUNTERS_REASON_SIZE);
}

bool
gate_blames(const Gate *gate, uint32 sender)
{
	for (int i = 0; i < gate->nblamed; i++)
		if (gate->blamed[i] == sender)
			return true;
	return false;
}

void
gate_blame_sender(Gate *gate, uint32 sender, TimestampTz now)
{
	if (gate->nblamed < GATE_BLAMED && !gate_blames(gate, sender))
		gate->blamed[gate->nblamed++] = sender;
	gate->other_from = now + FIRST_PROBE_DELAY;
	gate->other_at = gate->nblamed < GATE_BLAMED ? gate->other_from : 0;
}

bool
gate_is_for_others(const Gate *gate, TimestampTz now)
{
	return gate->state == ACCOUNT_STOPPED && gate->probe_at > now &&
		gate->other_at != 0 && gate->other_at <= now;
}

void
gate_no_other(Gate *gate, TimestampTz now)
{
	gate->other_from = now + FIRST_PROBE_DELAY;
	gate->other_at = 0;
}

void
gate_news(Gate *gate)
{
	if (gate->other_at == 0 && gate->nblamed < GATE_BLAMED)
		gate->other_at = gate->other_from;
}

bool
gate_succeed(Gate *gate)
{
	return account_has_stopped(gate->state) && gate_set(gate, ACCOUNT_OPEN);
}

bool
gate_set(Gate *gate, AccountState state)
{
	bool		had_stopped = account_has_stopped(gate->state);

	Assert(!account_has_stopped(state));
	gate->state = state;
	gate->failures = gate->nblamed = 0;
	gate->other_from = gate->other_at = 0;
	return had_stopped && state == ACCOUNT_OPEN;
}

void
gate_set_back(Gate *gate, TimestampTz now)
{
	gate->probe_at = now;
	gate->other_from = Min(gate->other_from, now);
	gate->other_at = Min(gate->other_at, now);
}
