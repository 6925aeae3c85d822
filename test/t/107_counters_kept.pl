
# The counters outlive a restart of the server: they are written when it is stopped, and read
# back. After a crash they start from zero.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "restart_after_crash = on\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');
queue_until($node, 'sent', 'one', n => 3);
queue_until($node, 'unknown', '#http 500');

# Return the hour that is counted in a file: of this one or the last.
sub counted_hour
{
	my ($saved) = @_;
	my $now = int((time() - 946684800) / 3600) * 3_600_000_000;
	for my $hour ($now, $now - 3_600_000_000)
	{
		return $hour if index($saved, pack('q', $hour)) > 0;
	}
	die 'no hour in the file';
}

# Restart the server, with what is counted as that of the hour before.
sub let_an_hour_pass
{
	$node->stop;
	my $file  = $node->data_dir . '/pg_stat/sms3300.stat';
	my $saved = slurp_file($file);
	my $hour  = counted_hour($saved);
	substr($saved, index($saved, pack('q', $hour)), 8) = pack('q', $hour - 3_600_000_000);
	unlink $file or die $!;
	append_to_file($file, $saved);
	$node->start;
	return;
}

my $counted = 'SELECT sent, unknown, requests, request_time_sum, request_time_p95, wait_time_sum, stats_reset'
  . ' FROM sms3300_stat_account';
my $file   = $node->data_dir . '/pg_stat/sms3300.stat';
my $before = run_sql($node, $counted);
like($before, qr/^3\|1\|4\|/, 'counted');

$node->restart;
is(run_sql($node, $counted), $before, 'a restart keeps the counters');
ok(!-e $file, 'the file is removed once it is read');
is(run_sql($node, 'SELECT state, reason FROM sms3300_stat_account'), 'ok|', 'nothing is said of the present');
queue_until($node, 'sent', 'two');
like(run_sql($node, $counted), qr/^4\|1\|5\|/, 'they count on');

# A file that cannot be read does not keep the server from starting.
$node->stop;
append_to_file($file, 'x' x 100);
open(my $handle, '>', "$file.tmp") or die $!;
close $handle;
$node->start;
like(run_sql($node, $counted), qr/^4\|1\|5\|/, 'more than the counters in the file');
$node->stop;
truncate($file, 1000);
$node->start;
like(run_sql($node, $counted), qr/^[04]\|[01]\|[05]\|/, 'half a file');

# The history: of this hour from memory, and of past hours from the table, where a worker writes
# it. A test cannot wait for an hour: the hour in the file is made an earlier one.
my $history = 'SELECT account, sent, rejected, unknown, requests, request_time_p95 > 0 FROM sms3300_stat_history';
queue_until($node, 'sent', 'this hour');
like(run_sql($node, $history), qr/^sms3300\|\d+\|0\|\d+\|\d+\|t$/, 'this hour is in the history');
is(run_sql($node, 'SELECT count(*) FROM sms3300_history'), 0, 'and not in the table yet');
my $hour = run_sql($node, q{SELECT (extract(epoch FROM hour) * 1000000 - 946684800000000)::bigint FROM sms3300_stat_history});
$node->stop;
my $saved = slurp_file($file);
my $at    = index($saved, pack('q', $hour));
cmp_ok($at, '>', 0, 'the hour is in the file');
substr($saved, $at, 8) = pack('q', $hour - 2 * 3_600_000_000);
unlink $file or die $!;
append_to_file($file, $saved);
$node->start;
my $sent = run_sql($node, 'SELECT sum(sent) FROM sms3300_stat_history');
queue_until($node, 'sent', 'the next hour');
is(run_sql($node, 'SELECT count(*), sum(sent) FROM sms3300_history'), "1|$sent", 'a past hour is written');
is(run_sql($node, 'SELECT count(*), sum(sent) FROM sms3300_stat_history'), '2|' . ($sent + 1), 'and this one is counted apart');

# Old hours become days, and old days go, when the next hour is written.
run_sql($node, q{INSERT INTO sms3300_history SELECT 'old', now() - n * interval '1 hour', false, 1, 0, 0, 1, n FROM generate_series(200, 300) n;
	INSERT INTO sms3300_history SELECT 'old', now() - interval '366 days', true, 1, 0, 0, 1, 1});
let_an_hour_pass();
queue_until($node, 'sent', 'one hour later');
is(run_sql($node, q{SELECT sum(sent), bool_and(whole_day), count(*) < 7 FROM sms3300_history WHERE account = 'old'}),
	'101|t|t', 'hours become days, and what is older than a year goes');

# A trigger on the history does not keep messages from being sent for long.
run_sql($node, <<'END');
CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(3600); RETURN NEW; END';
CREATE TRIGGER sleep BEFORE INSERT ON sms3300_history FOR EACH ROW EXECUTE FUNCTION sleep();
END
let_an_hour_pass();
queue_until($node, 'sent', 'beside a slow history');
pass('a slow trigger on the history is cancelled');
run_sql($node, 'DROP TRIGGER sleep ON sms3300_history');

queue_until($node, 'sent', 'before the crash');
kill KILL => worker_pid($node, 'postgres');
wait_until(sub { eval { run_sql($node, $counted) =~ /^0\|0\|0\|/ } },
	'the counters to be gone after a crash');
pass('after a crash there are none');

# A file that was there before a crash tells of another time.
queue_until($node, 'sent', 'before the file');
$node->stop;
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', undef);
$node->start;
ok(-e $file, 'the file stays while the library is not preloaded');
$node->stop('immediate');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'sms3300'");
$node->start;
like(run_sql($node, $counted), qr/^0\|0\|0\|/, 'a file from before a crash is not read');
ok(!-e $file, 'it is removed');

done_testing();
