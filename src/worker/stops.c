/*
 * stops.c
 *		What stops an account or a user mapping, and what opens it.
 */
#include "postgres.h"

#include "worker/repeats.h"
#include "worker/stops.h"

/* Stops of an account, or of a mapping of it, for one reason that are logged within a minute. */
#define TELL_FEW 10

/* A sender without credentials is tried again after this. */
#define NO_CREDENTIALS_DELAY (5 * USECS_PER_MINUTE)

void
queue_tell_open(AccountQueue *queue)
{
	if (!queue->untold)
		ereport(LOG,
				(errmsg("sms3300: account \"%s\" is sending again", queue->name)));
	queue->untold = false;
}

/* Note that a message came back. */
static void
come_back(AccountQueue *queue, Mapping *mapping)
{
	pace_end(&queue->pace);
	if (mapping)
		mapping_changed(&queue->mappings, mapping, -1);
}

/* Note that a message says nothing of its mapping.  If it was to try it, another one will. */
static void
return_probe(AccountQueue *queue, Mapping *mapping)
{
	gate_return(&mapping->gate);
	if (account_has_stopped(mapping->gate.state))
		window_bar(&queue->window, mapping->gate.probe_at);
}

void
queue_unclaimed(AccountQueue *queue, Mapping *mapping)
{
	come_back(queue, mapping);
	gate_return(&queue->gate);
	return_probe(queue, mapping);
}

void
queue_aborted(AccountQueue *queue, Mapping *mapping)
{
	come_back(queue, mapping);
}

/* Return how to name a mapping. */
static const char *
mapping_name(const Mapping *mapping)
{
	return OidIsValid(mapping->user) ?
		psprintf("the user mapping of role \"%s\"", NameStr(mapping->name)) :
		"the user mapping for PUBLIC";
}

/* A message got through: open what had stopped. */
static void
succeed(AccountQueue *queue, Mapping *mapping)
{
	bool		opened = gate_succeed(&queue->gate);

	queue->successes++;
	if (mapping && gate_succeed(&mapping->gate))
	{
		opened = true;
		window_due(&queue->window, DT_NOBEGIN);
	}
	if (opened)
		queue_tell_open(queue);
}

/* Stop the account for a while, or keep it stopped for longer. */
static void
stop_account(AccountQueue *queue, const Outcome *outcome)
{
	if (!account_has_stopped(queue->gate.state))
		queue->by_code = false;
	gate_blame(&queue->gate, outcome->id, outcome->reason, outcome->of_mapping);
	queue->refused_sender = outcome->sender;

	/* No message is the cause if none reached the gateway, or the gateway says when to come back. */
	if (outcome->verdict != VERDICT_NOT_SENT && outcome->retry_after < 0 && !outcome->of_mapping)
		gate_blame_sender(&queue->gate, outcome->sender, outcome->at);
	if (!gate_stop(&queue->gate, outcome->retry_after, outcome->at))
		return;
	queue->untold = !repeats_log(psprintf("stopped %s: %s", queue->name, outcome->reason),
								 outcome->too_many ? 1 : TELL_FEW);
	if (!queue->untold)
		ereport(LOG,
				(errmsg("sms3300: account \"%s\" stopped: %s", queue->name, outcome->reason),
				 errdetail("Its messages stay queued. One of them is retried at increasing intervals.")));
}

/* Note whether any message got through since a mapping was refused before. */
static void
note_refusal(const AccountQueue *queue, Mapping *mapping)
{
	if (mapping->gate.state == ACCOUNT_STOPPED)
		return;
	mapping->alone = mapping->successes == queue->successes;
	mapping->successes = queue->successes;
}

/* Stop a mapping for a while, or keep it stopped for longer. */
static void
stop_mapping(AccountQueue *queue, Mapping *mapping, const Outcome *outcome)
{
	bool		stopped;

	note_refusal(queue, mapping);
	gate_blame(&mapping->gate, outcome->id, outcome->reason, true);
	mapping->refused_sender = outcome->sender;
	stopped = gate_stop(&mapping->gate, outcome->retry_after, outcome->at);
	window_bar(&queue->window, mapping->gate.probe_at);
	if (!stopped)
		return;
	queue->untold = !repeats_log(psprintf("stopped %s for %s: %s", queue->name,
										  mapping_name(mapping), outcome->reason), TELL_FEW);
	if (!queue->untold)
		ereport(LOG,
				(errmsg("sms3300: account \"%s\" stopped for %s: %s",
						queue->name, mapping_name(mapping), outcome->reason),
				 errdetail("The messages of its senders stay queued. One of them is retried at increasing intervals.")));
}

void
queue_no_credentials(AccountQueue *queue, Mapping *mapping, const char *reason, TimestampTz now)
{
	note_refusal(queue, mapping);
	gate_blame(&mapping->gate, 0, reason, true);
	gate_stop(&mapping->gate, NO_CREDENTIALS_DELAY, now);
}

/*
 * Note an outcome that may be one of many in a row: a message that may have been sent, or
 * was refused with a code.  Returns whether the account must stop, or stay stopped.
 */
static bool
goes_on_like_that(AccountQueue *queue, const Outcome *outcome)
{
	bool		stopped = account_has_stopped(queue->gate.state);

	if (outcome->verdict == VERDICT_UNKNOWN)
		return ++queue->unknowns >= queue->stop_after_unknown || stopped;
	if (outcome->code == 0)
		return false;
	queue->refusals = outcome->code == queue->refused_code ? queue->refusals + 1 : 1;
	queue->refused_code = outcome->code;
	return queue->refusals >= queue->stop_after_unknown ||
		(stopped && queue->by_code && queue->refusals > 1);
}

/* Stop the account because of many outcomes in a row, or keep it stopped for longer. */
static void
stop_for_many(AccountQueue *queue, const Outcome *outcome)
{
	bool		unknown = outcome->verdict == VERDICT_UNKNOWN;
	bool		stops = !account_has_stopped(queue->gate.state);
	Outcome		last = *outcome;

	if (stops)
		last.reason = psprintf(unknown ? "%d messages in a row may have been sent, the last one: %s" :
							   "%d messages in a row were refused with one code: %s",
							   unknown ? queue->unknowns : queue->refusals, outcome->reason);
	else
		last.reason = pstrdup(queue->gate.reason);
	stop_account(queue, &last);
	if (stops)
		queue->by_code = !unknown;
	queue->unknowns = 0;
	queue->refusals = Min(queue->refusals, 1);
}

/* Record an outcome for the mapping of its message, if that has stopped. */
static void
keep_mapping_stopped(AccountQueue *queue, Mapping *mapping, const Outcome *outcome)
{
	if (mapping == NULL || !account_has_stopped(mapping->gate.state))
		return;
	mapping->gate.refused = outcome->id;
	mapping->refused_sender = outcome->sender;
	gate_stop(&mapping->gate, outcome->retry_after, outcome->at);
	window_bar(&queue->window, mapping->gate.probe_at);
}

void
queue_finished(AccountQueue *queue, const Outcome *outcome)
{
	Mapping    *mapping = outcome->mapping;

	come_back(queue, mapping);
	switch (outcome->verdict)
	{
		case VERDICT_SENT:
			queue->unknowns = queue->refusals = 0;
			pace_accepted(&queue->pace, outcome->at);
			succeed(queue, mapping);
			break;
		case VERDICT_REJECTED:
			if (!goes_on_like_that(queue, outcome))
				succeed(queue, mapping);
			else
			{
				stop_for_many(queue, outcome);
				if (mapping)
					return_probe(queue, mapping);
			}
			break;
		case VERDICT_TRANSIENT:
		case VERDICT_HOURS:
			succeed(queue, mapping);
			break;
		case VERDICT_ACCOUNT:
		case VERDICT_LINE:
		case VERDICT_NOT_SENT:
			if (outcome->of_mapping && mapping && queue->nmappings > 1)
			{
				/* The gateway has answered, so it is not the account. */
				if (gate_succeed(&queue->gate))
					queue_tell_open(queue);
				stop_mapping(queue, mapping, outcome);
				break;
			}
			/* Of many that were on the wire together, one tells enough. */
			if (outcome->too_many && queue->gate.state != ACCOUNT_STOPPED)
				pace_refused(&queue->pace, outcome->at);
			stop_account(queue, outcome);
			if (mapping)
				return_probe(queue, mapping);
			break;
		case VERDICT_UNKNOWN:
			if (goes_on_like_that(queue, outcome))
				stop_for_many(queue, outcome);
			keep_mapping_stopped(queue, mapping, outcome);
			break;
	}
}

void
queue_returned(AccountQueue *queue)
{
	if (queue->exhausted_until != 0)
		queue->exhausted_until = DT_NOBEGIN;
}

void
queue_exhausted(AccountQueue *queue, TimestampTz until, const char *reason, bool is_news)
{
	queue->exhausted_until = until;
	if (is_news)
		ereport(LOG,
				(errmsg("sms3300: account \"%s\" stopped: %s", queue->name, reason),
				 errdetail("Its messages stay queued until the next day, or until its option \"max_parts_per_day\" is altered.")));
}
