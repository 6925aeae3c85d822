
# The runbook, as a member of pg_monitor who is not a superuser: each statement shows something,
# and the one statement answers each incident as the table says.

use strict;
use warnings;
use utf8;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "log_statement = none\nrestart_after_crash = on\nsms3300.poll_interval = 1s\n");
my $url     = $gateway->url;
create_account($node, 'postgres', url => $url, line => '983000330000', max_in_flight => 4, timeout => '1 hour');
run_sql($node, 'CREATE ROLE monitor LOGIN IN ROLE pg_monitor;'
	  . ' CREATE ROLE oncall LOGIN IN ROLE pg_monitor, pg_read_all_data, pg_signal_backend');

my $runbook = read_document('doc/operations.md');
my ($monitor_part) = $runbook =~ /^## At three in the morning\n(.*?)^## /ms;
my ($reader_part)  = $runbook =~ /^## The messages themselves\n(.*?)^## /ms;
my ($table)        = $runbook =~ /^### Twelve incidents\n(.*?)^### /ms;
my %row = $table =~ /^\| (?!incident|---)([^|]+?) \| ([^|]+?) \|/mg;
is(scalar keys %row, 12, 'twelve incidents');

# Let what is due have been due for 10 minutes, which callers cannot.
sub make_overdue
{
	run_sql($node, q{SET session_replication_role = replica;
		UPDATE sms_outbox SET due_at = now() - interval '10 min' WHERE status = 'queued' AND due_at <= now()});
	return;
}

sub blocks
{
	my ($part) = @_;
	return $part =~ /^```sql\n(.*?)^```/msg;
}

# Each statement of the runbook shows something.
my $sent = queue_until($node, 'sent', 'sent');
queue_until($node, 'unknown', '#http 500');
queue_until($node, 'rejected', '#status 27 no');
alter_account($node, paused => 'true');
queue($node, 'stuck');
make_overdue();
my @monitored = blocks($monitor_part);
cmp_ok(scalar @monitored, '>=', 4, 'statements for pg_monitor');
for my $sql (@monitored)
{
	my ($first) = split /\n/, $sql;
	like(run_as($node, 'monitor', $sql), qr/\A[^\n]*\|/, "pg_monitor: $first");
}
my @read = grep { !/resend_many|sms3300_explain\(123\)/ } blocks($reader_part);
cmp_ok(scalar @read, '>=', 3, 'statements that read messages');
for my $sql (@read)
{
	my ($first) = split /\n/, $sql;
	like(run_as($node, 'oncall', $sql), qr/\A[^\n]*\|/, "pg_read_all_data: $first");
}
like(run_as($node, 'oncall', "SELECT sms3300_explain($sent)"), qr/^sent at /, 'pg_read_all_data: explain');
run_sql($node, q{DELETE FROM sms_outbox});
alter_account($node, paused => undef);

# Wait until the statement shows what the table says of an incident; or nothing.
my $statement = $monitored[0];

sub shows
{
	my ($incident, $count) = @_;
	my ($problem, $detail) = $row{$incident} =~ /^`(\w+)`(?:: `([^`]+)`)?/;
	my $like = join '.*', map { quotemeta } split /…/, $detail // '', -1;
	my $got  = '';
	wait_until(sub { $got = run_as($node, 'monitor', $statement); $got =~ /^\w+\|$problem\|/m }, "the row of: $incident");
	my ($line) = grep { /\|$problem\|/ } split /\n/, $got;
	like($line, qr/^(?:critical|warning)\|$problem\|[^|]*\|[^|]*\|[^|]*\|.*$like/, "$incident: what it says");
	return $line =~ s/.*\|//r;
}

sub over
{
	my ($incident) = @_;
	my $got;
	wait_until(sub { $got = run_as($node, 'monitor', $statement); $got eq '' }, "the end of: $incident");
	return is($got, '', "$incident: over");
}

# Gateway down; no credit; a wrong password.
$gateway->stop;
queue($node, 'down');
shows('gateway down');
$gateway->start;
run_sql($node, q{SELECT sms3300_retry('sms3300')});
over('gateway down');

$gateway->mode('#status 14 no credit');
queue($node, 'a text');
like(shows('no credit'), qr/buy credit/, 'no credit: the hint');
$gateway->mode('');
run_sql($node, q{SELECT sms3300_retry('sms3300')});
over('no credit');

$gateway->mode('#status 18 no');
queue($node, 'a text');
like(shows('wrong password'), qr/ALTER USER MAPPING/, 'wrong password: the hint');
$gateway->mode('');
run_sql($node, q{ALTER USER MAPPING FOR PUBLIC SERVER sms3300 OPTIONS (SET password 'right')});
over('wrong password');

# Locks: the hint ends them, typed by one who may signal sessions.
for my $lock ([ 'table locked', 'LOCK TABLE sms_outbox' ], [ 'row locked', 'SELECT FROM sms_outbox WHERE due_at IS NOT NULL FOR UPDATE' ])
{
	my ($incident, $sql) = @$lock;
	alter_account($node, paused => 'true');
	queue($node, 'locked');
	run_sql($node, 'CREATE ROLE batch LOGIN; GRANT SELECT, UPDATE ON sms_outbox TO batch; ALTER ROLE batch BYPASSRLS')
	  if $incident eq 'table locked';
	my $session = $node->background_psql('postgres', on_error_stop => 0,
		extra_params => [ '-U', 'batch' ]);
	$session->query_safe("BEGIN; $sql");
	alter_account($node, paused => undef);
	my $hint = shows($incident);
	is_deeply([ grep { run_as($node, 'monitor', "SET statement_timeout = '20s'; $_") =~ /\A\w{5}\z/ } @monitored ],
		[], "$incident: no statement for pg_monitor waits");
	like($hint, qr/^SELECT pg_terminate_backend\(\d+\)$/, "$incident: the hint");
	is(run_as($node, 'oncall', $hint), 't', "$incident: what is typed");
	over($incident);
	$session->{run}->finish;
}

# Many unknown, and the worker killed.
queue_until($node, 'unknown', '#http 500', n => 5);
like(shows('many unknown'), qr/^SELECT sms3300_explain/, 'many unknown: the hint');
run_sql($node, q{SELECT sms3300_resolve(id, false) FROM sms_outbox WHERE status = 'unknown'});
over('many unknown');
queue_until_taken($node, $gateway, '#hold', n => 2);
kill KILL => worker_pid($node, 'postgres');
wait_until(sub { eval { count_rows($node, q{status = 'unknown'}) == 2 } }, 'the server to come back');
$gateway->release;
shows('worker killed');
run_sql($node, q{SELECT sms3300_resolve(id, true, 'in the panel') FROM sms_outbox WHERE status = 'unknown'});
over('worker killed');

# A restored dump, a restored physical backup, and a clock that was ahead.
my $id = queue($node, 'elsewhere', send_after => \"now() + interval '1 hour'");
run_sql($node, "UPDATE sms_outbox SET origin = origin + 1 WHERE id = $id");
shows('restored dump');
run_sql($node, "SELECT sms3300_adopt(); SELECT sms3300_cancel($id)");
over('restored dump');

my $armed = $node->basedir . '/armed';
set_setting($node, 'sms3300.armed_file', $armed);
shows('restored physical backup');
append_to_file($armed, '');
over('restored physical backup');

alter_account($node, paused => 'true');
$id = queue_until($node, 'expired', 'by the clock', send_before => \"clock_timestamp() + interval '2 s'");
alter_account($node, paused => undef);
shows('clock stepped');
is(run_sql($node, "SELECT sms3300_resend_many(ARRAY[$id])"), 1, 'clock stepped: resent');
over('clock stepped');

# A queue that grows: of an account that is slow, while another one is not.
run_sql($node, "CREATE SERVER fast FOREIGN DATA WRAPPER sms3300 OPTIONS (line '983000330000', url '$url');"
	  . q{ CREATE USER MAPPING FOR PUBLIC SERVER fast OPTIONS (username 'u', password 'p')});
queue_until_taken($node, $gateway, '#hold', n => 4);
queue($node, 'behind', n => 3);
make_overdue();
queue_until($node, 'sent', 'by the fast one', account => 'fast', n => 3);
shows('queue growing');
is(run_as($node, 'monitor', 'SELECT account FROM sms3300_problems'), 'sms3300', 'one slow account: no other one');
like(run_as($node, 'monitor', q{SELECT in_flight FROM sms3300_stat_account WHERE account = 'sms3300'}), qr/^4$/, 'it is slow');
$gateway->release;
alter_account($node, max_in_flight => 8);
over('one slow account');

done_testing();
