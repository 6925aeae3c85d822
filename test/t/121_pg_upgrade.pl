
# pg_upgrade. Nothing is sent while it runs, everything is upgraded, and queued messages
# are not sent until they are adopted. OLD_PG_CONFIG selects the old PostgreSQL. Without
# it, a cluster is upgraded to another one of the same version, which makes no difference
# to pg_upgrade.

use strict;
use warnings;

use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

chomp(my ($old_bindir, $new_bindir) =
	  map { qx("$_" --bindir) } $ENV{OLD_PG_CONFIG} || $ENV{PG_CONFIG}, $ENV{PG_CONFIG});
my $gateway = new_gateway();

# At debug1 a server says which processes it starts.
my %shared = (
	conf => "log_min_messages = debug1\n",
	init => [ extra => [ '--encoding=UTF8', '--locale=C', '--data-checksums' ] ]);
my $old = new_node('old', %shared, install_path => dirname($old_bindir));

# A database with the extension as it is, and one where it was not updated yet.
my @databases = qw(current first);
run_sql($old, "CREATE DATABASE $_", 'template1') for @databases;
run_sql($old, q{CREATE EXTENSION sms3300 VERSION '1.0'}, 'first');
run_sql($old, 'CREATE ROLE app', 'template1');

# Messages of each status that a server which was shut down can have.
for my $database (@databases)
{
	create_account($old, $database, url => $gateway->url, line => '983000330000');
	run_sql($old, <<'END', $database);
GRANT USAGE ON FOREIGN SERVER sms3300 TO app;
CREATE USER MAPPING FOR app SERVER sms3300 OPTIONS (username 'app', password 'its own');
SET ROLE app;
SELECT sms3300_send('09123456789', 'سلام', line2 => '983000330001', dedup_key => 'once',
	metadata => '{"order": 17}');
SELECT sms3300_send('09123456789', '#status 27', priority => 9);
SELECT sms3300_send('09123456789', '#http 500', send_before => 'infinity');
SELECT sms3300_cancel(sms3300_send('09123456789', 'cancelled', send_after => now() + interval '1 h'));
END
	wait_for_end($old, $database);
}

# In both, a queued message would be sent as soon as a server starts.
$old->safe_psql('template1', 'ALTER SYSTEM SET sms3300.enabled = off');
$old->reload;
wait_for_sql($old, 'current', q{SELECT state = 'paused' FROM sms3300_stat_account});
for my $database (@databases)
{
	run_sql($old, <<'END', $database);
SET ROLE app;
SELECT sms3300_send('09123456789', 'queued') FROM generate_series(1, 3);
SELECT sms3300_send('09123456789', 'later', send_after => now() + interval '1 day', dedup_key => 'later');
END
}
$old->safe_psql('template1', 'ALTER SYSTEM RESET sms3300.enabled');
my %contents = map { $_ => read_contents($old, $_) } @databases;
my $unknown  = run_sql($old, q{SELECT id FROM sms_outbox WHERE status = 'unknown'}, 'current');
my $last     = run_sql($old, 'SELECT max(id) FROM sms_outbox', 'current');
$old->stop;

# The upgrade, with a gateway that would take what is sent.
my $new = new_node('new', %shared);
$new->stop;
my $taken = $gateway->count->{taken};
chdir $PostgreSQL::Test::Utils::tmp_check or die "could not change folder: $!";
$new->command_ok(
	[
		'pg_upgrade', '--no-sync', '--retain',
		'-d' => $old->data_dir, '-D' => $new->data_dir,
		'-b' => $old_bindir,    '-B' => $new_bindir,
		'-s' => $new->host,     '-p' => $old->port, '-P' => $new->port ],
	'pg_upgrade');
is($gateway->count->{taken}, $taken, 'nothing is sent while it runs');
my @logs = glob $new->data_dir . '/pg_upgrade_output.d/*/log/pg_upgrade_server.log';
is(scalar @logs, 1, 'the log of its servers');
my $log = slurp_file($logs[0]);
like($log, qr/DEBUG:  /, 'says much');
unlike($log, qr/sms3300 (?:launcher|worker)/, "pg_upgrade's servers have no process of the extension");

# Afterwards.
$new->start;
my $queued = 0;
for my $database (@databases)
{
	is(read_contents($new, $database), $contents{$database}, "$database: everything is there");
	my $id = run_sql($new, q{SELECT sms3300_send('09123456789', 'new')}, $database);
	is($id, $last + 1, "$database: the next number");
	wait_for_status($new, $id, 'sent', $database);
	is_taken($gateway, 'queued', $queued, "$database: what was queued is not sent");
	is(run_sql($new, 'SELECT foreign_rows FROM sms3300_stat_account', $database), 4, "$database: and is counted");
	is( run_sql($new, q{SELECT DISTINCT sms3300_explain(id) FROM sms_outbox WHERE status = 'queued'}, $database),
		"queued: it was restored or queued in another database and is not sent:"
		  . " sms3300_adopt() takes over all such messages",
		"$database: explained");
	is(run_sql($new, 'SELECT sms3300_adopt()', $database), 4, "$database: adopted");
	wait_for_sql($new, $database,
		q{SELECT count(*) FROM sms_outbox WHERE message = 'queued' AND status = 'sent'}, 3);
	$queued += 3;
	is_taken($gateway, 'queued', $queued, "$database: then it is sent, once");
}
is_deeply([ map { $_->{fields}{username} } grep { $_->{fields}{message} eq 'queued' } $gateway->log ],
	[ ('app') x $queued ], 'with the account of the role that queued it');

# The rest of the extension works as before.
is(run_sql($new, q{SET ROLE app; SELECT sms3300_send('09123456789', 'again', dedup_key => 'once')}, 'current'), 1,
	'what a dedup_key keeps out, it still does');
run_sql($new, "SELECT sms3300_resend($unknown)", 'current');
$gateway->wait_for_taken($taken + 2 + $queued + 1);
wait_for_status($new, $unknown, 'unknown', 'current');
run_sql($new, 'ALTER EXTENSION sms3300 UPDATE', 'first');
is(run_sql($new, 'SET ROLE app; SELECT count(*) FROM sms_report', 'first'), 8, 'an old extension can be updated after pg_upgrade');
is($gateway->count->{taken} - $taken, 2 + $queued + 1, 'nothing else is sent');

$new->stop;
done_testing();
