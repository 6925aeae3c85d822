
# Logical replication of the outbox. The subscriber does not send the rows until it adopts
# them. The results alone can be replicated to a warehouse without the extension.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway   = new_gateway();
my $publisher = new_node(
	'publisher',
	init => [ allows_streaming => 'logical' ],
	conf => "sms3300.worker_idle_timeout = 1h\n");
my $subscriber = new_node('subscriber', conf => "sms3300.worker_idle_timeout = 1h\n");
my %account    = (url => $gateway->url, line => '983000330000', timeout => '1 h', max_in_flight => 3);
create_account($publisher,  'postgres', %account, paused => 'false');
create_account($subscriber, 'postgres', %account);

# What is there before the subscription: some sent, some on the wire, some queued. The
# subscriber's own messages take their numbers elsewhere.
queue($publisher, 'sent before', n => 2);
wait_for_statuses($publisher, 'sent before', 'sent 2');
queue($publisher, '#hang before', n => 2);
$gateway->wait_for_taken(4);
alter_account($publisher, paused => 'true');
queue($publisher, 'queued before', n => 3);
run_sql($publisher, 'CREATE PUBLICATION messages FOR TABLE sms_outbox');
run_sql($subscriber, 'ALTER TABLE sms_outbox ALTER id RESTART WITH 1000000000000');
my $connection = quote($publisher->connstr('postgres'));
run_sql($subscriber, "CREATE SUBSCRIPTION messages CONNECTION $connection PUBLICATION messages");
$subscriber->wait_for_subscription_sync($publisher, 'messages');
mark($subscriber);
wait_for_statuses($subscriber, $_->[0], $_->[1])
  for [ 'sent before', 'sent 2' ], [ '#hang before', 'sending 2' ], [ 'queued before', 'queued 3' ];
is_taken($gateway, 'queued before', 0, "queued before: what came first is silent");

# What is queued while the subscription runs; also where the subscriber has its triggers
# fire for it.
queue($publisher, 'queued after', n => 2);
$publisher->wait_for_catchup('messages');
run_sql($subscriber, 'ALTER TABLE sms_outbox ENABLE ALWAYS TRIGGER sms3300_insert;'
	  . ' ALTER TABLE sms_outbox ENABLE ALWAYS TRIGGER sms3300_update');
queue($publisher, 'triggers fire', n => 2);
run_sql($publisher, "UPDATE sms_outbox SET priority = 3 WHERE message = 'triggers fire'");
$publisher->wait_for_catchup('messages');
mark($subscriber);
for my $message ('queued after', 'triggers fire')
{
	wait_for_statuses($subscriber, $message, 'queued 2');
	is_taken($gateway, $message, 0, "$message: silent");
}
is(run_sql($subscriber, "SELECT count(DISTINCT origin), sum(priority) FROM sms_outbox WHERE status = 'queued'"),
	'1|6', 'rows that were replicated are as they were');

# The publisher sends, and the subscriber hears of the results; of deleted rows, too.
alter_account($publisher, paused => 'false');
wait_for_statuses($publisher, 'queued after', 'sent 2');
$publisher->wait_for_catchup('messages');
wait_for_statuses($subscriber, 'queued after', 'sent 2');
is( run_sql($subscriber, "SELECT array_agg(message_id ORDER BY id) FROM sms_outbox WHERE message = 'queued after'"),
	run_sql($publisher, "SELECT array_agg(message_id ORDER BY id) FROM sms_outbox WHERE message = 'queued after'"),
	'the results are replicated');
is_taken($gateway, $_, 2, "$_: sent once") for 'queued after', 'triggers fire';

# A warehouse keeps the results, by the year, in a table of its own, as doc/scaling.md has
# it. The publication says nothing of what is deleted.
run_sql($subscriber, 'CREATE DATABASE warehouse');
run_sql($subscriber, $_, 'warehouse') for sql_blocks('doc/scaling.md', 'warehouse');
run_sql($publisher, $_) for grep { /CREATE PUBLICATION/ } sql_blocks('doc/scaling.md');
run_sql($subscriber, "CREATE SUBSCRIPTION results CONNECTION $connection PUBLICATION results", 'warehouse');
$subscriber->wait_for_subscription_sync($publisher, 'results', 'warehouse');
queue($publisher, 'for the warehouse', n => 2);
wait_for_statuses($publisher, 'for the warehouse', 'sent 2');
run_sql($publisher, "ALTER SERVER sms3300 OPTIONS (ADD retention '0 s')");
wait_for_sql($publisher, 'postgres', "SELECT count(*) FROM sms_outbox WHERE status = 'sent'", 0);
$publisher->wait_for_catchup($_) for qw(messages results);
wait_for_statuses($subscriber, 'for the warehouse', 'sent 2', 'warehouse');
wait_for_statuses($subscriber, 'sent before', 'sent 2', 'warehouse');
is(count_rows($subscriber, "message = 'for the warehouse'"),
	0, 'the subscriber has deleted them as well');

# With a publication that PostgreSQL refuses updates for, nothing is sent until it is dropped.
my %refused = (filter => 'sms_outbox WHERE (finished_at IS NOT NULL)', columns => 'sms_outbox (mobile, status)');
for my $what (sort keys %refused)
{
	run_sql($publisher, "CREATE PUBLICATION refused FOR TABLE $refused{$what}");
	my $since = run_sql($publisher, 'SELECT clock_timestamp()');
	queue($publisher, "refused $what");
	wait_for_sql($publisher, 'postgres', <<"END");
SELECT last_error = 'cannot update table "sms_outbox"' AND last_error_at > '$since' FROM sms3300_stat_worker
END
	wait_for_statuses($publisher, "refused $what", 'queued 1');
	my $offset = -s $publisher->logfile;
	my ($tries, $last) = (0, '');
	wait_until(
		sub {
			queue($publisher, "refused $what too");
			my $at = run_sql($publisher, 'SELECT last_error_at FROM sms3300_stat_worker');
			$tries++ if $at ne $last;
			$last = $at;
			return $tries >= 20;
		},
		'many tries');
	my $said = () = slurp_file($publisher->logfile, $offset) =~ /failed: cannot update table "sms_outbox"/g;
	cmp_ok($said, '<', 5, "refused $what: the log tells now and then");
	run_sql($publisher, 'DROP PUBLICATION refused');
	wait_for_sql($publisher, 'postgres', "SELECT count(*) FROM sms_outbox WHERE message = 'refused $what'", 0);
	run_sql($publisher, "SELECT count(sms3300_cancel(id)) FROM sms_outbox WHERE message = 'refused $what too'");
	is_taken($gateway, "refused $what", 1, "refused $what: sent once the publication is gone");
}

# The publisher is lost: the subscriber takes over when it is told to.
alter_account($publisher, paused => 'true');
queue($publisher, 'left behind', n => 3);
$publisher->wait_for_catchup('messages');
$publisher->stop('immediate');
run_sql($subscriber, 'ALTER SUBSCRIPTION messages DISABLE; ALTER SUBSCRIPTION messages SET (slot_name = NONE)');
run_sql($subscriber, 'DROP SUBSCRIPTION messages');
mark($subscriber);
is_taken($gateway, 'left behind', 0, "left behind: silent without its publisher");
is(run_sql($subscriber, 'SELECT sms3300_adopt()'), 5, 'adopted');
wait_for_statuses($subscriber, 'left behind', 'sent 3');
wait_for_statuses($subscriber, '#hang before', 'unknown 2');
is_taken($gateway, 'left behind', 3, "left behind: sent once");
is_taken($gateway, '#hang before', 2, "#hang before: not sent again");

$subscriber->stop;
done_testing();
