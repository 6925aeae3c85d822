
# More databases than workers. An idle worker leaves early when another database is
# waiting for a worker, and one that is never idle leaves after a while.

use strict;
use warnings;

use SMS3300;
use Test::More;

my $gateway = new_gateway();

# Send from two databases in turn on a server that has room for one worker only, and
# says so.
sub is_shared
{
	my ($name, $conf, $message) = @_;
	my $node = new_node($name, conf => "sms3300.worker_idle_timeout = 1h\n$conf");
	for my $database (qw(one two))
	{
		run_sql($node, "CREATE DATABASE $database");
		create_account($node, $database,
			url => $gateway->url, line => '983000330000', timeout => '1 hour');
	}
	for my $database (qw(one two one))
	{
		run_sql($node, "SELECT sms3300_send('09123456789', '$name: $database')", $database);
		wait_for_end($node, $database);
	}

	# A worker with active requests stays. The waiting database is served after that.
	my $taken = $gateway->count->{taken};
	run_sql($node, "SELECT sms3300_send('09123456789', '#hang')", 'one');
	$gateway->wait_for_taken($taken + 1);
	run_sql($node, "SELECT sms3300_send('09123456789', '$name: after')", 'two');
	wait_for_log($node, qr/$message/);
	$gateway->stop;
	$gateway->start;
	wait_for_end($node, $_) for qw(one two);
	is(run_sql($node, 'SELECT status FROM sms_outbox ORDER BY id DESC LIMIT 1', 'one'),
		'unknown', "$name: what was under way was not cut short");

	$node->stop;
	my @sent = map { $_->{fields}{message} } $gateway->log;
	is_deeply([ grep { /^$name/ } @sent ], [ map { "$name: $_" } qw(one two one after) ],
		"$name: every database is served");
	return;
}

is_shared('crowded', "sms3300.max_workers = 1\n",
	'messages are waiting because all 1 workers are in use');
is_shared('refused', "max_worker_processes = 2\nmax_logical_replication_workers = 0\n",
	'no background worker slot is free');

# A database whose account has stopped, and one that has always something to send, take
# turns with the others.
my $node = new_node('turns', conf => "sms3300.max_workers = 1\nsms3300.worker_idle_timeout = 1h\n");
for my $database (qw(stopped other busy))
{
	run_sql($node, "CREATE DATABASE $database");
	create_account($node, $database, url => $gateway->url, line => '983000330000');
}
alter_account($node, database => 'busy', rate => 2);
my $stopped = queue($node, '#status 18', database => 'stopped');
wait_for_log($node, qr/account "sms3300" stopped/);
queue_until($node, 'sent', 'beside a stopped account', database => 'other');
is_taken($gateway, 'beside a stopped account', 1, 'a stopped account does not keep the worker');

queue($node, \"'busy ' || n", n => 500, database => 'busy');
wait_for_sql($node, 'busy', "SELECT count(*) > 0 FROM sms_outbox WHERE status = 'sent'");
queue_until($node, 'sent', 'beside a busy one', database => 'other');
my $sent = count_rows($node, "status = 'sent'", 'busy');
cmp_ok($sent, '<', 500, 'a database that is never idle does not keep the worker');
wait_for_sql($node, 'busy', "SELECT count(*) > $sent FROM sms_outbox WHERE status = 'sent'");
is(count_rows($node, "status NOT IN ('sent', 'sending', 'queued')", 'busy'), 0, 'and goes on later');
is(run_sql($node, "SELECT status FROM sms_outbox WHERE id = $stopped", 'stopped') =~ /queued|sending/ ? 1 : 0,
	1, 'what waits for the stopped account is not lost');
$node->stop;

done_testing();
