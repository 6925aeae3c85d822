
# A result that a unique or failing index of the user's refuses is kept. It is said what is in
# the way, and the row is never called what it is not.

use strict;
use warnings;
use utf8;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main');
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');
run_sql($node, 'CREATE UNIQUE INDEX mine ON sms_outbox (message_id)');
my $json  = '#json {"status": -1, "msg": "success", "data": {"message_id": 5000, "line": 983000330000}}';
my $first = queue_until($node, 'sent', $json);

# Return what the explanation of a message is.
sub explained
{
	my ($id) = @_;
	return run_sql($node, "SELECT sms3300_explain($id)");
}

# A unique index.
my $offset = -s $node->logfile;
my $id     = queue($node, $json);
my $refused = 'its reply came, the gateway accepted it, but cannot be recorded since [^;]*:'
  . ' duplicate key value violates unique constraint "mine"; the worker retries until it succeeds';
wait_for_sql($node, 'postgres', "SELECT sms3300_explain($id) ~ '^$refused\$'");
wait_for_log($node, qr/the result of message $id cannot be recorded: duplicate key value.*\n.*DETAIL:  The gateway accepted the message\./, $offset);
queue_until($node, 'sent', 'another');
is(statuses($node, $id), 'sending 1', 'its row says nothing else meanwhile');
is(statuses($node, $first), 'sent 1', 'others go on');

# The next worker knows of it, too.
my $pid = worker_pid($node);
run_sql($node, "SELECT pg_terminate_backend($pid)");
wait_until(sub { my $now = worker_pid($node); $now ne '' && $now ne $pid }, 'another worker');
queue_until($node, 'sent', 'by the next worker');
wait_for_sql($node, 'postgres', "SELECT sms3300_explain($id) ~ '^$refused\$'");
is(statuses($node, $id), 'sending 1', 'the next worker does not call it unknown');
run_sql($node, 'DROP INDEX mine');
wait_for_status($node, $id, 'sent');
my ($row) = read_rows($node, "id = $id");
is_deeply([ @{$row}{qw(message_id http_status api_status sent_line attempts error)} ],
	[ 5000, 200, -1, '983000330000', 1, undef ], 'the result that came is recorded');
is_taken($gateway, $json, 2, 'nothing was sent again');
like(explained($id), qr/^sent at .* as gateway message 5000/, 'it is explained as what it is');

# What refuses it may say more than is kept: that ends with a whole character.
run_sql($node, <<'END');
CREATE FUNCTION refuse(status sms_status, message text) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
	IF status = 'sent' AND message = 'long' THEN RAISE EXCEPTION '%', repeat('ش', 300); END IF;
	RETURN 1;
END $$;
CREATE INDEX refusing ON sms_outbox (refuse(status, message));
END
my $long = queue($node, 'long');
wait_for_sql($node, 'postgres', "SELECT sms3300_explain($long) ~ 'cannot be recorded since [^;]*: ش{127}; the worker'");
run_sql($node, 'DROP INDEX refusing');
wait_for_status($node, $long, 'sent');

# An index that fails, and a crash: what the row says then is true, too.
run_sql($node, q{CREATE INDEX failing ON sms_outbox ((1 / CASE WHEN status = 'rejected' THEN 0 ELSE 1 END))});
my $lost = queue($node, '#status 27 no');
wait_for_sql($node, 'postgres', "SELECT sms3300_explain($lost) ~ 'the gateway answered with status 27[^,]*, but cannot be recorded since .*: division by zero;'");
$node->stop('immediate');
$node->start;
wait_for_status($node, $lost, 'unknown');
is(run_sql($node, "SELECT error FROM sms_outbox WHERE id = $lost"),
	'the worker ended before a result was recorded; it may have been sent', 'nothing untrue is said after a crash');

$node->stop;
done_testing();
