# What the tests share: messages are queued and waited for as asked, accounts and settings
# are changed, a wait that takes too long tells what it waited for, where, and why, and the
# judge of test/chaos knows what is against a rule.

use strict;
use warnings;

use SMS3300;
use SMS3300::Rules;
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

# The judge of test/chaos finds what is sent against each rule as it was at the claim, and
# nothing else. A claim is at a time, or in a span of it.
my ($here, $there) = qw(989120000001 989120000002);
my $rules = SMS3300::Rules->new(log => PostgreSQL::Test::Utils::tempdir() . '/rules', mobiles => [ $here, $there ], messages => 0);
my %open = (hours => '00:00-24:00', deliver_only => [ $here, $there ], max_per_mobile => [ 2, 10 ], max_parts => 4);
my $day  = 20_000 * 86_400;
$rules->note({ before => $day + $_->[0], after => $day + $_->[0] + 1, %{ $_->[1] } })
  for [ -10 => { state => \%open } ],
  [ 100 => { state => { %open, hours => '12:00-13:00' } } ], [ 200 => { state => { %open, deliver_only => [$there] } } ],
  [ 300 => { state => \%open } ], [ 400 => { mobile => $here, out => 1 } ], [ 500 => { mobile => $here, out => 0 } ];
$rules->read;

# Return which rules claims were against: each claim is its begin and end, and more.
sub judged
{
	my %broken = $rules->broken(map {
		my ($from, $to, %more) = @$_;
		{ text => $from, mobile => $here, priority => 0, parts => 1, counts => 0, from => $day + $from, to => $day + $to, %more } } @_);
	return join ', ', map { "$_ @{ $broken{$_} }" } sort keys %broken;
}

is(judged([ 50, 50 ], [ 350, 350 ], [ 450, 450, mobile => $there ], [ 550, 550 ]), '', 'judge: nothing is against a rule');
is(judged([ 100.5, 100.5 ], [ 150, 150 ], [ 160, 160, priority => 8 ], [ 95, 150 ]), 'hours 150', 'judge: hours');
is(judged([ 250, 250 ], [ 250, 250, mobile => $there ], [ 250, 310 ]), 'deliver_only 250', 'judge: deliver_only');
is(judged([ 400.5, 400.5 ], [ 401.5, 401.5 ], [ 395, 402 ], [ 499, 499 ], [ 500.5, 500.5 ]), 'opted out 401.5 499', 'judge: opted out');
is(judged((map { [ 10 + $_, 10 + $_, counts => 1 ] } 0, 1, 2, 12), [ 13, 13 ]), 'max_per_mobile 12', 'judge: max_per_mobile');
is(judged([ 1, 1, counts => 1, parts => 3 ], [ 2, 2, parts => 9 ], [ 3, 3, counts => 1, parts => 2, mobile => $there ],
		[ -5, -5, counts => 1, parts => 2 ]), 'max_parts_per_day 3', 'judge: max_parts_per_day, of that day');
ok($rules->may_suppress($here, $day + 450, $day + 450, 'the recipient has opted out'), 'judge: who has opted out may be suppressed');
ok(!$rules->may_suppress($here, $day + 350, $day + 350, 'the recipient has opted out'), 'judge: but not before');
ok(!$rules->may_suppress($there, $day + 250, $day + 250, 'not in "deliver_only"'), 'judge: nor who is on the list');

done_testing();
