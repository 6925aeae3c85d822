
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

# Queue a message, and return its id.
sub send_message
{
	my ($database, $message) = @_;
	return run_sql($node, "SELECT sms3300_send('09123456789', '$message')", $database);
}

# Queue a message that hangs at a gateway, wait until it does, and return its id.
sub hang
{
	my ($database, $at) = @_;
	my $taken = $at->count->{taken};
	my $id    = send_message($database, '#hang');
	$at->wait_for_taken($taken + 1);
	return $id;
}

# Queue a message and wait until it is sent.
sub is_sent
{
	my ($database, $message) = @_;
	my $id = send_message($database, $message);
	wait_for_status($database, $id, 'sent');
	return is_taken($message, 1);
}

# Check how many times a message was taken.
sub is_taken
{
	my ($message, $times, $what) = @_;
	return is(scalar(grep { $_->{fields}{message} eq $message } $gateway->log),
		$times, $what // $message);
}

# Wait until a message has a status.
sub wait_for_status
{
	my ($database, $id, $status) = @_;
	wait_for_sql($node, $database, "SELECT status FROM sms_outbox WHERE id = $id", $status);
	return;
}

# Wait until so many workers serve a database, asking from another.
sub wait_for_workers
{
	my ($database, $n) = @_;
	wait_for_sql($node, 'template1', "SELECT count(*) FROM pg_stat_activity"
		  . " WHERE backend_type = 'sms3300 worker' AND datname = '$database'", $n);
	return;
}

# Change a setting and wait until the postmaster has followed, and so told the others.
sub set
{
	my ($name, $value) = @_;
	run_sql($node, "ALTER SYSTEM SET $name = '$value'", 'template1');
	run_sql($node, 'SELECT pg_reload_conf()', 'template1');
	$node->poll_query_until('template1', "SHOW $name", $value) or die "$name is not $value";
	return;
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
hang($_, $gateway) for qw(one two three);
for my $database (qw(one two three))
{
	is_sent($database, "from database $database");
	wait_for_workers($database, 1);
}

# The account stays its own database's.
run_sql($node, 'ALTER SERVER sms3300 OPTIONS (ADD paused $$true$$)', 'two');
my $waiting = send_message('two', 'waits');
is_sent('one', 'another database');
is(run_sql($node, "SELECT status FROM sms_outbox WHERE id = $waiting", 'two'),
	'queued', 'paused in its own database only');
run_sql($node, 'ALTER SERVER sms3300 OPTIONS (DROP paused)', 'two');
wait_for_status('two', $waiting, 'sent');

# The extension is dropped while requests hang, which it does not wait for, nor does the
# worker. Then it is created again.
create_database('dropped', timeout => '1 hour');
hang('dropped', $gateway);
run_sql($node, 'DROP EXTENSION sms3300 CASCADE', 'dropped');
wait_for_workers('dropped', 0);
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
my $id = send_message('dropped', 'after many');
wait_for_status('dropped', $id, 'sent');

# What becomes of an old message is not written to the new one of the same number. The
# old one ends with its gateway.
run_sql($node, 'DROP EXTENSION sms3300 CASCADE', 'dropped');
create_account($node, 'dropped', url => $gateway->url, line => $line);
my $old = hang('dropped', $gateway);
run_sql($node, 'DROP EXTENSION sms3300 CASCADE', 'dropped');
create_account($node, 'dropped', url => $other->url, line => $line);
my $new = hang('dropped', $other);
is($new, $old, 'the same number');
$gateway->stop;
$gateway->start;
$id = send_message('dropped', 'after the old one has ended');
wait_for_status('dropped', $id, 'sent');
is(run_sql($node, "SELECT status FROM sms_outbox WHERE id = $new", 'dropped'),
	'sending', 'the new one is not touched');

# A database is dropped by force while requests hang; and the ordinary way once the
# worker has left, though a message would be due soon.
run_sql($node, 'DROP DATABASE dropped WITH (FORCE)', 'template1');
set('sms3300.worker_idle_timeout', 0);
create_database('leaving');
is_sent('leaving', 'before the worker leaves');
run_sql($node, "SELECT sms3300_send('09123456789', 'never', send_after => now() + interval '1 s')",
	'leaving');
wait_for_workers('leaving', 0);
run_sql($node, 'DROP DATABASE leaving', 'template1');
is_sent('one', 'after DROP DATABASE');

# A copy of a database: its queued messages wait for sms3300_adopt(), in the order of
# one that was queued in the copy itself.
create_database('original', paused => 'true');
send_message('original', "copied $_") for 1, 2;
run_sql($node, "SELECT sms3300_send('09123456789', '#hang copied')", 'original');
wait_for_workers('original', 0);
run_sql($node, 'CREATE DATABASE copy TEMPLATE original', 'template1');
run_sql($node, 'ALTER SERVER sms3300 OPTIONS (SET paused $$false$$)', 'copy');
is_sent('copy', 'queued in the copy');
is_taken("copied $_", 0, "a copied message is not sent, $_") for 1, 2;
is(run_sql($node, 'SELECT sms3300_adopt()', 'copy'), 3, 'sms3300_adopt()');
wait_for_sql($node, 'copy', "SELECT count(*) FROM sms_outbox WHERE status = 'sent'", 3);
is_taken("copied $_", 1, "an adopted message is sent, $_") for 1, 2;
is(run_sql($node, 'SELECT sms3300_adopt()', 'copy'), 0, 'nothing is left to adopt');

# The switch: nothing goes until it is on again. The worker stays meanwhile, or is gone
# when it is switched off and on.
for my $leaves (0, 1)
{
	if ($leaves)
	{
		wait_for_workers('one', 0);
	}
	else
	{
		set('sms3300.worker_idle_timeout', '1min');
		is_sent('one', 'before it is off');
	}
	set('sms3300.enabled',             'off');
	set('sms3300.worker_idle_timeout', '1min');
	my $now     = run_sql($node, 'SELECT clock_timestamp()');
	my $message = 'while it is off, ' . ($leaves ? 'worker gone' : 'with worker');
	my $id      = send_message('one', $message);
	wait_for_sql($node, 'template1', "SELECT count(*) = 1 FROM pg_stat_activity"
		  . " WHERE backend_type = 'sms3300 worker' AND datname = 'one'"
		  . " AND state = 'idle' AND state_change > '$now'");
	is_taken($message, 0, "not sent $message");
	if ($leaves)
	{
		set('sms3300.worker_idle_timeout', '0');
		wait_for_workers('one', 0);
	}
	set('sms3300.enabled', 'on');
	wait_for_status('one', $id, 'sent');
	is_taken($message, 1, "sent after $message");
	set('sms3300.worker_idle_timeout', '0');
}

$node->stop;
is_deeply([ grep { /PANIC|was terminated by signal/ } split /\n/, slurp_file($node->logfile) ],
	[], 'no process crashed');
done_testing();
