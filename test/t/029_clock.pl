
# The wall clock is set while messages wait, and while no worker is there. What is due by
# the clock is sent, without polling, and nothing waits for a step to pass. A library that
# is preloaded into the server shifts its clock by what a file says.

use strict;
use warnings;

use SMS3300;
use SMS3300::Clock;
use Test::More;

my $gateway = new_gateway();
my $node    = new_shifted_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');
my $hour = 3600;

# The worker waits.
my $id = queue($node, 'forward', send_after => \"clock_timestamp() + interval '1 hour'",
	send_before => \"clock_timestamp() + interval '2 hours'");
mark($node);
set_clock($hour + 60);
wait_for_status($node, $id, 'sent');
is_taken($gateway, 'forward', 1, 'set forward: sent by its worker, which does not poll');

# It is set back while a retry waits, a message is queued, and a request is on the wire.
$gateway->mode('#status 15 busy', 1);
my $retried = queue($node, 'retried');
wait_for_sql($node, 'postgres', "SELECT attempts FROM sms_outbox WHERE id = $retried AND status = 'queued'", 1);
my $held  = queue_until_taken($node, $gateway, '#hold');
alter_account($node, paused => 'true');
my $queued = queue($node, 'queued before');
wait_for_sql($node, 'postgres', 'SELECT state FROM sms3300_stat_account', 'paused');
my $before = run_sql($node, 'SELECT request_time_sum FROM sms3300_stat_account');
set_clock(0);
is($gateway->release, 1, 'a request is under way');
wait_for_status($node, $held, 'sent');
alter_account($node, paused => undef);
wait_for_status($node, [ $retried, $queued ], 'sent');
pass('set back: what was queued, or waited for a retry, does not wait for the step');
$id = queue_until($node, 'sent', 'back');
is_taken($gateway, 'back', 1, 'set back: a new message is sent');
cmp_ok(run_sql($node, 'SELECT request_time_sum FROM sms3300_stat_account'), '>=', $before,
	'set back: no request takes less than no time');

# The launcher waits, at first for what another clock has put off.
set_setting($node, 'sms3300.worker_idle_timeout', 0);
set_clock($hour);
$gateway->mode('#status 15 busy', 1);
$retried = queue($node, 'put off');
wait_for_sql($node, 'postgres', "SELECT attempts FROM sms_outbox WHERE id = $retried AND status = 'queued'", 1);
wait_for_workers($node, 0);
set_clock(0);
wait_until(sub { $gateway->taken('put off') == 2 }, 'the launcher to disbelieve a time that another clock has told');
wait_for_status($node, $retried, 'sent');
pass('set back: the launcher does not wait for the step');
$id = queue($node, 'without a worker', send_after => \"clock_timestamp() + interval '1 hour'",
	send_before => \"clock_timestamp() + interval '2 hours'");
wait_for_workers($node, 0);
set_clock($hour + 60);
wait_until(sub { $gateway->taken('without a worker') }, 'the launcher to start a worker');
wait_for_status($node, $id, 'sent');
is_taken($gateway, 'without a worker', 1, 'set forward: the launcher starts a worker');

# A worker that ended comes back after its pause, not after the step.
set_setting($node, 'sms3300.worker_idle_timeout', '1h');
mark($node);
my $pid = worker_pid($node, 'postgres');
run_sql($node, "SELECT pg_terminate_backend($pid)");
wait_for_sql($node, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
set_clock(0);
$id = queue_until($node, 'sent', 'after the pause');
is_taken($gateway, 'after the pause', 1, 'set back: a worker comes back after its pause');

$node->stop;
done_testing();
