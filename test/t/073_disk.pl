
# A full disk. The worker keeps the results that it cannot write, and writes them once
# there is space. Only the worker runs out of space here: a limit on the size of files
# applies to its process alone.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

plan skip_all => 'prlimit is not available'
  if system('prlimit --version >/dev/null 2>&1') != 0;

# Its WAL has to stay below the limit, 2 MB.
my $limit   = 2 * 1024 * 1024;
my $gateway = new_gateway();
my $node    = new_node('main', init => [ extra => [ '--encoding=UTF8', '--locale=C', '--wal-segsize=1' ] ],
	conf => "sms3300.worker_idle_timeout = 1h\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000', max_parts => 255);

my $pid = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'sms3300 worker'";
my $full = qr/could not (extend|write).*File too large/;

# Queue $n messages, each of which and each of whose replies needs almost 40 kB.
sub queue_random
{
	my ($n) = @_;
	return run_sql($node, <<"END");
INSERT INTO sms_outbox (mobile, message)
SELECT '09123456789', '#json {"status": -1, "msg": "' || random_text || '"}'
FROM generate_series(1, $n) AS n, LATERAL (
	SELECT string_agg(encode(sha256((n || ' ' || m)::bytea), 'base64'), '') AS random_text
	FROM generate_series(1, 880) AS m) AS r
END
}

queue_random(1);
wait_for_end($node);
my $worker = run_sql($node, $pid);

# The messages find room, their results do not all.
system_or_bail('prlimit', '--pid', $worker, "--fsize=$limit:");
queue_random(30);
$gateway->wait_for_taken(31);
wait_for_log($node, $full);
cmp_ok(count_rows($node, "status = 'sending'"), '>', 0, 'some results do not fit');

# Check that the worker goes on trying with pauses: for five seconds, which another
# database's worker measures.
run_sql($node, 'CREATE DATABASE other');
create_account($node, 'other', url => $gateway->url, line => '983000330000');
sub is_patient
{
	my ($what) = @_;
	my $offset = -s $node->logfile;
	run_sql($node, "SELECT sms3300_send('09123456789', '#delay 5000')", 'other');
	wait_for_end($node, 'other');
	my @lines = slurp_file($node->logfile, $offset) =~ /$full/g;
	note("$what: " . scalar @lines . ' lines');
	return cmp_ok(scalar @lines, '<', 150, "$what: the log is not flooded");
}
is_patient('results');

# There is room again.
cmp_ok(count_rows($node, "status = 'sending'"), '>', 0, 'the results are waiting');
system_or_bail('prlimit', '--pid', $worker, '--fsize=unlimited:');
wait_for_end($node);
is(count_rows($node, "status = 'sent'"), 31, 'all are recorded');
is($gateway->count->{taken}, 32, 'each was sent once');

# Claims, whose new versions of rows find no room either.
run_sql($node, "ALTER SERVER sms3300 OPTIONS (ADD paused 'true'); ALTER TABLE sms_outbox SET (fillfactor = 100)");
run_sql($node, 'VACUUM sms_outbox');
run_sql($node, "INSERT INTO sms_outbox (mobile, message) SELECT '09123456789', 'hello' FROM generate_series(1, 8000)");
my $size = run_sql($node, q{SELECT pg_relation_size('sms_outbox')});
cmp_ok($size, '>', 1024 * 1024, 'a segment of the WAL is smaller');
system_or_bail('prlimit', '--pid', $worker, "--fsize=$size:");
my $offset = -s $node->logfile;
run_sql($node, "ALTER SERVER sms3300 OPTIONS (SET paused 'false')");
wait_for_log($node, $full, $offset);
is_patient('claims');
system_or_bail('prlimit', '--pid', $worker, '--fsize=unlimited:');
wait_for_end($node);
is(count_rows($node, "status = 'sent'"), 8031, 'claims: all are sent');
is($gateway->count->{taken}, 8033, 'claims: each once');
is(run_sql($node, $pid . " AND datname = 'postgres'"), $worker, 'by the same worker');

$node->stop;
done_testing();
