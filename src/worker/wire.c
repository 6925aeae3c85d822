/*
 * wire.c
 *		Manage this worker's requests on the wire.
 */
#include "postgres.h"

#include "compat.h"
#include "shared/clock.h"
#include "worker/wire.h"

/*
 * The forms on the wire together, and the texts of the messages claimed by a
 * transaction: many ordinary messages, so that only long ones are fewer at once.
 */
#define MAX_BYTES (6 * 1024 * 1024)
#define MAX_TEXTS (1024 * 1024)

/* A form is up to this much larger than its text. */
#define FORM_FACTOR 3

void
wire_open(Wire *wire)
{
	wire->http = http_open();
	wire->in_flight = 0;
	wire->asking = false;
	wire->answer = NULL;
	wire->bytes = 0;
}

int64
wire_room_for_texts(const Wire *wire)
{
	return Min((MAX_BYTES - wire->bytes) / FORM_FACTOR, MAX_TEXTS);
}

int
wire_room(Wire *wire, int held, int taken, int wanted)
{
	if (wanted <= 0 || wire_room_for_texts(wire) <= 0)
		return 0;
	return http_reserve(wire->http, held, taken, wanted);
}

void
wire_submit(Wire *wire, Job *job)
{
	job->submitted_at = clock_us();
	job->request.owner = job;
	job->form_size = (int) job->request.body_size;
	wire->bytes += job->form_size;
	http_submit(wire->http, &job->request);
	wire->in_flight++;
}

Job *
wire_next(Wire *wire)
{
	const HttpReply *reply = http_next(wire->http);
	Job		   *job;

	if (reply && reply->owner == wire)
	{
		wire->asking = false;
		wire->answer = reply;
		reply = http_next(wire->http);
	}
	if (reply == NULL)
		return NULL;
	Assert(wire->in_flight > 0);
	wire->in_flight--;
	job = reply->owner;
	wire->bytes -= job->form_size;
	job_finish(job, reply, &job->queue->codes);

	/* Further replies on that connection would be taken for other messages'. */
	if (!gateway_is_reply_to(&job->said, job->mobile))
		http_distrust(reply);
	return job;
}

void
wire_ask(Wire *wire, HttpRequest *request)
{
	Assert(!wire->asking && wire->answer == NULL);
	wire->asking = true;
	request->owner = wire;
	http_submit(wire->http, request);
}

void
wire_release_answer(Wire *wire)
{
	http_release(wire->http, wire->answer);
	wire->answer = NULL;
}

void
wire_release(Wire *wire, Job *job)
{
	if (job->reply)
		http_release(wire->http, job->reply);
	job_destroy(job);
}

void
wire_wait(Wire *wire, int64 timeout)
{
	static uint32 wait_event = 0;

	if (wait_event == 0)
		wait_event = wait_event_named("Sms3300Main");
	http_wait(wire->http, timeout, wait_event);
}

void
wire_abort(Wire *wire, const char *reason)
{
	http_abort_all(wire->http, reason);
}
