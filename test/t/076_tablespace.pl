
# A full tablespace. Messages that cannot be claimed wait, results that cannot be recorded
# are kept, and both continue once there is space.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $disk = $ENV{SMALL_DISK};
plan skip_all => 'check.sh may not mount a small disk here' unless $disk;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
my $pid     = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'sms3300 worker'";
create_account($node, 'postgres', url => $gateway->url, line => '983000330000', max_parts => 255);
mkdir "$disk/space" or die "mkdir: $!";
run_sql($node, "CREATE TABLESPACE small LOCATION '$disk/space'");
run_sql($node, 'ALTER TABLE sms_outbox SET (fillfactor = 80);
ALTER TABLE sms_outbox SET TABLESPACE small');
run_sql($node, "SELECT sms3300_send('09123456789', 'hello')");
wait_for_end($node);
my $worker = run_sql($node, $pid);

# Queue $n messages that begin with a directive; text that no compression makes smaller
# fills up each to a size in kB.
sub queue_random
{
	my ($n, $directive, $size) = @_;
	return run_sql($node, <<"END");
INSERT INTO sms_outbox (mobile, message)
SELECT '09123456789', format('$directive', random_text)
FROM generate_series(1, $n) AS n, LATERAL (
	SELECT string_agg(encode(sha256((n || ' ' || m)::bytea), 'base64'), '') AS random_text
	FROM generate_series(1, $size * 22) AS m) AS r
END
}

# Take all room that is left, and give it back.
sub fill
{
	open my $file, '>', "$disk/filler" or die "open: $!";
	1 while syswrite $file, "\0" x 4096;
	return close $file;
}

sub make_room
{
	return unlink "$disk/filler";
}

# The results of messages that are on the wire when the room ends: their replies, of 35 kB
# each, do not fit.
my $full   = qr/could not (extend|write).*No space left on device/;
my $offset = -s $node->logfile;
queue_random(20, '#hold #json {"status": -1, "msg": "%s"}', 35);
$gateway->wait_for_taken(21);
fill();
$gateway->release;
wait_for_log($node, $full, $offset);
cmp_ok(count_rows($node, "status = 'sending'"), '>', 0, 'some results do not fit');
my $kept = qr/its reply came, the gateway accepted it, but cannot be recorded since [^;]*: $full/;
my $some = q{SELECT sms3300_explain(id) FROM sms_outbox WHERE status = 'sending'};
wait_until(sub { run_sql($node, $some) =~ /^$kept/m }, 'the full disk to be explained');
like(run_sql($node, $some), qr/^$kept.*; the worker retries until it succeeds$/m, 'explained: a result that does not fit');
like(run_sql($node, 'SELECT problem, detail FROM sms3300_problems'),
	qr/^result_not_recorded\|the result of message \d+ cannot be recorded: $full/m, 'it is a problem');
make_room();
wait_for_end($node);
is(count_rows($node, "status = 'sent'"), 21, 'all are recorded');

# Claims: the next versions of all rows of a page do not fit on it.
run_sql($node, "ALTER SERVER sms3300 OPTIONS (ADD paused 'true')");
queue_random(40, '%s', 1);
fill();
$offset = -s $node->logfile;
run_sql($node, "ALTER SERVER sms3300 OPTIONS (SET paused 'false')");
wait_for_log($node, $full, $offset);
my $waits = qr/^queued: [^;]*; the worker tries again after an error at [^;]*: $full/m;
$some = q{SELECT sms3300_explain(id) FROM sms_outbox WHERE status = 'queued'};
wait_until(sub { run_sql($node, $some) =~ $waits }, 'the full disk to be explained');
like(run_sql($node, $some), $waits, 'explained: a claim that does not fit');
make_room();
wait_for_end($node);
is(count_rows($node, "status = 'sent'"), 61, 'all are sent');
is($gateway->count->{taken}, 61, 'each once');
is(run_sql($node, $pid), $worker, 'by the same worker');

$node->stop;
done_testing();
