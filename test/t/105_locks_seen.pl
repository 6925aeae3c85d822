
# A lock of another session is seen: who holds it, since when, and what waits for it.
# Nothing that a person asks then waits for the lock.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use SMS3300::Clock;
use Test::More;

my $gateway = new_gateway();
my $node    = new_shifted_node('main', conf => "max_prepared_transactions = 2\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');
run_sql($node, 'CREATE ROLE monitor LOGIN IN ROLE pg_monitor');
queue_until($node, 'sent', 'to begin with');

# What must not wait. Each is asked as a member of pg_monitor, with a limit.
my $worker = 'SELECT state, blocked_by, blocked_since <= now(), blocked_query FROM sms3300_stat_worker';
my @asked = ($worker, 'SELECT state, reason, queued IS NULL, oldest_due_at IS NULL, foreign_rows IS NULL FROM sms3300_stat_account');

sub ask
{
	my ($sql, $role) = @_;
	return run_as($node, $role // 'monitor', "SET lock_timeout = '10s'; $sql");
}

# Let time pass, until the worker has tried again.
sub pass
{
	my ($seconds) = @_;
	my $round = q{SELECT state_change FROM pg_stat_activity WHERE backend_type = 'sms3300 worker'};
	pass_time($seconds);
	for (1, 2)
	{
		my $before = run_sql($node, $round);
		wait_for_sql($node, 'postgres', $round =~ s/SELECT state_change/SELECT state_change <> '$before'/r);
	}
	return;
}

# Return how many lines were logged of the lock.
sub lines
{
	my ($offset) = @_;
	return scalar(() = slurp_file($node->logfile, $offset) =~ /LOG:  sms3300: sms_outbox has been locked/g);
}

for my $mode ('SHARE', 'ACCESS EXCLUSIVE')
{
	my $offset = -s $node->logfile;
	my ($session, $pid, $id) = lock_by($node, "LOCK TABLE sms_outbox IN $mode MODE", "before the lock $mode");
	wait_until(sub { ask($worker) =~ /^blocked\|$pid\|t\|/ }, "blocked by $mode");
	like(ask($worker), qr/^blocked\|$pid\|t\|LOCK TABLE sms_outbox IN $mode MODE/, "$mode: who and what");
	my $unseen = $mode eq 'SHARE' ? 'f' : 't';
	is(ask($asked[1]) =~ s/^ok\|\|//r, join('|', $unseen, $mode eq 'SHARE' ? 'f' : 't', $unseen),
		"$mode: the statistics do not wait");
	my $line = ask("SELECT sms3300_explain($id)", 'postgres');
	like($line, $mode eq 'SHARE'
		? qr/^queued: sms_outbox has been locked by process $pid since \S+ \S+: it is sent when that transaction ends$/
		: qr/^sms_outbox is locked by process $pid: nothing is sent, and no message can be looked at/,
		"$mode: explained");
	pass(12);
	my $logged = 'LOG:  sms3300: sms_outbox has been locked by process';
	wait_for_log($node, qr/$logged $pid for 1\d s, and messages wait for it/, $offset);
	wait_for_log($node, qr/HINT:  SELECT pg_terminate_backend\($pid\) ends that session/, $offset);
	pass(15);
	is(lines($offset), 1, "$mode: logged once in the first minute");
	pass(46);
	wait_for_log($node, qr/$logged $pid for [78]\d s/, $offset);
	is(lines($offset), 2, "$mode: logged again after a minute");
	unlock($session);
	wait_for_status($node, $id, 'sent');
	wait_until(sub { ask($worker) =~ /^running\|\|\|$/ }, 'no longer blocked');
}

# The list of those who have opted out: no message is sent while it cannot be read.
my $offset = -s $node->logfile;
my ($session, $pid, $id) = lock_by($node, 'LOCK TABLE sms_opt_out', 'before the list was locked');
wait_until(sub { ask($worker) =~ /^blocked\|$pid\|t\|LOCK TABLE sms_opt_out/ }, 'blocked by a lock on the list');
is(ask("SELECT sms3300_explain($id)", 'postgres'),
	"queued: sms_opt_out is locked by process $pid: nothing is sent until that transaction ends",
	'the list: explained, without a wait');
pass(12);
wait_for_log($node, qr/LOG:  sms3300: sms_opt_out has been locked by process $pid for 1\d s, and messages wait for it/, $offset);
like(ask('SELECT severity, problem, messages, detail, hint FROM sms3300_problems'),
	qr/^critical\|table_locked\|1\|sms_opt_out is locked by process $pid \([^)]+\), whose last query is: LOCK TABLE sms_opt_out\|SELECT pg_terminate_backend\($pid\)$/,
	'the list: the problem names it');
unlock($session);
wait_for_status($node, $id, 'sent');

# What waits for a lock is in the way, too, behind a session that only reads.
my $reader = $node->background_psql('postgres', on_error_stop => 1);
$reader->query_safe('BEGIN; SELECT count(*) FROM sms_opt_out');
my $waiter  = $node->background_psql('postgres', on_error_stop => 1);
my $waiting = $waiter->query_safe('SELECT pg_backend_pid()') =~ s/\s//gr;
$waiter->query_until(qr/waits/, "\\echo waits\nALTER TABLE sms_opt_out ADD note text;\n");
wait_for_sql($node, 'postgres', "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $waiting", 'Lock');
$id = queue($node, 'behind one who waits');
my $named = '';
wait_until(sub { ($named) = ask($worker) =~ /^blocked\|(\d*)\|/; ($named // '') eq $waiting }, 'blocked by one who waits');
is($named, $waiting, 'a session that waits for the table is named');
$reader->query_safe('COMMIT');
$reader->quit;
wait_for_status($node, $id, 'sent');
$waiter->quit;

# A row, and another one that the same transaction has locked.
($session, $pid, my @ids) = lock_by($node, 'SELECT FROM sms_outbox WHERE id IN (%id) FOR UPDATE', 'first', 'second');
wait_until(sub { ask($worker) =~ /^blocked\|$pid\|t\|/ }, 'blocked by a row');
like(ask("SELECT sms3300_explain($_)", 'postgres'),
	qr/^queued: its row has been locked by process $pid since/, "a row: explained")
  for @ids;
queue_until($node, 'sent', 'another message is sent meanwhile');
pass(12);
wait_for_log($node, qr/LOG:  sms3300: message $ids[0] has been locked by process $pid for/);
unlock($session);
wait_for_status($node, \@ids, 'sent');
wait_until(sub { ask($worker) =~ /^running\|/ }, 'no longer blocked by a row');

# A row whose reply has come: it is not merely being sent.
my $held = queue_until_taken($node, $gateway, '#hold');
($session, $pid) = lock_by($node, "SELECT FROM sms_outbox WHERE id IN (%id, $held) FOR UPDATE", 'beside it');
$gateway->release;
wait_until(sub { ask("SELECT sms3300_explain($held)", 'postgres') =~
	/^being sent since .*, attempt 1; its row has been locked by process $pid since .*: a reply is recorded when/ },
	'explained: a result that waits for a lock');
unlock($session);
wait_for_status($node, $held, 'sent');

# A prepared transaction has no process.
alter_account($node, paused => 'true');
$id = queue($node, 'prepared');
run_sql($node, "BEGIN; LOCK TABLE sms_outbox IN SHARE MODE; PREPARE TRANSACTION 'nightly index'");
alter_account($node, paused => undef);
wait_until(sub { ask("SELECT sms3300_explain($id)", 'postgres') =~ /locked by prepared transaction "nightly index"/ },
	'explained: a prepared transaction');
is(ask($worker), 'blocked||t|', 'a prepared transaction: no pid');
run_sql($node, q{COMMIT PREPARED 'nightly index'});
wait_for_status($node, $id, 'sent');

done_testing();
