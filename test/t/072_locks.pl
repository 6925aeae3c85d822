
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

my $state = "SELECT state FROM sms3300_stat_worker WHERE datname = 'postgres'";
my $worker = "pg_stat_activity WHERE backend_type = 'sms3300 worker' AND datname = 'postgres'";
my ($user, $owner) = map { $node->background_psql('postgres') } 1 .. 2;
$_->set_query_timer_restart for $user, $owner;

# Lock the rows with a text in a transaction; returns how many have a status then.
sub lock_rows
{
	my ($message, $status) = @_;
	$user->query_safe("BEGIN; SELECT FROM sms_outbox WHERE message = '$message' FOR UPDATE");
	return $user->query_safe(
		"SELECT count(*) FROM sms_outbox WHERE message = '$message' AND status = '$status'");
}

run_sql($node, "ALTER SERVER sms3300 OPTIONS (ADD paused 'true')");

# Messages that are queued: those behind them are sent, however many are locked.
queue($node, 'locked while queued', n => 2500);
is(lock_rows('locked while queued', 'queued'), 2500, 'many are locked');
alter_account($node, paused => 'false');
mark($node);
is_taken($gateway, 'locked while queued', 0, "locked while queued: none is sent");
$user->query_safe('COMMIT');
wait_for_status($node, 'locked while queued', 'sent');
is_taken($gateway, 'locked while queued', 2500, "locked while queued: each is sent once");

# Messages on the wire: others are sent and recorded.
my $message = '#hold locked while sending';
queue_until_taken($node, $gateway, $message, n => 20);
my $offset = -s $node->logfile;
is(lock_rows($message, 'sending'), 20, 'all are on the wire');
$gateway->release;
wait_for_log($node, qr/lock timeout/, $offset);
mark($node);
is( $user->query_safe("SELECT count(*) FROM sms_outbox WHERE message = '$message' AND status = 'sending'"),
	20, 'their results wait, others do not');
$user->query_safe('COMMIT');
wait_for_status($node, $message, 'sent');
is_taken($gateway, $message, 20, "$message: each is sent once");

# One that waits for another try, for an hour, when its account is altered: that would
# hurry it.
queue($node, '#status 15');
wait_for_sql($node, 'postgres',
	"SELECT status = 'queued' AND attempts = 1 FROM sms_outbox WHERE message = '#status 15'");
run_sql($node, "UPDATE sms_outbox SET due_at = now() + interval '1 h' WHERE message = '#status 15'");
lock_rows('#status 15', 'queued');
run_sql($node, "ALTER SERVER sms3300 OPTIONS (ADD connect_timeout '4 s')");
mark($node);
$user->query_safe('COMMIT');
run_sql($node, "SELECT sms3300_cancel(id) FROM sms_outbox WHERE message = '#status 15'");

# One that has expired. The worker does not look for it all the time: it would do so
# thousands of times a second.
my $scans = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'sms_outbox_expiry_idx'";
my $before = run_sql($node, $scans);
alter_account($node, paused => 'true');
run_sql($node, <<'END');
SELECT sms3300_send('09123456789', 'expires', send_before => clock_timestamp() + interval '1 s')
END
lock_rows('expires', 'queued');
wait_for_sql($node, 'postgres',
	"SELECT send_before < clock_timestamp() - interval '3 s' FROM sms_outbox WHERE message = 'expires'");
$user->query_safe('COMMIT');
wait_for_status($node, 'expires', 'expired');
alter_account($node, paused => 'false');
run_sql($node, "SELECT pg_terminate_backend(pid) FROM $worker");
mark($node);
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
	queue($node, $message, n => 20);
	$gateway->wait_for_taken($taken + 21);
	$offset = -s $node->logfile;
	my $unlock = $lock{$what}->();
	$gateway->release;
	wait_for_log($node, qr/account "$what" stopped/, $offset);
	pass("$what: replies are heard");
	wait_for_sql($node, 'other', $state, 'blocked');

	# This takes longer than those requests had time for.
	queue_until($node, 'sent', '#delay 7000 mark', database => 'other');
	$unlock->();
	wait_for_status($node, $message, 'sent');
	is_taken($gateway, $message, 20, "$message: each is sent once");
	wait_for_sql($node, 'other', $state, 'running');
}

$user->quit;
$owner->quit;
$node->stop;
done_testing();
