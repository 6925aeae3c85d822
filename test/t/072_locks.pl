
# User locks on rows and on the table. Only work that needs the locked object waits, and
# results are recorded once the lock is released.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
my %account = (url => $gateway->url, line => '983000330000');
create_account($node, 'postgres', %account, timeout => '6 s', max_in_flight => 50);
run_sql($node, 'CREATE DATABASE other');
create_account($node, 'other', %account);

my $worker = "pg_stat_activity WHERE backend_type = 'sms3300 worker' AND datname = 'postgres'";
my ($user, $owner) = map { $node->background_psql('postgres') } 1 .. 2;
$_->set_query_timer_restart for $user, $owner;

# Queue $n messages with a text, in one transaction.
sub queue
{
	my ($n, $message, $database) = @_;
	return run_sql($node, 'INSERT INTO sms_outbox (mobile, message)'
		  . " SELECT '09123456789', '$message' FROM generate_series(1, $n)", $database);
}

# Queue messages and wait until the gateway has taken them.
sub queue_and_wait
{
	my ($n, $message) = @_;
	my $taken = $gateway->count->{taken};
	queue($n, $message);
	return $gateway->wait_for_taken($taken + $n);
}

# Wait until all messages with a text have a status.
sub wait_for_status
{
	my ($message, $status, $database) = @_;
	return wait_for_sql($node, $database // 'postgres',
		"SELECT string_agg(DISTINCT status::text, ' ') FROM sms_outbox WHERE message = '$message'",
		$status);
}

# Send a message by itself, and wait until it is sent.
my $marks = 0;
sub mark
{
	my ($database, $directive) = @_;
	my $message = ($directive // '') . ' mark ' . ++$marks;
	queue(1, $message, $database);
	return wait_for_status($message, 'sent', $database);
}

# Lock the rows with a text in a transaction; returns how many have a status then.
sub lock_rows
{
	my ($message, $status) = @_;
	$user->query_safe("BEGIN; SELECT FROM sms_outbox WHERE message = '$message' FOR UPDATE");
	return $user->query_safe(
		"SELECT count(*) FROM sms_outbox WHERE message = '$message' AND status = '$status'");
}

# Check that messages with a text were taken once each, no more and no less.
sub is_taken
{
	my ($n, $message, $what) = @_;
	my @taken = grep { $_->{fields}{message} eq $message } $gateway->log;
	return is(scalar @taken, $n, "$message: $what");
}

# Pause the account, or go on.
sub pause
{
	my ($paused) = @_;
	return run_sql($node, "ALTER SERVER sms3300 OPTIONS (SET paused '$paused')");
}

run_sql($node, "ALTER SERVER sms3300 OPTIONS (ADD paused 'true')");

# Messages that are queued: those behind them are sent, however many are locked.
queue(2500, 'locked while queued');
is(lock_rows('locked while queued', 'queued'), 2500, 'many are locked');
pause('false');
mark();
is_taken(0, 'locked while queued', 'none is sent');
$user->query_safe('COMMIT');
wait_for_status('locked while queued', 'sent');
is_taken(2500, 'locked while queued', 'each is sent once');

# Messages on the wire: others are sent and recorded.
my $message = '#hold locked while sending';
queue_and_wait(20, $message);
my $offset = -s $node->logfile;
is(lock_rows($message, 'sending'), 20, 'all are on the wire');
$gateway->release;
wait_for_log($node, qr/lock timeout/, $offset);
mark();
is( $user->query_safe("SELECT count(*) FROM sms_outbox WHERE message = '$message' AND status = 'sending'"),
	20, 'their results wait, others do not');
$user->query_safe('COMMIT');
wait_for_status($message, 'sent');
is_taken(20, $message, 'each is sent once');

# One that waits for another try, for an hour, when its account is altered: that would
# hurry it.
queue(1, '#status 15');
wait_for_sql($node, 'postgres',
	"SELECT status = 'queued' AND attempts = 1 FROM sms_outbox WHERE message = '#status 15'");
run_sql($node, "UPDATE sms_outbox SET due_at = now() + interval '1 h' WHERE message = '#status 15'");
lock_rows('#status 15', 'queued');
run_sql($node, "ALTER SERVER sms3300 OPTIONS (ADD connect_timeout '4 s')");
mark();
$user->query_safe('COMMIT');
run_sql($node, "SELECT sms3300_cancel(id) FROM sms_outbox WHERE message = '#status 15'");

# One that has expired. The worker does not look for it all the time: it would do so
# thousands of times a second.
my $scans = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'sms_outbox_expiry_idx'";
my $before = run_sql($node, $scans);
pause('true');
run_sql($node, <<'END');
SELECT sms3300_send('09123456789', 'expires', send_before => clock_timestamp() + interval '1 s')
END
lock_rows('expires', 'queued');
wait_for_sql($node, 'postgres',
	"SELECT send_before < clock_timestamp() - interval '3 s' FROM sms_outbox WHERE message = 'expires'");
$user->query_safe('COMMIT');
wait_for_status('expires', 'expired');
pause('false');
run_sql($node, "SELECT pg_terminate_backend(pid) FROM $worker");
mark();
cmp_ok(run_sql($node, $scans) - $before, '<', 1000, 'an expired row that is locked costs little');

# The whole table, by a lock that is held or only requested. The worker hears the
# replies meanwhile, and none is late because of it.
my %lock = (
	'LOCK TABLE' => sub {
		$owner->query_safe('BEGIN; LOCK TABLE sms_outbox');
		return sub { $owner->query_safe('COMMIT') };
	},
	'ALTER TABLE behind a reader' => sub {
		$user->query_safe('BEGIN; SELECT count(*) FROM sms_outbox');
		$owner->query_until(qr/altering/, <<'END');
\echo altering
ALTER TABLE sms_outbox ADD COLUMN mine integer;
END
		wait_for_sql($node, 'other',
			"SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'");
		return sub { $user->query_safe('COMMIT'); $owner->query_safe('SELECT 1') };
	});
for my $what (sort keys %lock)
{
	$message = "#hold $what";
	create_account($node, 'postgres', %account, account => $what);
	my $taken = $gateway->count->{taken};
	run_sql($node, "SELECT sms3300_send('09123456789', '#hold #http 503 retry-after=3600', account => '$what')");
	queue(20, $message);
	$gateway->wait_for_taken($taken + 21);
	$offset = -s $node->logfile;
	my $unlock = $lock{$what}->();
	$gateway->release;
	wait_for_log($node, qr/account "$what" stopped/, $offset);
	pass("$what: replies are heard");

	# This takes longer than those requests had time for.
	mark('other', '#delay 7000');
	$unlock->();
	wait_for_status($message, 'sent');
	is_taken(20, $message, 'each is sent once');
}

$user->quit;
$owner->quit;
$node->stop;
done_testing();
