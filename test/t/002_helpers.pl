# What the tests share: messages are queued and waited for as asked, accounts and settings
# are changed, and a wait that takes too long tells what it waited for, where, and why.

use strict;
use warnings;

use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main');
create_account($node, 'postgres', url => $gateway->url, line => '983000330000', timeout => '1 hour');

# Return how waiting fails that is given up soon.
sub failure_of
{
	my ($wait) = @_;
	local $ENV{PG_TEST_TIMEOUT_DEFAULT} = 1;
	return eval { $wait->(); 1 } ? 'no failure' : $@;
}

# Queueing.
my $first = queue_until($node, 'sent', q(it's), priority => 3);
is_taken($gateway, q(it's), 1, 'a message is queued and sent');
is((read_rows($node, "id = $first"))[0]{priority}, 3, 'a column is set');
my @ids = queue($node, [ 'a', 'b' ], n => 2, send_after => \q(now() + interval '1 s'));
is(scalar @ids, 4, 'several messages are queued');
wait_for_statuses($node, \@ids, 'sent 4');
is(statuses($node, 'a'), 'sent 2', 'messages are found by their text');
queue_until_taken($node, $gateway, \q('number ' || n), n => 3);
is(count_rows($node, q(message LIKE 'number _')), 3, 'a text is computed');
is(statuses($node, mark($node)), 'sent 1', 'a mark is sent');
wait_for_end($node);

# Accounts, settings, workers.
alter_account($node, paused => 'true', rate => 1, connect_timeout => undef);
alter_account($node, paused => 'false', rate => undef);
like(run_sql($node, 'SELECT srvoptions FROM pg_foreign_server'),
	qr/^(?!.*rate).*paused=false/, 'options are added, set and dropped');
set_setting($node, 'sms3300.worker_idle_timeout', '77s');
is(run_sql($node, 'SHOW sms3300.worker_idle_timeout'), '77s', 'a setting is changed');
wait_for_workers($node, 1, 'postgres');
like(worker_pid($node), qr/^\d+$/, 'the worker is found');

# A wait goes on as long as there is progress.
my $steps = 0;
is(failure_of(sub { wait_until(sub { ++$steps == 40 }, "forty steps", sub { $steps }) }),
	'no failure', 'a wait goes on while there is progress');

# Failures.
my $hanging = queue_until_taken($node, $gateway, '#hang');
my $line    = __LINE__ + 1;
my $failure = failure_of(sub { wait_for_status($node, $hanging, 'sent') });
like($failure, qr/\A\Q$0\E line $line, called .*: timed out after \d+ s waiting for "sent", but got "sending"/,
	'a wait that times out names the line of the test');
like($failure, qr/^sms_outbox: .*"id": $hanging,.*\n {4}being sent since/m, 'a wait that times out shows the row and explains it');
unlike($failure, qr/"id": $first,/, 'a wait that times out shows no other row');
like($failure, qr/^sms3300_stat_$_: \{/m, "a wait that times out shows sms3300_stat_$_") for qw(account worker);

like(failure_of(sub { wait_for_sql($node, 'postgres', "SELECT attempts FROM sms_outbox WHERE id = $first", 7) }),
	qr/^sms_outbox: .*"id": $first,/m, 'the row that a query is about is shown');
like(failure_of(sub { $gateway->wait_for_taken(1000) }),
	qr/1000 requests.*^sms_outbox: .*"id": $hanging,/ms, 'what is not finished is shown where no row is known');
like(failure_of(sub { wait_for_log($node, qr/no such line/) }),
	qr/\A\Q$0\E line .*no such line.*^sms3300_stat_worker/ms, 'a wait for the log fails so, too');
like(failure_of(sub { run_sql($node, 'SELECT 1 / 0') }),
	qr/\A\Q$0\E line .*division by zero/, 'SQL that fails names the line of the test');

done_testing();
