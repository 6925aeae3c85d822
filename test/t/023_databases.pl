
# Several databases on one server: which of them gets a worker and when, dropping and
# copying the extension or the database, and the setting that stops all of them.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $line    = '983000330000';
my $gateway = new_gateway();
my $node    = new_node('main', conf => "lock_timeout = 60s\n");

# Queue a message and wait until it is sent.
sub is_sent
{
	my ($database, $message) = @_;
	queue_until($node, 'sent', $message, database => $database);
	return is_taken($gateway, $message, 1, $message);
}

# Create a database with the extension and an account.
sub create_database
{
	my ($name, %option) = @_;
	run_sql($node, "CREATE DATABASE $name", 'template1');
	create_account($node, $name, url => $gateway->url, line => $line, %option);
	return;
}

# The extension comes after the server's start, and then before it. Each database has
# a worker of its own, which does not wait for the others'.
create_database('one');
is_sent('one', 'created after the start');
$node->restart;
create_database('two');
run_sql($node, 'CREATE DATABASE three', 'template1');
run_sql($node, <<'END', 'three');
CREATE SCHEMA "SMS out";
CREATE EXTENSION sms3300 SCHEMA "SMS out";
ALTER DATABASE three SET search_path = "SMS out";
END
create_account($node, 'three', url => $gateway->url, line => $line);
queue_until_taken($node, $gateway, '#hang', database => $_) for qw(one two three);
for my $database (qw(one two three))
{
	is_sent($database, "from database $database");
	wait_for_workers($node, 1, $database);
}

# The account stays its own database's.
run_sql($node, 'ALTER SERVER sms3300 OPTIONS (ADD paused $$true$$)', 'two');
my $waiting = queue($node, 'waits', database => 'two');
is_sent('one', 'another database');
is(run_sql($node, "SELECT status FROM sms_outbox WHERE id = $waiting", 'two'),
	'queued', 'paused in its own database only');
run_sql($node, 'ALTER SERVER sms3300 OPTIONS (DROP paused)', 'two');
wait_for_status($node, $waiting, 'sent', 'two');

# The extension is dropped while requests hang, which it does not wait for, nor does the
# worker. Then it is created again.
create_database('dropped', timeout => '1 hour');
queue_until_taken($node, $gateway, '#hang', database => 'dropped');
run_sql($node, 'DROP EXTENSION sms3300 CASCADE', 'dropped');
wait_for_workers($node, 0, 'dropped');
is_sent('one', 'the others go on');
create_account($node, 'dropped', url => $gateway->url, line => $line);
is_sent('dropped', 'created again');

# The same while many messages are sent, and created again at once.
run_sql($node, "SELECT count(sms3300_send('09123456789', 'bulk')) FROM generate_series(1, 500)",
	'dropped');
wait_for_sql($node, 'dropped', "SELECT count(*) > 50 FROM sms_outbox WHERE status = 'sent'");
run_sql($node, 'DROP EXTENSION sms3300 CASCADE', 'dropped');
my $other = new_gateway();
create_account($node, 'dropped', url => $other->url, line => $line);
my $id = queue($node, 'after many', database => 'dropped');
wait_for_status($node, $id, 'sent', 'dropped');

# What becomes of an old message is not written to the new one of the same number. The
# old one ends with its gateway.
run_sql($node, 'DROP EXTENSION sms3300 CASCADE', 'dropped');
create_account($node, 'dropped', url => $gateway->url, line => $line);
my $old = queue_until_taken($node, $gateway, '#hang', database => 'dropped');
run_sql($node, 'DROP EXTENSION sms3300 CASCADE', 'dropped');
create_account($node, 'dropped', url => $other->url, line => $line);
my $new = queue_until_taken($node, $other, '#hang', database => 'dropped');
is($new, $old, 'the same number');
$gateway->stop;
$gateway->start;
$id = queue($node, 'after the old one has ended', database => 'dropped');
wait_for_status($node, $id, 'sent', 'dropped');
is(run_sql($node, "SELECT status FROM sms_outbox WHERE id = $new", 'dropped'),
	'sending', 'the new one is not touched');

# A database is dropped by force while requests hang; and the ordinary way once the
# worker has left, though a message would be due soon.
run_sql($node, 'DROP DATABASE dropped WITH (FORCE)', 'template1');
set_setting($node, 'sms3300.worker_idle_timeout', 0);
create_database('leaving');
is_sent('leaving', 'before the worker leaves');
run_sql($node, "SELECT sms3300_send('09123456789', 'never', send_after => now() + interval '1 s')",
	'leaving');
wait_for_workers($node, 0, 'leaving');
run_sql($node, 'DROP DATABASE leaving', 'template1');
is_sent('one', 'after DROP DATABASE');

# A copy of a database: its queued messages wait for sms3300_adopt(), in the order of
# one that was queued in the copy itself.
create_database('original', paused => 'true');
queue($node, "copied $_", database => 'original') for 1, 2;
run_sql($node, "SELECT sms3300_send('09123456789', '#hang copied')", 'original');
wait_for_workers($node, 0, 'original');
run_sql($node, 'CREATE DATABASE copy TEMPLATE original', 'template1');
run_sql($node, 'ALTER SERVER sms3300 OPTIONS (SET paused $$false$$)', 'copy');
is_sent('copy', 'queued in the copy');
is_taken($gateway, "copied $_", 0, "a copied message is not sent, $_") for 1, 2;
is(run_sql($node, 'SELECT sms3300_adopt()', 'copy'), 3, 'sms3300_adopt()');
wait_for_sql($node, 'copy', "SELECT count(*) FROM sms_outbox WHERE status = 'sent'", 3);
is_taken($gateway, "copied $_", 1, "an adopted message is sent, $_") for 1, 2;
is(run_sql($node, 'SELECT sms3300_adopt()', 'copy'), 0, 'nothing is left to adopt');

# The switch: nothing goes until it is on again. The worker stays meanwhile, or is gone
# when it is switched off and on.
for my $leaves (0, 1)
{
	if ($leaves)
	{
		wait_for_workers($node, 0, 'one');
	}
	else
	{
		set_setting($node, 'sms3300.worker_idle_timeout', '1min');
		is_sent('one', 'before it is off');
	}
	set_setting($node, 'sms3300.enabled', 'off');
	set_setting($node, 'sms3300.worker_idle_timeout', '1min');
	my $now     = run_sql($node, 'SELECT clock_timestamp()');
	my $message = 'while it is off, ' . ($leaves ? 'worker gone' : 'with worker');
	my $id      = queue($node, $message, database => 'one');
	wait_for_sql($node, 'template1', "SELECT count(*) = 1 FROM pg_stat_activity"
		  . " WHERE backend_type = 'sms3300 worker' AND datname = 'one'"
		  . " AND state = 'idle' AND state_change > '$now'");
	is_taken($gateway, $message, 0, "not sent $message");
	if ($leaves)
	{
		set_setting($node, 'sms3300.worker_idle_timeout', '0');
		wait_for_workers($node, 0, 'one');
	}
	set_setting($node, 'sms3300.enabled', 'on');
	wait_for_status($node, $id, 'sent', 'one');
	is_taken($gateway, $message, 1, "sent after $message");
	set_setting($node, 'sms3300.worker_idle_timeout', '0');
}

$node->stop;
is_deeply([ grep { /PANIC|was terminated by signal/ } split /\n/, slurp_file($node->logfile) ],
	[], 'no process crashed');
done_testing();
