
# The counters outlive a restart of the server: they are written when it is stopped, and read
# back. After a crash they begin anew.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main');
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');
queue_until($node, 'sent', 'one', n => 3);
queue_until($node, 'unknown', '#http 500');

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

# What is not such a file is no reason not to start.
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

queue_until($node, 'sent', 'before the crash');
kill KILL => worker_pid($node, 'postgres');
wait_until(sub { my (undef, $out) = $node->psql('postgres', $counted); defined $out && $out =~ /^0\|0\|0\|/ },
	'the counters to be gone after a crash');
pass('after a crash there are none');

done_testing();
