
# Two-phase commit. COMMIT PREPARED cannot wake a worker, so the worker stays and looks
# every poll_interval while there are prepared transactions.

use strict;
use warnings;

use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => <<'END');
max_prepared_transactions = 5
sms3300.poll_interval = 100ms
sms3300.worker_idle_timeout = 0
END
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');
run_sql($node, 'CREATE DATABASE other');

my $worker = "pg_stat_activity WHERE backend_type = 'sms3300 worker' AND datname = 'postgres'";

# Queue a message in a transaction that is prepared, and named like the message.
sub prepare_message
{
	my ($name) = @_;
	run_sql($node, <<"END");
BEGIN;
SELECT sms3300_send('09123456789', '$name');
PREPARE TRANSACTION '$name';
END
	return;
}

# Wait until the worker has looked at the table from now on, and return its pid.
sub wait_for_look
{
	my $now = run_sql($node, 'SELECT clock_timestamp()', 'other');
	wait_for_sql($node, 'postgres',
		"SELECT count(*) = 1 FROM $worker AND state = 'idle' AND state_change > '$now'");
	return run_sql($node, "SELECT pid FROM $worker");
}

# Wait until all that is committed has been sent, and check which messages were.
my @expected;
sub is_sent
{
	my ($what, @messages) = @_;
	push @expected, @messages;
	wait_for_end($node);
	is_deeply([ map { $_->{fields}{message} } $gateway->log ], \@expected, $what);
	return;
}

# The worker has looked, and found nothing, before the commit.
wait_for_workers($node, 0, 'postgres');
prepare_message('first');
prepare_message('second');
my $pid = wait_for_look();
is_sent('nothing is sent while it is prepared');
is(wait_for_look(), $pid, 'the worker stays and looks');
run_sql($node, "COMMIT PREPARED 'first'");
is_sent('COMMIT PREPARED', 'first');
is(wait_for_look(), $pid, 'the worker stays for the other');
run_sql($node, "COMMIT PREPARED 'second'");
is_sent('the other COMMIT PREPARED', 'second');
wait_for_workers($node, 0, 'postgres');
pass('the worker leaves when nothing is prepared');

# A transaction prepared in another database is not a reason to stay.
run_sql($node, <<'END', 'other');
CREATE TABLE t (i int);
BEGIN;
INSERT INTO t VALUES (1);
PREPARE TRANSACTION 'elsewhere';
END
prepare_message('rolled back');
wait_for_look();
run_sql($node, "ROLLBACK PREPARED 'rolled back'");
wait_for_workers($node, 0, 'postgres');
run_sql($node, "SELECT sms3300_send('09123456789', 'after the rollback')");
is_sent('ROLLBACK PREPARED sends nothing', 'after the rollback');
wait_for_workers($node, 0, 'postgres');

# A server that starts finds what was prepared before.
for my $mode (qw(fast immediate))
{
	prepare_message($mode);
	$node->stop($mode);
	$node->start;
	wait_for_look();
	run_sql($node, "COMMIT PREPARED '$mode'");
	is_sent("COMMIT PREPARED after a restart, $mode", $mode);
	wait_for_workers($node, 0, 'postgres');
}

$node->stop;
done_testing();
