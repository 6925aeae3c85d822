
# The server log: each line that an administrator needs appears once, and nothing else
# does, neither numbers nor texts nor secrets.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $line   = '983000330000';
my $mobile = '989123456789';
my $text   = 'nobody shall read this';
my $secret = 'a secret password';
my $prefix = <<'END';
log_line_prefix = '%b: '
restart_after_crash = on
END

# Return the lines that the extension's processes have logged in a server.
sub logged
{
	my ($node) = @_;
	return slurp_file($node->logfile) =~ /^sms3300 (?:worker|launcher): (.*)$/mg;
}

my $gateway = new_gateway();
my $node    = new_node('main', conf => "${prefix}sms3300.worker_idle_timeout = 1h\n");
create_account($node, 'postgres', url => $gateway->url, line => $line, password => $secret,
	timeout => '1 hour');

# Queue a message and return its id.
sub send_secret
{
	my ($message) = @_;
	return run_sql($node, "SELECT sms3300_send('$mobile', " . quote("$message $text") . ')');
}

# Sent and rejected messages appear in the table, not in the log.
send_secret($_) for '', '#status 27', '#status 15', '#http 500';
wait_for_sql($node, 'postgres',
	q{SELECT count(*) FROM sms_outbox WHERE status IN ('sent', 'rejected', 'unknown')}, 3);
is_deeply([ logged($node) ], [], 'ordinary work is not logged');
run_sql($node, 'SELECT sms3300_cancel(id) FROM sms_outbox');

# An account stops, tries now and then, and opens again. Two requests are on the wire
# when it stops.
$gateway->mode('#status 14 no credit');
send_secret('stopped') for 1 .. 2;
wait_for_sql($node, 'postgres', 'SELECT retried >= 3 FROM sms3300_stat_account');
$gateway->mode('');
wait_for_end($node);
my $whose = 'CONTEXT:  sms3300 worker of database "postgres"';
my @stopped = (
	'LOG:  sms3300: account "sms3300" stopped: the gateway answered with status 14 (not enough credit): no credit',
	'DETAIL:  Its messages stay queued. One of them is retried at increasing intervals.',
	$whose,
	'LOG:  sms3300: account "sms3300" is sending again',
	$whose);
is_deeply([ logged($node) ], \@stopped, 'an account that stops and opens, once each');

# The worker is killed with messages on the wire, and another one finds them; the next
# one finds none.
for my $n (3, 1, 0)
{
	my @before = logged($node);
	my $pid = run_sql($node, 'SELECT pid FROM sms3300_stat_worker WHERE state = $$running$$');
	send_secret('#hang') for 1 .. $n;
	wait_for_sql($node, 'postgres',
		"SELECT count(*) FROM sms_outbox WHERE status = 'sending'", $n);
	kill KILL => $pid;
	$node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
	send_secret('');
	wait_for_end($node);
	my @after = logged($node);
	is_deeply(
		[ @after[ @before .. $#after ] ],
		[ $n == 0 ? () : (
			"LOG:  sms3300: $n message" . ($n == 1 ? ' was' : 's were')
			  . ' being sent when the last worker ended',
			'DETAIL:  Requests that were on the wire may have reached the gateway.',
			$whose) ],
		"a worker that was killed with $n on the wire");
}

# Messages of another database come in: that is said once, whatever else is queued and
# whoever is the worker; and again when there have been none meanwhile.
my @foreign = (
	'LOG:  sms3300: sms_outbox contains messages that another database queued, which are not sent',
	'HINT:  Run SELECT sms3300_adopt() to send them from this database.',
	$whose);
my @before = logged($node);
for my $origin (-1, 1)
{
	my $offset = -s $node->logfile;
	run_sql($node, <<"END");
INSERT INTO sms_outbox (mobile, message, line, account, send_before, sender, due_at, origin)
SELECT '$mobile', '$text', '$line', 'sms3300', 'infinity', 'postgres', now(), origin + $origin
FROM sms_outbox, generate_series(1, 2) LIMIT 2
END
	wait_for_log($node, qr/LOG:  sms3300: sms_outbox contains messages/, $offset);
	send_secret('');
	wait_for_sql($node, 'postgres',
		"SELECT count(*) FROM sms_outbox WHERE status = 'queued' OR status = 'sending'", 2);
	run_sql($node, 'SELECT pg_terminate_backend(pid) FROM sms3300_stat_worker');
	send_secret('');
	wait_for_sql($node, 'postgres',
		"SELECT count(*) FROM sms_outbox WHERE status = 'queued' OR status = 'sending'", 2);
	is(run_sql($node, 'SELECT sms3300_adopt()'), 2, 'foreign rows are adopted');
	wait_for_end($node);
}
my @after = logged($node);
is_deeply([ @after[ @before .. $#after ] ], [ @foreign, @foreign ],
	'messages of another database, once each time');

# Clients can keep values out of the log by binding them, if parameters are not logged.
my $script = $node->basedir . '/bound.sql';
append_to_file($script, "SELECT sms3300_send(:mobile, :text);\nSELECT sms3300_send(:mobile, :text, account => 'nowhere');\n");
for my $length (-1, 0)
{
	my $offset = -s $node->logfile;
	local $ENV{PGOPTIONS} =
	  "-c log_parameter_max_length=$length -c log_parameter_max_length_on_error=$length";
	my (undef, $error) = run_command([ 'pgbench', '-n', '-t', 1, '-M', 'extended', '-D', "mobile=$mobile",
			'-D', "text=$text", '-f', $script, $node->connstr('postgres') ]);
	like($error, qr/nowhere/, "log_parameter_max_length = $length: one is queued, one is refused");
	my $said = slurp_file($node->logfile, $offset);
	like($said, qr/sms3300_send\(\$1, \$2/, 'statements are logged');
	is($said =~ /$text/  ? 1 : 0, $length ? 1 : 0, 'texts are logged only if parameters are');
	is($said =~ /$mobile/ ? 1 : 0, $length ? 1 : 0, 'numbers are logged only if parameters are');
}

# All but what clients have said, which the tests' servers log.
my $log = slurp_file($node->logfile) =~ s/^client backend: .*\n(?:\t.*\n)*//mgr;
like($log, qr/^postmaster: /m, 'there is a log');
unlike($log, qr/9123456789/, 'no number');
unlike($log, qr/$text/,      'no text');
unlike($log, qr/$secret/,    'no secret');
$node->stop;

# More databases than processes: logged once, and again when it recurs.
sub shortage
{
	my ($name, $conf, @expected) = @_;
	my $other = new_node($name, conf => "${prefix}sms3300.worker_idle_timeout = 1h\n$conf");
	run_sql($other, 'CREATE DATABASE two');
	create_account($other, $_, url => $gateway->url, line => $line) for qw(postgres two);
	my $taken = $gateway->count->{taken};
	run_sql($other, "SELECT sms3300_send('$mobile', '#hang')");
	$gateway->wait_for_taken($taken + 1);
	run_sql($other, "SELECT sms3300_send('$mobile', '$text')", 'two');
	wait_for_log($other, qr/messages are waiting/);
	run_sql($other, "SELECT sms3300_send('$mobile', '$text')", 'two') for 1 .. 3;
	run_sql($other, 'SELECT pg_reload_conf()');
	$gateway->stop;
	$gateway->start;
	wait_for_end($other, 'two');
	is_deeply([ grep { !/stopped|increasing intervals|is sending again|^CONTEXT/ } logged($other) ],
		[ map { ("LOG:  sms3300: messages are waiting because $_->[0]", "HINT:  $_->[1]") } @expected ],
		$name);
	$other->stop;
	return;
}
shortage('workers', "sms3300.max_workers = 1\n",
	[ 'all 1 workers are in use', 'Raise sms3300.max_workers and restart the server.' ]);
shortage('processes', "max_worker_processes = 2\nmax_logical_replication_workers = 0\n",
	[ 'no background worker slot is free', 'Raise max_worker_processes and restart the server.' ]);

done_testing();
