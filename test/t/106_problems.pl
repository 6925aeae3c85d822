
# sms3300_problems: each problem of the manual's table appears and goes again, and the source
# has no other. It is empty when all is well, is for members of pg_monitor, and waits for no lock.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use SMS3300::Clock;
use Test::More;

my $gateway = new_gateway();
my $node    = new_shifted_node('main', conf => "sms3300.max_workers = 1\nmax_prepared_transactions = 2\n");
my $url     = $gateway->url;
my $line    = '983000330000';
create_account($node, 'postgres', url => $url, line => $line, timeout => '1 hour');
run_sql($node, 'CREATE ROLE monitor LOGIN IN ROLE pg_monitor; CREATE ROLE nobody LOGIN');

my $problems = q{SELECT string_agg(concat_ws(' ', severity, problem, account), ', ' ORDER BY problem, account) FROM sms3300_problems};

# The problems that appeared, with their severities; those that are there now, and those that
# went again.
my (%appeared, %now, %went);

# Wait until these are the problems, as a member of pg_monitor sees them.
sub come
{
	my ($expected, $name) = @_;
	my $got;
	wait_until(sub { $got = run_as($node, 'monitor', $problems); $got eq $expected }, "problems: $expected");
	my %before = %now;
	%now      = map { my ($severity, $problem) = split / /; ($problem => $severity) } split /, /, $got;
	%appeared = (%appeared, %now);
	$went{$_} = 1 for grep { !$now{$_} } keys %before;
	return is($got, $expected, $name);
}

# Expect what columns say of a problem.
sub says
{
	my ($problem, $columns, $expected, $name) = @_;
	return like(run_as($node, 'monitor', "SELECT $columns FROM sms3300_problems WHERE problem = '$problem'"),
		$expected, $name // "$problem: what it says");
}

# Let a lock have lasted longer than is no problem, once the worker waits for it.
sub pass_lock
{
	wait_for_sql($node, 'postgres', q{SELECT state FROM sms3300_stat_worker WHERE datname = 'postgres'}, 'blocked');
	pass_time(11);
	return;
}

# Let what is due have been due for 10 minutes, which callers cannot.
sub make_overdue
{
	run_sql($node, q{SET session_replication_role = replica;
		UPDATE sms_outbox SET due_at = now() - interval '10 min' WHERE status = 'queued' AND due_at <= now()});
	return;
}

my $later = \"now() + interval '2 hours'";

queue_until($node, 'sent', 'all is well');
come('', 'all is well');
is(run_as($node, 'nobody', 'SELECT * FROM sms3300_problems'), '42501', 'not for everyone');

# The account.
$gateway->mode('#status 14 no money');
my $id = queue($node, 'stopped');
come('critical account_stopped sms3300', 'account_stopped');
says('account_stopped', 'detail, hint, since IS NULL',
	qr/^the gateway answered with status 14 \(not enough credit\): no money; next probe at \S+ \S+\|Buy credit; sending resumes by itself\. SELECT sms3300_retry\('sms3300'\) tries at once\.\|f$/);
my $expiring = queue($node, 'expires', send_before => \"now() + interval '9 min'");
come('critical account_stopped sms3300, warning expiring sms3300', 'expiring');
says('expiring', 'messages, detail', qr/^1\|the first of them expires at /);
$gateway->mode('');
alter_account($node, rate => '100');
wait_for_end($node);
come('', 'it sends again');

# A mapping of a role that has stopped leaves the others' messages alone, also where only its messages wait.
run_sql($node, q{CREATE ROLE bob LOGIN; GRANT USAGE ON FOREIGN SERVER sms3300 TO bob;
	CREATE USER MAPPING FOR bob SERVER sms3300 OPTIONS (username 'bob', password 'wrong')});
run_as($node, 'bob', q{SELECT sms3300_send('09123456789', '#status 18 bad ' || n) FROM generate_series(1, 2) AS n});
come('warning mapping_stopped sms3300', 'mapping_stopped');
says('mapping_stopped', 'messages, detail, hint', qr/^\d\|the user mapping for bob: the gateway answered with status 18 \(wrong user name or password\)[^|]*\|ALTER USER MAPPING FOR bob SERVER sms3300 OPTIONS \(SET password '\.\.\.'\)$/);
wait_for_sql($node, 'postgres', q{SELECT state FROM sms3300_stat_account}, 'stopped');
come('warning mapping_stopped sms3300', 'mapping_stopped: the account has nothing else to send');
my $password_file = $node->basedir . '/password';
append_to_file($password_file, "wrong\n");
chmod 0600, $password_file;
run_sql($node, "ALTER USER MAPPING FOR bob SERVER sms3300 OPTIONS (DROP password, ADD password_file '$password_file')");
wait_for_sql($node, 'postgres', q{SELECT hint FROM sms3300_problems WHERE problem = 'mapping_stopped'},
	q{Correct the password file of the user mapping for bob. SELECT sms3300_retry('sms3300') tries at once.});
pass('mapping_stopped: a password that is in a file');
queue_until($node, 'sent', 'by another role');
come('warning mapping_stopped sms3300', 'mapping_stopped: others send');
$gateway->mode('#status 14 no money');
queue($node, 'by another role');
come('critical account_stopped sms3300', 'account_stopped: all of its mappings');
my ($of, $hint) = split /\|/, run_as($node, 'monitor', q{SELECT substring(detail, '^the user mapping for (\w+): '), hint FROM sms3300_problems});
like($hint, $of eq 'bob' ? qr/^Correct the password file .* for bob\./ : qr/^Buy credit/, "account_stopped: the hint is for the mapping that the detail names");
$gateway->mode('');
run_sql($node, q{SELECT sms3300_cancel_many(array_agg(id)) FROM sms_outbox WHERE sender = 'bob'});
run_sql($node, q{SELECT sms3300_retry('sms3300')});
wait_for_end($node);
run_sql($node, 'DROP USER MAPPING FOR bob SERVER sms3300');
come('', 'the mapping is gone');

# Many are refused with one code, which the reason names at its end.
alter_account($node, stop_after_unknown => 2, max_in_flight => 1);
$gateway->mode('#status 3 what');
queue($node, 'unreadable', n => 10);
come('critical account_stopped sms3300', 'account_stopped: the same refusal again and again');
says('account_stopped', 'detail, hint', qr/^2 messages in a row were refused with one code: the gateway answered with status 3 .*\|(?!Correct what the detail names)[^|]+ SELECT sms3300_retry\('sms3300'\) tries at once\.$/);
$gateway->mode('');
alter_account($node, stop_after_unknown => undef, max_in_flight => undef);
wait_for_end($node);
come('', 'the others are taken');

alter_account($node, paused => 'true');
come('', 'a paused account with nothing due is no problem');
$id = queue($node, 'paused');
come('warning paused sms3300', 'paused');
says('paused', 'messages, hint', qr/^1\|ALTER SERVER sms3300 OPTIONS \(SET paused 'false'\)$/);
set_setting($node, 'sms3300.enabled', 'off');
come('warning disabled, warning paused sms3300', 'disabled');
set_setting($node, 'sms3300.enabled', undef);
alter_account($node, paused => undef);
wait_for_end($node);
come('', 'neither paused nor disabled');

# The parts of a day.
alter_account($node, max_parts_per_day => 1);
queue($node, 'one too many', n => 2);
come('critical budget_reached sms3300', 'budget_reached');
says('budget_reached', 'hint', qr/^ALTER SERVER sms3300 OPTIONS \(SET max_parts_per_day/);
alter_account($node, max_parts_per_day => undef);
wait_for_end($node);
come('', 'the limit is gone');

# Overdue: the rate is too low.
alter_account($node, rate => '0.001');
queue($node, 'slow', n => 2);
come('', 'due, but not for long');
make_overdue();
come('warning overdue sms3300', 'overdue');
says('overdue', 'detail, hint', qr/^more messages are due than the option "rate" allows: 0\.001 a second\|ALTER SERVER sms3300 OPTIONS \(SET rate '\.\.\.'\)$/);
run_sql($node, q{SELECT sms3300_cancel(id) FROM sms_outbox WHERE status = 'queued'});
alter_account($node, rate => undef);
wait_for_end($node);
come('', 'no longer overdue');

# Overdue: the gateway is slow.
queue_until($node, 'sent', '#delay 200');
queue_until_taken($node, $gateway, '#hold', n => 32);
queue($node, 'behind them');
make_overdue();
come('warning overdue sms3300', 'overdue, as the gateway is slow');
says('overdue', 'detail, hint', qr/^more messages are due than are sent: 32 of 32 requests \(max_in_flight\) are on the wire, and the last ones took [0-9.]+ s each\|If they take long, ask the gateway; else ALTER SERVER sms3300 OPTIONS \(ADD max_in_flight '\.\.\.'\)$/);
run_sql($node, q{SELECT sms3300_cancel(id) FROM sms_outbox WHERE status = 'queued'});
$gateway->release;
wait_for_end($node);
come('', 'no longer overdue, as it answers');
run_sql($node, q{ALTER TABLE sms_outbox ADD CONSTRAINT full_disk CHECK (status <> 'sending')});
$id = queue($node, 'cannot be claimed');
make_overdue();
come('warning overdue sms3300', 'overdue, as it cannot be claimed');
says('overdue', 'detail', qr/^messages are due, and the last error of the worker, at \S+ \S+, was: .*"full_disk"/);
run_sql($node, 'ALTER TABLE sms_outbox DROP CONSTRAINT full_disk');
run_sql($node, "SELECT sms3300_cancel($id)");
come('', 'no longer overdue, either');

# Once messages have been sent again, the error is not what holds up others.
queue_until($node, 'sent', 'after the error');
alter_account($node, rate => '0.001');
queue($node, 'slow again', n => 2);
make_overdue();
come('warning overdue sms3300', 'overdue, after an error that is over');
says('overdue', 'detail', qr/^more messages are due than the option "rate" allows/);
run_sql($node, q{SELECT sms3300_cancel(id) FROM sms_outbox WHERE status = 'queued'});
alter_account($node, rate => undef);
come('', 'no longer overdue after it');

# Accounts and mappings that are missing.
run_sql($node, "CREATE SERVER other FOREIGN DATA WRAPPER sms3300 OPTIONS (line '$line', url '$url');"
	  . q{ CREATE USER MAPPING FOR CURRENT_USER SERVER other OPTIONS (username 'u', password 'p')});
alter_account($node, account => 'other', paused => 'true');
my $orphan = queue($node, 'orphan', account => 'other');
run_sql($node, q{DROP USER MAPPING FOR CURRENT_USER SERVER other});
alter_account($node, account => 'other', paused => undef);
come('warning no_mapping other', 'no_mapping');
says('no_mapping', 'hint', qr/^CREATE USER MAPPING FOR \S+ SERVER other OPTIONS/);
run_sql($node, q{CREATE USER MAPPING FOR CURRENT_USER SERVER other OPTIONS (username 'u', password_file '/nonexistent/file')});
wait_until(sub { run_as($node, 'monitor', q{SELECT state FROM sms3300_stat_mapping WHERE account = 'other'}) eq 'stopped' }, 'the file to be looked for');
come('warning no_mapping other', 'no_mapping: a file that is missing is one problem, not two');
says('no_mapping', 'since <= now(), detail, hint', qr/^t\|messages of role \S+ cannot be sent: the password file cannot be opened: [^|]*\|Correct the user mapping or its password file, then/);
run_sql($node, 'DROP USER MAPPING FOR CURRENT_USER SERVER other; DROP SERVER other');
come('warning no_account other', 'no_account');
run_sql($node, "SELECT sms3300_cancel($orphan)");
come('', 'none is missing');

# What a person has to look after.
my $unknown = queue_until($node, 'unknown', '#http 500');
come('warning unknown_messages sms3300', 'unknown_messages');
says('unknown_messages', 'messages, detail, hint', qr/^1\|[^|]*; the last of them: HTTP status 500\|.*There: SELECT sms3300_resolve\($unknown, true\); not there: SELECT sms3300_resend\($unknown\)$/);
my $coded = queue_until($node, 'unknown', '#status 999 to 09123456789: a secret');
says('unknown_messages', 'messages, detail', qr/^2\|[^|]*; the last of them: the gateway answered with status 999$/, 'unknown_messages: not the gateway\'s words');
run_sql($node, "SELECT sms3300_resolve($coded, true)");
run_sql($node, "UPDATE sms_outbox SET finished_at = now() - interval '25 hours' WHERE id = $unknown");
come('', 'after a day it is not shown');
alter_account($node, paused => 'true');
my $expired = queue_until($node, 'expired', 'too late', send_before => \"clock_timestamp() + interval '2 s'");
alter_account($node, paused => undef);
come('warning expired_messages sms3300', 'expired_messages');
says('expired_messages', 'hint', qr/^If it is still wanted: SELECT sms3300_resend\($expired\)$/);
says('expired_messages', 'detail', qr/^they were not sent before send_before$/);
run_sql($node, "SELECT sms3300_resend($expired)");
wait_for_end($node);
come('', 'the expired one was sent');

# They expire by a clock that is two hours ahead, and is then set right.
$expired = queue($node, 'in an hour', send_after => \"now() + interval '1 hour'", send_before => \"now() + interval '90 min'");
queue($node, 'in an hour, too', send_after => \"now() + interval '1 hour'", send_before => \"now() + interval '90 min'");
set_clock(2 * 3600);
come('warning expired_messages sms3300', 'expired by a wrong clock');
says('expired_messages', 'detail', qr/; the clock was set ahead by 2:00:00 at \S+ \S+$/, 'the clock is ahead');
set_clock(0);
says('expired_messages', 'detail', qr/; the clock was ahead: the last one expired at \S+ \S+ by it$/, 'the clock was ahead');
my ($resend) = run_as($node, 'monitor', 'SELECT hint FROM sms3300_problems') =~ /^If they are still wanted: (SELECT .*)$/;
is(run_sql($node, $resend), 2, 'the hint resends them');
come('', 'none has expired');
is(run_sql($node, q{SELECT sms3300_cancel_many(array_agg(id)) FROM sms_outbox WHERE status = 'queued'}), 2, 'they wait for their time');

my $foreign = queue($node, 'from elsewhere', send_after => $later);
run_sql($node, "UPDATE sms_outbox SET origin = origin + 1 WHERE id = $foreign");
my $own = queue($node, 'its own', send_after => $later);
come('warning foreign_rows sms3300', 'foreign_rows');
my ($cancel) = run_as($node, 'monitor', q{SELECT hint FROM sms3300_problems}) =~ /^If the original sends them, or has: (SELECT .*?); what was being sent is left\. That, or all if it never will: SELECT sms3300_adopt\(\), of all accounts$/;
is(run_sql($node, "BEGIN; $cancel; SELECT status FROM sms_outbox WHERE id = $own; ROLLBACK"), "1\nqueued",
	'foreign_rows: the hint cancels them, and no other ones');
run_sql($node, "SELECT sms3300_cancel($own)");
run_sql($node, 'SELECT sms3300_adopt()');
come('', 'adopted');
run_sql($node, "SELECT sms3300_cancel($foreign)");

# Locks. While the table cannot be read, that is a row at once, which is critical after 10 s,
# as the others are.

my ($session, $pid) = lock_by($node, 'LOCK TABLE sms_outbox', 'locked');
like(run_as($node, 'monitor', "SET statement_timeout = '10s'; SELECT severity, problem, messages, detail, hint FROM sms3300_problems"),
	qr/^warning\|table_locked\|\|sms_outbox is locked by process $pid \(role \w+, application [^,]+, idle in transaction, transaction begun at \S+ \S+\), whose last query is: LOCK TABLE sms_outbox\|SELECT pg_terminate_backend\($pid\)$/,
	'table_locked, at once where it cannot be read');
is(run_as($node, 'monitor', 'BEGIN; SELECT problem FROM sms3300_problems; SELECT problem FROM sms3300_problems; COMMIT'),
	"table_locked\ntable_locked", 'it can be asked twice in a transaction');
pass_lock();
come('critical table_locked', 'table_locked, by a lock that has lasted');
says('table_locked', q{messages, since < now() - interval '10 s'}, qr/^\|t$/);
unlock($session);
wait_for_end($node);
come('', 'not locked');
($session, $pid) = lock_by($node, 'LOCK TABLE sms_outbox IN SHARE MODE', 'locked for writing');
pass_lock();
come('critical table_locked', 'table_locked, by a lock that lets one read');
says('table_locked', 'messages, hint', qr/^1\|SELECT pg_terminate_backend\($pid\)$/);
unlock($session);
wait_for_end($node);

($session, $pid, $id) = lock_by($node, 'SELECT FROM sms_outbox WHERE id = %id FOR UPDATE', 'a locked row');
pass_lock();
come('warning row_locked', 'row_locked');
says('row_locked', 'messages, detail', qr/^1\|message $id is locked by process $pid \([^)]+\), whose last query is: /);
unlock($session);
wait_for_end($node);
come('', 'no row is locked');

# A session that waits, and not the worker; it is a prepared transaction's fault.
run_sql($node, "BEGIN; UPDATE sms_outbox SET metadata = '1' WHERE id = $id; PREPARE TRANSACTION 'left behind'");
my $waiter = $node->background_psql('postgres', on_error_stop => 1);
$waiter->query_until(qr/started/, "\\echo started\nUPDATE sms_outbox SET metadata = '2' WHERE id = $id;\n");
wait_for_sql($node, 'postgres', 'SELECT count(*) FROM pg_locks WHERE NOT granted', 1);
pass_time(11);
come('warning row_locked', 'row_locked, by a prepared transaction');
run_sql($node, q{ROLLBACK PREPARED 'left behind'});
come('', 'nobody waits');
$waiter->quit;

# Sessions that wait for each other at sms_opt_out: a problem only where the worker waits, too.
run_sql($node, q{INSERT INTO sms_opt_out (mobile) VALUES ('09121111111')});
for my $sql ('UPDATE sms_opt_out SET reason = NULL', 'LOCK TABLE sms_opt_out IN EXCLUSIVE MODE')
{
	my $holder = $node->background_psql('postgres', on_error_stop => 1);
	$waiter = $node->background_psql('postgres', on_error_stop => 1);
	$holder->query_safe("BEGIN; $sql");
	$waiter->query_until(qr/started/, "\\echo started\nBEGIN; $sql;\n");
	wait_for_sql($node, 'postgres', 'SELECT count(*) FROM pg_locks WHERE NOT granted', 1);
	pass_time(11);
	come('', "sms_opt_out: $sql");
	alter_account($node, record_opt_outs => 'true');
	if ($sql =~ /EXCLUSIVE/)
	{
		come('critical table_locked', 'the worker cannot record who has opted out');
		says('table_locked', 'detail', qr/^sms_opt_out is locked by process \d+ \(role .*\), .*, and another session waits for it$/);
	}
	else
	{
		come('', 'a row of it is not a message');
	}
	alter_account($node, record_opt_outs => undef);
	$holder->query_safe('COMMIT');
	$_->quit for $waiter, $holder;
	come('', 'sms_opt_out: nobody waits');
}
run_sql($node, 'DELETE FROM sms_opt_out');

# A result that a constraint refuses.
run_sql($node, 'ALTER TABLE sms_outbox ADD CONSTRAINT odd CHECK (message <> $$odd$$ OR message_id IS NULL)');
$id = queue($node, 'odd');
come('critical result_not_recorded', 'result_not_recorded');
says('result_not_recorded', 'messages, detail', qr/^1\|the result of message $id cannot be recorded: .*"odd"/);
run_sql($node, 'ALTER TABLE sms_outbox DROP CONSTRAINT odd');
wait_for_status($node, $id, 'sent');
come('', 'recorded');

# Delivery states that cannot be read.
alter_account($node, delivery => 'on', delivery_checks => '500ms', delivery_interval => '0');
$gateway->states(shape => 'html');
queue_until($node, 'sent', 'delivered?');
come('warning delivery_not_understood sms3300', 'delivery_not_understood');
says('delivery_not_understood', 'detail', qr/^no delivery states are learnt: the reply is not understood/);
$gateway->states(shape => 'items', default => 1);
alter_account($node, delivery_checks => '600ms');
queue_until($node, 'sent', 'delivered!');
come('', 'understood');
alter_account($node, delivery => undef, delivery_checks => undef, delivery_interval => undef);

# No worker: the only one has something to do elsewhere.
run_sql($node, 'CREATE DATABASE busy');
create_account($node, 'busy', url => $url, line => $line, timeout => '1 hour');
run_sql($node, 'SELECT pg_terminate_backend(pid) FROM sms3300_stat_worker WHERE datname = current_database()');
queue_until_taken($node, $gateway, '#hold', database => 'busy');
queue($node, 'no worker');
make_overdue();
come('critical no_worker', 'no_worker');
says('no_worker', 'messages, detail', qr/^1\|(?:all 1 workers are in use by other databases|the worker (?:has ended|is starting))/);
$gateway->release;
wait_for_end($node);
come('', 'a worker has come');

# The library.
run_sql($node, q{UPDATE pg_extension SET extversion = '99.0' WHERE extname = 'sms3300'});
come('critical newer_extension', 'newer_extension');
run_sql($node, q{UPDATE pg_extension SET extversion = (SELECT default_version FROM pg_available_extensions WHERE name = 'sms3300') WHERE extname = 'sms3300'});
come('', 'the version is right');
my $armed = $node->basedir . '/armed';
set_setting($node, 'sms3300.armed_file', $armed);
come('critical not_armed', 'not_armed');
says('not_armed', 'since < now(), detail', qr/^t\|the file "\Q$armed\E" does not exist, and nothing is sent; it was not seen since the server started or crashed, at \S+ \S+$/);
append_to_file($armed, '');
come('', 'armed');
unlink $armed;
come('critical not_armed', 'not_armed, after it was');
says('not_armed', 'since <= now(), detail', qr/^t\|.*; it was last seen at \S+ \S+$/);
append_to_file($armed, '');
come('', 'armed again');
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', undef);
restart_shifted($node);
come('critical not_preloaded', 'not_preloaded');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'sms3300'");
restart_shifted($node);
come('', 'preloaded');

# What appeared is what the manual's table has, with the severity that it says, and what the
# source has; and each went again.
my $manual   = read_document('doc/operations.md');
my ($table)  = $manual =~ /^### Problems\n(.*?)^### /ms;
my @manual   = sort $table =~ /^\| `(\w+)` \|/mg;
my ($serious) = $table =~ /^((?:`\w+`[,\s]+(?:and\s+)?)+are critical\.)/m;
my %critical = map { $_ => 1 } $serious =~ /`(\w+)`/g;
my %other    = map { $_ => 1 } qw(unknown explain resend sms_outbox);
my %source   = map { $_ => 1 } grep { !$other{$_} } (read_document('src/sql/problems.c') . read_document('src/sql/problems_locks.c')) =~ /"([a-z_]+)"/g;
is_deeply([ sort keys %appeared ], \@manual, 'each problem in the manual has appeared, and no other one');
is_deeply([ sort keys %source ], \@manual, 'the source has the same');
is_deeply([ sort keys %went ], \@manual, 'each went again');
is_deeply(\%appeared, { map { $_ => $critical{$_} ? 'critical' : 'warning' } @manual }, 'each has the severity that the manual says');

done_testing();
