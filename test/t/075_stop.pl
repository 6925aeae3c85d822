
# Stopping the server while many requests hang, while its standby is gone, and dropping
# the database. No stop is delayed. Known results are recorded, the other messages become
# unknown, and no request is sent without a durable claim.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;
use Time::HiRes qw(time);

my $gateway = new_gateway();
my $node    = new_node('main', conf => <<'END');
wal_level = replica
max_wal_senders = 1
sms3300.worker_idle_timeout = 1h
END
my %account = (url => $gateway->url, line => '983000330000', timeout => '1 hour',
	max_in_flight => 100);
create_account($node, 'postgres', %account);

my $worker = "pg_stat_activity WHERE backend_type = 'sms3300 worker' AND datname = 'postgres'";

# Queue $n messages with a text, in one transaction that waits for no standby.
sub queue_locally
{
	my ($n, $message, $database) = @_;
	return run_sql($node, <<"END", $database);
SET synchronous_commit = local;
INSERT INTO sms_outbox (mobile, message)
SELECT '09123456789', '$message' FROM generate_series(1, $n);
END
}

# Queue messages, and wait until the gateway has taken them.
sub queue_and_wait
{
	my ($n, $message, $database) = @_;
	my $taken = $gateway->count->{taken};
	queue_locally($n, $message, $database);
	return $gateway->wait_for_taken($taken + $n);
}

# Do something and tell how long it took.
sub measure
{
	my ($what, $do) = @_;
	my $started = time;
	$do->();
	return note(sprintf '%s: %.1f s', $what, time - $started);
}

# Say which standbys are to confirm a commit.
sub set_standbys
{
	my ($names) = @_;
	$node->append_conf('postgresql.conf', "synchronous_standby_names = '$names'\n");
	$node->reload;
	return wait_for_sql($node, 'postgres', "SELECT setting FROM pg_settings WHERE name = 'synchronous_standby_names'", $names);
}

# Fifty requests hang for an hour, others are answered in a moment; what takes six seconds
# is not waited for.
my %stop = (
	'stop, smart' => sub { $node->stop('smart') },
	'stop, fast'  => sub { $node->stop('fast') },
	'pg_terminate_backend' => sub {
		my $pid = run_sql($node, "SELECT pid FROM $worker");
		run_sql($node, "SELECT pg_terminate_backend($pid)");
		wait_for_sql($node, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
	});
for my $what (sort keys %stop)
{
	queue_and_wait(50, "#hang $what");
	queue_and_wait(5,  "#delay 6000 $what");
	queue_and_wait(5,  "#delay 500 $what");
	measure($what, $stop{$what});
	$node->start unless $node->{_pid};
	is(statuses($node, "#hang $what"), 'unknown 50', "$what: what hung is unknown");
	is(statuses($node, "#delay 6000 $what"), 'unknown 5', "$what: so is what comes too late");
	is(statuses($node, "#delay 500 $what"), 'sent 5',     "$what: what came in time is recorded");
	queue_locally(1, "after $what");
	wait_for_status($node, "after $what", 'sent');
	is_taken($gateway, "#hang $what", 50, "$what: nothing is sent again");
}

# Nor is a lock on the table waited for, though results cannot be recorded then: another
# worker finds what was on the wire. That is also so if the lock keeps the next worker from
# looking for it, and that one is stopped, too.
my $locker = $node->background_psql('postgres');
queue_and_wait(3, '#hold locked');
$locker->query_safe('BEGIN; LOCK TABLE sms_outbox');
$gateway->release;
for my $which ('with results', 'that has not looked yet')
{
	wait_for_sql($node, 'postgres', "SELECT count(*) = 1 FROM $worker");
	my $pid = run_sql($node, "SELECT pid FROM $worker");
	measure("pg_terminate_backend with a lock, of a worker $which", sub {
		run_sql($node, "SELECT pg_terminate_backend($pid)");
		wait_for_sql($node, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
	});
}
$locker->query_safe('COMMIT');
$locker->quit;
wait_for_status($node, '#hold locked', 'unknown');
is_taken($gateway, '#hold locked', 3, 'locked: nothing is sent again');

# A standby that is gone. A claim waits for it, and so does the message, whatever is set
# for the database, or by a user's trigger. Cancelling that wait is not a confirmation.
run_sql($node, <<'END');
ALTER DATABASE postgres SET synchronous_commit = off;
CREATE FUNCTION hurry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('synchronous_commit', 'off', false);
	RETURN NEW;
END $$;
CREATE TRIGGER hurry BEFORE UPDATE ON sms_outbox FOR EACH ROW EXECUTE FUNCTION hurry();
END
for my $cancel (0, 1)
{
	my $message = 'without a standby' . ($cancel ? ', cancelled' : '');
	my $waits   = "SELECT wait_event = 'SyncRep' FROM $worker";
	set_standbys('nobody');
	queue_locally(3, $message);
	wait_for_sql($node, 'postgres', $waits);
	if ($cancel)
	{
		run_sql($node, "SELECT pg_cancel_backend(pid) FROM $worker");
		wait_for_sql($node, 'postgres', $waits);
	}
	measure("stop $message", sub { $node->stop('fast') });
	is_taken($gateway, $message, 0, "$message: nothing is sent");
	$node->append_conf('postgresql.conf', "synchronous_standby_names = ''\n");
	$node->start;
	wait_for_status($node, $message, 'sent');
	is_taken($gateway, $message, 3, "$message: sent when it is no longer wanted");
}

# Nor if the stop comes before the commit and cancels a trigger instead.
run_sql($node, <<'END');
CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_sleep(60);
	RETURN NEW;
EXCEPTION WHEN query_canceled THEN
	RETURN NEW;
END $$;
CREATE TRIGGER linger BEFORE UPDATE ON sms_outbox FOR EACH ROW
	WHEN (NEW.status = 'sending' AND NEW.message = 'lingers') EXECUTE FUNCTION linger();
END
set_standbys('nobody');
queue_locally(1, 'lingers');
wait_for_sql($node, 'postgres', "SELECT wait_event = 'PgSleep' FROM $worker");
measure('stop before the commit', sub { $node->stop('fast') });
is_taken($gateway, 'lingers', 0, 'stop before the commit: nothing is sent');
$node->append_conf('postgresql.conf', "synchronous_standby_names = ''\n");
$node->start;
run_sql($node, 'SET synchronous_commit = local; DROP FUNCTION linger() CASCADE');
wait_for_status($node, 'lingers', 'sent');
is_taken($gateway, 'lingers', 1, 'stop before the commit: sent once after it');

# A result does not wait in memory for it when the server is stopped.
queue_and_wait(3, '#hold recorded without a standby');
queue_and_wait(3, '#hang without a standby');
set_standbys('nobody');
$gateway->release;
wait_for_sql($node, 'postgres', "SELECT wait_event = 'SyncRep' FROM $worker");
measure('stop without a standby, recording', sub { $node->stop('fast') });
$node->append_conf('postgresql.conf', "synchronous_standby_names = ''\n");
$node->start;
is(statuses($node, '#hold recorded without a standby'), 'sent 3', 'results are recorded');
wait_for_status($node, '#hang without a standby', 'unknown');
is_taken($gateway, '#hold recorded without a standby', 3, 'nothing is sent again');

# Another database is dropped while requests hang in this one.
run_sql($node, "CREATE DATABASE $_") for qw(other idle busy);
queue_and_wait(10, '#hang meanwhile');
measure('DROP DATABASE of another one', sub { run_sql($node, 'DROP DATABASE other') });
wait_for_status($node, '#hang meanwhile', 'sending');
pass('DROP DATABASE of another one: this one does not mind');

# One whose worker has left can be dropped, one whose worker is busy by force.
create_account($node, $_, %account) for qw(idle busy);
set_setting($node, 'sms3300.worker_idle_timeout', '0');
queue_and_wait(1, 'the last of idle', 'idle');
wait_for_sql($node, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'idle'");
measure('DROP DATABASE of an idle one', sub { run_sql($node, 'DROP DATABASE idle') });
queue_and_wait(10, '#hang in busy', 'busy');
measure('DROP DATABASE by force', sub { run_sql($node, 'DROP DATABASE busy WITH (FORCE)') });
queue_locally(1, 'after the drops');
wait_for_status($node, 'after the drops', 'sent');
is_taken($gateway, '#hang in busy', 10, 'nothing of it is sent again');
my @failed = slurp_file($node->logfile) =~ /FATAL: .*does not exist/g;
cmp_ok(scalar @failed, '<', 3, 'no worker is wanted for a database that is gone');

$node->stop;
done_testing();
