
# Retries: their times and number, what is recorded about them, and when they end.

use strict;
use warnings;

use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main');
my %account = (url => $gateway->url, line => '983000330000');
create_account($node, 'postgres', %account);
create_account($node, 'postgres', %account, account => 'once',    max_attempts => 1);
create_account($node, 'postgres', %account, account => 'paused',  paused       => 'true');
create_account($node, 'postgres', %account, account => 'stopped', username     => 'stopped');

# Wait until a condition holds for a message, and return its row.
sub row_when
{
	my ($id, $condition) = @_;
	wait_for_sql($node, 'postgres', "SELECT $condition FROM sms_outbox WHERE id = $id");
	my ($row) = read_rows($node, "id = $id");
	return $row;
}

# Keep the delay after each attempt, as the worker leaves it in the row.
run_sql($node, <<'END');
CREATE TABLE delays (message text, attempt int, delay numeric);
CREATE FUNCTION keep_delay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.delays VALUES (NEW.message, NEW.attempts,
		extract(epoch FROM NEW.due_at - (NEW.events->-1->>'at')::timestamptz));
	RETURN NULL;
END $$;
CREATE TRIGGER keep_delay AFTER UPDATE ON sms_outbox FOR EACH ROW
	WHEN (OLD.status = 'sending' AND NEW.status = 'queued') EXECUTE FUNCTION keep_delay();
END

# A transient refusal is tried again after 5 s, 10 s ... 5 min, give or take a fifth; the
# test does not wait for that.
my $id = queue($node, '#status 15 busy');
for my $attempt (1 .. 9)
{
	wait_for_sql($node, 'postgres',
		"SELECT count(*) > 0 FROM delays WHERE message = '#status 15 busy' AND attempt = $attempt");
	run_sql($node, "UPDATE sms_outbox SET send_after = clock_timestamp()"
		  . " WHERE id = $id AND status = 'queued'");

	my $delay = run_sql($node,
		"SELECT delay FROM delays WHERE message = '#status 15 busy' AND attempt = $attempt");
	my $expected = 5 * 2**($attempt - 1);
	$expected = 300 if $expected > 300;
	ok(0.8 * $expected <= $delay && $delay <= 1.2 * $expected, "delay $attempt: $delay s");
}
my $row = row_when($id, 'finished_at IS NOT NULL');
is_deeply(
	[ @$row{qw(status attempts http_status api_status error due_at)} ],
	[ 'failed', 10, 200, 15, 'the gateway answered with status 15 (error inside the gateway): busy', undef ],
	'failed after max_attempts');
is_deeply([ map { $_->{attempt} } @{ $row->{events} } ], [ 1 .. 10 ], 'each is remembered');

# Delays differ, so that what was refused together does not come back together.
run_sql($node, "INSERT INTO sms_outbox (mobile, message)"
	  . " SELECT '09123456789', '#status 23' FROM generate_series(1, 20)");
my $first = "message = '#status 23' AND attempt = 1";
wait_for_sql($node, 'postgres', "SELECT count(*) FROM delays WHERE $first", 20);
cmp_ok(run_sql($node, "SELECT count(DISTINCT round(delay, 2)) FROM delays WHERE $first"),
	'>', 5, 'jitter');
run_sql($node, "SELECT sms3300_cancel(id) FROM sms_outbox WHERE message = '#status 23'");

# One attempt only.
$row = row_when(queue($node, '#status 409', account => 'once'), 'finished_at IS NOT NULL');
is_deeply([ @$row{qw(status attempts)} ], [ 'failed', 1 ], 'max_attempts 1');

# A 503 without Retry-After may come from in front of a gateway that took the message. It is
# tried again only so often.
create_account($node, 'postgres', %account, account => 'front', max_attempts => 2);
$row = row_when(queue($node, '#http 503 body=front', account => 'front'), 'finished_at IS NOT NULL');
is_deeply([ @$row{qw(status attempts http_status)} ], [ 'failed', 2, 503 ], 'max_attempts bounds 503');
is_taken($gateway, '#http 503 body=front', 2, 'so it is posted as often');

# Requests that were not sent, and refusals of the account, do not count as attempts.
$gateway->stop;
$id = queue($node, 'hello', account => 'once');
row_when($id, 'jsonb_array_length(events) > 0');
$gateway->start;
$row = row_when($id, 'finished_at IS NOT NULL');
is_deeply([ @$row{qw(status attempts error)} ], [ 'sent', 1, undef ], 'sent after all');
is_deeply(
	{ map { %$_, at => undef } $row->{events}[0] },
	{
		attempt => 1, phase => 'connect', http_status => undef, api_status => undef, at => undef,
		error => $row->{events}[0]{error}
	},
	'the history of a connection refused');
like($row->{events}[0]{error}, qr/connect/, 'the error is recorded');

$gateway->mode('#status 14 no credit', 2);
$row = row_when(queue($node, 'hello', account => 'once'), 'finished_at IS NOT NULL');
is_deeply([ @$row{qw(status attempts error)} ], [ 'sent', 1, undef ], 'sent at the third try');
is_deeply(
	[ map { { %$_, at => undef } } @{ $row->{events} } ],
	[
		map {
			{
				attempt     => 1,
				phase       => 'done',
				http_status => 200,
				api_status  => 14,
				at          => undef,
				error       => 'the gateway answered with status 14 (not enough credit): no credit'
			}
		} 1 .. 2
	],
	'the history of an account without credit');
is(run_sql($node, "SELECT (events->0->>'at')::timestamptz < (events->1->>'at')::timestamptz AND"
	  . " (events->1->>'at')::timestamptz < started_at FROM sms_outbox WHERE id = $row->{id}"),
	't', 'the times are recorded');

# The newest 50 of a history are kept.
$id = queue($node, '#status 15', account => 'paused');
run_sql($node, <<"END");
UPDATE sms_outbox SET events = (SELECT jsonb_agg(jsonb_build_object('attempt', -n))
	FROM generate_series(1, 50) n) WHERE id = $id;
UPDATE sms_outbox SET account = 'once' WHERE id = $id;
END
$row = row_when($id, 'finished_at IS NOT NULL');
is_deeply([ map { $_->{attempt} } @{ $row->{events} } ], [ map({ -$_ } 2 .. 50), 1 ], '50 are kept');

# A message whose time is over expires without a request, wherever it waits.
my $taken = $gateway->count->{taken};
my $soon  = "clock_timestamp() + interval '500 ms'";
queue($node, '#http 503 retry-after=3600', account => 'stopped');
$gateway->wait_for_taken($taken + 1);
wait_for_log($node, qr/account "stopped" stopped/);
my %expires = (
	'in the queue' => queue($node, 'late', send_after => \"now() + interval '1 h'"),
	'while the account is paused'  => queue($node, 'late', account => 'paused', send_before => \$soon),
	'while the account is stopped' => queue($node, 'late', account => 'stopped', send_before => \$soon));
run_sql($node, "UPDATE sms_outbox SET send_after = now() - interval '2 h', send_before = now() - interval '1 h'"
	  . " WHERE id = $expires{'in the queue'}");
for my $where (sort keys %expires)
{
	$row = row_when($expires{$where}, "status = 'expired'");
	is_deeply([ @$row{qw(attempts due_at events)} ], [ 0, undef, [] ], "expires $where");
	like($row->{error}, qr/not sent before \d/, 'the error is recorded');
	ok($row->{finished_at} && !$row->{started_at}, 'the times are recorded');
}
is($gateway->count->{taken}, $taken + 1, 'without a request');

# So does a message that waits for a retry.
$id = queue($node, '#status 15');
row_when($id, "attempts > 0 AND status = 'queued'");
run_sql($node, "UPDATE sms_outbox SET send_before = $soon, due_at = now() + interval '1 h'"
	  . " WHERE id = $id AND status = 'queued'");
queue($node, 'wakes the worker', account => 'paused');
$row = row_when($id, "status = 'expired'");
is($row->{attempts}, scalar @{ $row->{events} }, 'expires before it is tried again');

$node->stop;
done_testing();
