
# The runbook. Each of its statements shows something to the role that it is said to be for. Each
# of the twelve incidents is made to happen: a member of pg_monitor who is not a superuser sees
# just what the manual shows, and what it says to type ends it.

use strict;
use warnings;
use utf8;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SMS3300;
use SMS3300::Clock;
use Test::More;

my $gateway = new_gateway();
my $node    = new_shifted_node('main', init => [ allows_streaming => 1 ],
	conf => "log_statement = none\nrestart_after_crash = on\nsms3300.poll_interval = 1s\n");
my $url = $gateway->url;
create_account($node, 'postgres', url => $url, line => '983000330000', max_in_flight => 4, timeout => '1 hour');
run_sql($node, 'CREATE ROLE monitor LOGIN IN ROLE pg_monitor;'
	  . ' CREATE ROLE oncall LOGIN IN ROLE pg_monitor, pg_read_all_data, pg_signal_backend;'
	  . ' CREATE ROLE app LOGIN; GRANT USAGE ON FOREIGN SERVER sms3300 TO app');

my $runbook = read_document('doc/operations.md');
my ($monitor_part) = $runbook =~ /^## At three in the morning\n(.*?)^## /ms;
my ($reader_part)  = $runbook =~ /^## The messages themselves\n(.*?)^## /ms;
$monitor_part =~ s/^### Twelve incidents\n(.*?)(?=^### )//ms or die 'the incidents are missing';
my %incident = $1 =~ /^#### (.+?)\n(.*?)(?=^#### |\z)/msg;
is(scalar keys %incident, 12, 'twelve incidents');

sub blocks
{
	my ($part) = @_;
	return $part =~ /^```sql(?: no-run)?\n(.*?)^```/msg;
}

# Each statement of the runbook shows something.
my $sent = queue_until($node, 'sent', 'sent');
queue_until($node, 'unknown', '#http 500');
queue_until($node, 'rejected', '#status 27 no');
alter_account($node, paused => 'true');
queue($node, 'stuck', role => $_) for qw(postgres app);
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
my ($stuck) = grep { /it_waits_for/ } @read;
like(run_as($node, 'oncall', $stuck), qr/\Asms3300\|2\|[^|\n]*\|\d+\|queued: its account sms3300 is paused: [^\n]*\z/,
	'what is stuck: a line for an account and a reason, whoever the senders are');
run_sql($node, q{DELETE FROM sms_outbox});
alter_account($node, paused => undef);

# Wait until the first statement, by a member of pg_monitor, shows the rows that the manual shows
# for an incident, and no others. "…" and the process 4711 are anything. Returns their hints.
sub shows
{
	my ($incident, $on, $database) = @_;
	my ($block)  = $incident{$incident} =~ /^```\n(.*?)^```/ms or die "no rows of: $incident";
	my $expected = join '\n', map {
		join '\|', map { join '.*', map { quotemeta } split /…|4711/, $_, -1 } /^\w+ +\|[ ]?(.*)$/mg
	} split /\n\n/, $block;
	my $got;
	wait_until(
		sub {
			$got = run_as($on // $node, 'monitor', $monitored[0], $database);
			$got = join "\n", map { join '|', (split /\|/, $_, -1)[ 1, 2, 4, 5, 6 ] } split /\n/, $got;
			return $got =~ /\A$expected\z/;
		},
		sub { "the rows of: $incident\n$block\nbut: $got\n" });
	like($got, qr/\A$expected\z/, "$incident: what is seen");
	return map { s/.*\|//r } split /\n/, $got;
}

# Type what the manual says, as a role; the numbers in it stand for others.
sub type_as
{
	my ($role, $incident, %option) = @_;
	my $number = $option{number} // {};
	for my $sql (blocks($incident{$incident}))
	{
		$sql =~ s{\b(\d+)\b}{$number->{$1} // $1}ge;
		like(run_as($option{on} // $node, $role, $sql, $option{database}), qr/\A(?![0-9A-Z]{5}\z)/, "$incident: typed: " . $sql =~ s/\n.*//sr);
	}
	return;
}

sub over
{
	my ($incident, $on, $database) = @_;
	my $got;
	wait_until(sub { $got = run_as($on // $node, 'monitor', $monitored[0], $database); $got eq '' }, "the end of: $incident");
	return is($got, '', "$incident: over");
}

# What the gateway refuses, or that it is not there.
for my $case ([ 'Gateway down' ], [ 'No credit', '#status 14 no credit' ], [ 'Wrong password', '#status 18 no' ])
{
	my ($incident, $mode) = @$case;
	$mode ? $gateway->mode($mode) : $gateway->stop;
	queue($node, 'a text');
	shows($incident);
	$mode ? $gateway->mode('') : $gateway->start;
	type_as('postgres', $incident);
	over($incident);
}

# Locks, of a session that one without superuser's rights may end.
run_sql($node, 'CREATE ROLE batch LOGIN BYPASSRLS; GRANT SELECT, UPDATE ON sms_outbox TO batch');
for my $case ([ 'Table locked', 'LOCK TABLE sms_outbox IN SHARE MODE' ], [ 'Row locked', 'SELECT FROM sms_outbox WHERE due_at IS NOT NULL FOR UPDATE' ])
{
	my ($incident, $sql) = @$case;
	alter_account($node, paused => 'true');
	queue($node, 'locked');
	my $session = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'batch' ]);
	my $pid = $session->query_safe('SELECT pg_backend_pid()') =~ s/\s//gr;
	$session->query_safe("BEGIN; $sql");
	alter_account($node, paused => undef);
	wait_for_sql($node, 'postgres', q{SELECT state FROM sms3300_stat_worker WHERE datname = 'postgres'}, 'blocked');
	pass_time(11);
	my ($hint) = shows($incident);
	is($hint, "SELECT pg_terminate_backend($pid)", "$incident: the hint");
	is_deeply([ grep { run_as($node, 'monitor', "SET statement_timeout = '20s'; $_") =~ /\A\w{5}\z/ } @monitored ],
		[], "$incident: no statement for pg_monitor waits");
	type_as('oncall', $incident, number => { 4711 => $pid });
	over($incident);
	$session->{run}->finish;
}

# The gateway fails after it may have sent.
$gateway->mode('#http 500');
queue($node, 'a text', n => 40);
shows('Many unknown');
$gateway->mode('');
type_as('postgres', 'Many unknown');
wait_for_end($node);
run_sql($node, q{SELECT sms3300_resolve(id, false) FROM sms_outbox WHERE status = 'unknown'});
over('Many unknown');

# The worker is killed.
$gateway->mode('#hold');
my @ids = queue_until_taken($node, $gateway, 'on the wire', n => 2);
$gateway->mode('');
kill KILL => worker_pid($node, 'postgres');
wait_until(sub { eval { count_rows($node, q{status = 'unknown'}) == 2 } }, 'the server to come back');
$gateway->release;
shows('Worker killed');
type_as('postgres', 'Worker killed', number => { 17 => $ids[0], 18 => $ids[1] });
wait_for_status($node, \@ids, 'sent');
over('Worker killed');

# The clock is three hours ahead for a while.
set_clock(60);
my $id = queue($node, 'in an hour', send_after => \"clock_timestamp() + interval '1 hour'",
	send_before => \"clock_timestamp() + interval '90 min'");
set_clock(60 + 3 * 3600);
wait_for_status($node, $id, 'expired');
shows('Clock stepped');
alter_account($node, paused => 'true');
my $ahead = queue($node, 'queued while it is ahead');
set_clock(60);
alter_account($node, paused => undef);
type_as('postgres', 'Clock stepped');
wait_for_status($node, $ahead, 'sent');
over('Clock stepped');
is(statuses($node, $id), 'queued 1', 'Clock stepped: it waits for its time');
pass_time(3600);
wait_for_status($node, $id, 'sent');

# A queue that grows, and an account whose gateway is slow while another one is not.
alter_account($node, rate => '0.001');
queue($node, 'too many', n => 4);
pass_time(301);
shows('Queue growing');
type_as('postgres', 'Queue growing');
over('Queue growing');
alter_account($node, rate => undef);
run_sql($node, "CREATE SERVER slow FOREIGN DATA WRAPPER sms3300 OPTIONS (line '983000330000', url '$url', max_in_flight '4', timeout '1 hour');"
	  . q{ CREATE USER MAPPING FOR PUBLIC SERVER slow OPTIONS (username 'u', password 'p')});
queue_until($node, 'sent', '#delay 100', account => 'slow');
queue_until_taken($node, $gateway, '#hold', account => 'slow', n => 4);
queue($node, 'behind', account => 'slow', n => 3);
pass_time(301);
queue_until($node, 'sent', 'by the other one', n => 3);
shows('One slow account');
type_as('postgres', 'One slow account');
over('One slow account');
$gateway->release;
wait_for_end($node);

# The clock that the copies will have.
set_clock(0);

# A dump is restored beside the original.
$id = queue($node, 'in the dump', send_after => \"now() + interval '1 hour'");
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'Restored dump: dumped');
run_sql($node, 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], 'Restored dump: restored');
run_sql($node, "SELECT sms3300_cancel($id)");
shows('Restored dump', $node, 'restored');
type_as('postgres', 'Restored dump', database => 'restored');
over('Restored dump', $node, 'restored');
is(run_sql($node, q{SELECT sms3300_cancel_many(array_agg(id)) FROM sms_outbox WHERE status = 'queued'}, 'restored'), 1,
	'Restored dump: adopted');

# A physical backup is restored elsewhere, where there is no such file. The original has sent meanwhile.
my $armed = $node->basedir . '/armed';
append_to_file($armed, '');
set_setting($node, 'sms3300.armed_file', $armed);
my $session;
($session, undef, $id) = lock_by($node, 'LOCK TABLE sms_outbox IN SHARE MODE', 'in the backup');
$node->backup('backup');
unlock($session);
wait_for_status($node, $id, 'sent');
$node->stop;
unlink $armed;
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($node, 'backup');
$copy->start;
shows('Restored physical backup', $copy);
type_as('postgres', 'Restored physical backup', on => $copy, number => { 17 => $id });
append_to_file($armed, '');
over('Restored physical backup', $copy);
queue_until($copy, 'sent', 'from the copy');
is_taken($gateway, 'in the backup', 1, 'Restored physical backup: nothing is sent twice');

done_testing();
