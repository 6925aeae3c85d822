
# Messages whose worker died while they were on the wire, rows from another database, and
# resending and cancelling messages by hand.

use strict;
use warnings;

use IPC::Run qw(finish start);
use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => <<'END');
restart_after_crash = on
sms3300.worker_idle_timeout = 1h
END
my %account = (url => $gateway->url, line => '983000330000', timeout => '1 h', max_in_flight => 5);
create_account($node, 'postgres', %account);
create_account($node, 'postgres', %account, account => 'resend', on_unknown => 'resend');
create_account($node, 'postgres', %account, account => 'paused', paused     => 'true');

# Wait until the messages with a text are as expected: status, attempts and their number.
sub wait_for_state
{
	my ($message, $expected, $database) = @_;
	wait_for_sql($node, $database // 'postgres', <<"END", $expected);
SELECT string_agg(concat_ws(' ', status, attempts, n), ', ' ORDER BY status)
FROM (SELECT status, attempts, count(*) AS n FROM sms_outbox WHERE message = '$message'
	GROUP BY 1, 2) AS s
END
	return;
}

# The worker or the server dies while requests hang for an hour. What was on the wire is
# in doubt at once, and the rest goes on.
my %death = (
	'kill of the worker' => sub {
		kill 'KILL', worker_pid($node, 'postgres');
	},
	'immediate stop' => sub {
		$node->stop('immediate');
		$node->start;
	});
for my $death (sort keys %death)
{
	my $before = $gateway->count->{taken};
	$gateway->mode('#hang');
	queue($node, $death, n => 8);
	queue($node, "$death, resend", account => 'resend');
	$gateway->wait_for_taken($before + 6);
	$gateway->mode('');
	$death{$death}->();

	wait_for_state($death, 'sent 1 3, unknown 1 5');
	is_taken($gateway, $death, 8, "$death: nothing is sent twice");
	my ($row) = read_rows($node, "message = '$death' AND status = 'unknown'");
	like($row->{error}, qr/worker ended.*may have been sent/, "$death: the error");
	is_deeply(
		[ map { @$_{qw(attempt http_status api_status error)} } @{ $row->{events} } ],
		[ 1, undef, undef, $row->{error} ],
		"$death: the history");

	wait_for_sql($node, 'postgres',
		"SELECT jsonb_array_length(events) FROM sms_outbox WHERE message = '$death, resend'", 1);
	run_sql($node, "UPDATE sms_outbox SET send_after = now() - interval '1 s'"
		  . " WHERE message = '$death, resend' AND status = 'queued'");
	wait_for_state("$death, resend", 'sent 2 1');
	is_taken($gateway, "$death, resend", 2, "$death: sent again where that was chosen");
}

# What has used up its attempts is not sent again, nor does it matter how a row came to be
# on the wire.
my $before = $gateway->count->{taken};
$gateway->mode('#hang', 3);
queue($node, $_, account => 'resend') for 'last attempt', 'by hand';
queue($node, 'hangs');
$gateway->wait_for_taken($before + 3);
run_sql($node, <<'END');
UPDATE sms_outbox SET attempts = 10 WHERE message = 'last attempt';
UPDATE sms_outbox SET started_at = NULL, attempts = 10 WHERE message = 'by hand';
END
$death{'kill of the worker'}->();
wait_for_state($_, 'unknown 10 1') for 'last attempt', 'by hand';
wait_for_state('hangs', 'unknown 1 1');

# A restored dump is silent, until it is adopted.
my $dump  = "$PostgreSQL::Test::Utils::tmp_check/orphans.sql";
my $taken = $gateway->count->{taken};
queue($node, '#hang');
queue($node, 'restored', n => 3, account => 'paused');
$gateway->wait_for_taken($taken + 1);
$node->command_ok([ 'pg_dump', '-f', $dump, 'postgres' ], 'dumped while a message is being sent');
run_sql($node, 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', 'restored', '-f', $dump ],
	'restored');
run_sql($node, "ALTER SERVER paused OPTIONS (SET paused 'false')", 'restored');
mark($node, database => 'restored');
wait_for_state('restored', 'queued 0 3', 'restored');
wait_for_state('#hang', 'sending 1 1', 'restored');
is_taken($gateway, 'restored', 0, 'nothing of it is sent');
is(run_sql($node, 'SELECT sms3300_adopt()', 'restored'), 4, 'adopted');
wait_for_state('restored', 'sent 1 3', 'restored');
wait_for_state('#hang', 'unknown 1 1', 'restored');
is_taken($gateway, 'restored', 3, 'all of it is sent');
is_taken($gateway, '#hang', 1, 'what was being sent is not sent again by adoption');
is(run_sql($node, 'SELECT sms3300_adopt()', 'restored'), 0, 'nothing is left to adopt');
wait_for_state('restored', 'queued 0 3');
wait_for_state('#hang', 'sending 1 1');

# So are rows that return to their own database: they may have been sent in the meantime.
queue($node, 'comes back', account => 'paused');
run_sql($node, "CREATE TABLE kept AS SELECT * FROM sms_outbox WHERE message = 'comes back'");
run_sql($node, "ALTER SERVER paused OPTIONS (SET paused 'false')");
wait_for_state('comes back', 'sent 1 1');
run_sql($node, <<'END');
DELETE FROM sms_outbox WHERE message = 'comes back';
INSERT INTO sms_outbox OVERRIDING SYSTEM VALUE SELECT * FROM kept;
END
mark($node);
wait_for_state('comes back', 'queued 0 1');
is_taken($gateway, 'comes back', 1, 'rows that come back are silent');
run_sql($node, "SELECT sms3300_cancel(id) FROM sms_outbox WHERE message = 'comes back'");
run_sql($node, "ALTER SERVER paused OPTIONS (SET paused 'true')");

# So is a copied database.
run_sql($node, 'CREATE DATABASE original');
create_account($node, 'original', %account, paused => 'true');
queue($node, 'copied', n => 2, database => 'original');
set_setting($node, 'sms3300.worker_idle_timeout', '0');
wait_until(
	sub { $node->psql('postgres', 'CREATE DATABASE twin TEMPLATE original') == 0 },
	'the worker to leave the database');
run_sql($node, "ALTER SERVER sms3300 OPTIONS (SET paused 'false')", 'twin');
mark($node, database => 'twin');
wait_for_state('copied', 'queued 0 2', 'twin');
is_taken($gateway, 'copied', 0, 'a copy is silent');
is(run_sql($node, 'SELECT sms3300_adopt()', 'twin'), 2, 'a copy is adopted');
wait_for_state('copied', 'sent 1 2', 'twin');

# Every final status but sent can be sent again. Those that end without a request are
# queued for an account that is paused, and moved to one that is not.
create_account($node, 'postgres', %account, account => 'once', max_attempts => 1);
my %finish = (
	rejected  => '#status 1',
	failed    => '#status 15',
	unknown   => '#reset',
	expired   => undef,
	cancelled => undef);
for my $status (sort keys %finish)
{
	my $message = "to be $status";
	$gateway->mode($finish{$status}, 1) if $finish{$status};
	queue($node, $message, account => $finish{$status} ? 'once' : 'paused');
	my $id = run_sql($node, "SELECT id FROM sms_outbox WHERE message = '$message'");
	is(run_sql($node, "SELECT sms3300_resend($id)"), 'f', "$status: not while it is queued")
	  unless $finish{$status};
	run_sql($node, "UPDATE sms_outbox SET send_after = now() - interval '2 h',"
		  . " send_before = now() - interval '1 h' WHERE id = $id")
	  if $status eq 'expired';
	run_sql($node, "SELECT sms3300_cancel($id)") if $status eq 'cancelled';
	wait_for_status($node, $id, $status);
	run_sql($node, "UPDATE sms_outbox SET account = 'once' WHERE id = $id");

	my $before = $gateway->taken($message);
	is(run_sql($node, "SELECT sms3300_resend($id)"), 't', "$status: again");
	wait_for_state($message, 'sent 1 1');
	is_taken($gateway, $message, $before + 1, "$status: one more request");
	is(run_sql($node, "SELECT sms3300_resend($id)"), 'f', "$status: not once it is sent");
}
is(run_sql($node, <<'END'), 'f|f', 'a message on the wire is neither resent nor cancelled');
SELECT sms3300_resend(id), sms3300_cancel(id) FROM sms_outbox WHERE status = 'sending'
END
is(run_sql($node, 'SELECT sms3300_resend(0), sms3300_cancel(0)'), 'f|f', 'there is nothing to resend or cancel for an unknown id');

# A cancellation that is not committed yet is waited for, without holding up others.
for my $end ('COMMIT', 'ROLLBACK')
{
	my $message = "cancelled, $end";
	run_sql($node, "ALTER SERVER paused OPTIONS (SET paused 'true')");
	queue($node, $message, account => 'paused');

	my $in = "BEGIN; SELECT sms3300_cancel(id) FROM sms_outbox WHERE message = '$message';\n";
	my $session = start_psql(\$in, \my $out);
	$session->pump until $out =~ /t\n/;
	run_sql($node, "ALTER SERVER paused OPTIONS (SET paused 'false')");
	mark($node);
	is_taken($gateway, $message, 0, "$message: not sent before it is decided");

	$in .= "$end;\n";
	finish($session);
	wait_for_state($message, $end eq 'COMMIT' ? 'cancelled 0 1' : 'sent 1 1');
	is_taken($gateway, $message, $end eq 'COMMIT' ? 0 : 1, "$message: as it was decided");
}

# Cancellations race with the worker for the next messages: each is either cancelled or
# sent, and the session that cancelled it was told so.
my $next = <<'END';
SELECT n FROM (
	SELECT message AS n, sms3300_cancel(id) AS won FROM (
		SELECT id, message FROM sms_outbox WHERE status = 'queued' AND account = 'sms3300'
		ORDER BY due_at, id OFFSET %d LIMIT 1) AS next) AS cancelled
WHERE won;
END
my (@script, @won, @sessions);
queue($node, \q('race ' || n), n => 2000);
for my $offset (0 .. 3)
{
	$script[$offset] = sprintf($next, $offset) x 200;
	push @sessions, start_psql(\$script[$offset], \$won[$offset]);
}
finish($_) for @sessions;
wait_for_sql($node, 'postgres',
	"SELECT count(*) = 0 FROM sms_outbox WHERE message LIKE 'race %' AND finished_at IS NULL");

my @cancelled = sort map { split /\n/ } @won;
my @sent = sort grep { /^race / } map { $_->{fields}{message} } $gateway->log;
is(join(' ', sort @cancelled, @sent), join(' ', sort map { "race $_" } 1 .. 2000),
	'each is either cancelled or sent');
for my $list ([ cancelled => @cancelled ], [ sent => @sent ])
{
	my ($status, @messages) = @$list;
	is(join(' ', @messages), join(' ', sort map { $_->{message} }
			  read_rows($node, "message LIKE 'race %' AND status = '$status'")),
		"the rows agree: $status");
}

$node->stop;
done_testing();

# Start psql with a script, to which more may be added as long as the result lives.
sub start_psql
{
	my ($in, $out) = @_;
	$$out = '';
	my $timer = IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default);
	return start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', $in, '>', $out, $timer);
}

