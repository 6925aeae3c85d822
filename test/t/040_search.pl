
# What was being sent when a worker died is found behind any number of waiting messages, and
# they are read part by part: no transaction is as long as the queue, and a new worker does
# not take its own messages for those of the former one.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

use constant WAITING => 9000;

my $gateway = new_gateway();
my $node    = new_node('main', conf => <<'END');
restart_after_crash = on
shared_preload_libraries = 'sms3300, auto_explain'
auto_explain.log_min_duration = 0
auto_explain.log_analyze = on
auto_explain.log_timing = off
END
my %account = (url => $gateway->url, line => '983000330000', timeout => '1 h', max_in_flight => 3);
create_account($node, 'postgres', %account);
create_account($node, 'postgres', %account, account => 'before', paused => 'true');

# The queue is searched in the order of accounts.
queue($node, 'waits', account => 'before', n => WAITING);
$gateway->mode('#hang');
queue($node, 'in doubt', n => 3);
queue($node, 'follows',  n => 3);
$gateway->wait_for_taken(3);
$gateway->mode('#delay 700');
kill 'KILL', worker_pid($node, 'postgres');

wait_for_statuses($node, 'in doubt', 'unknown 3');
wait_for_statuses($node, 'follows',  'sent 3');
is($gateway->count->{taken}, 6, 'each is sent once');
is(count_rows($node, "message = 'follows' AND events <> '[]'"), 0,
	'what the new worker sends is not in doubt');
is(statuses($node, 'waits'), 'queued ' . WAITING, 'what waits goes on waiting');

# A server that comes back searches, too; then all is read.
my $offset = -s $node->logfile;
$node->stop('immediate');
$node->start;
queue_until($node, 'sent', 'after the crash');

# Return what the plan of each search tells, since the server came back.
sub plans
{
	my @plans = split /^(?=\S)/m, slurp_file($node->logfile, $offset);
	return grep { /Query Text: SELECT q\.account, / } @plans;
}

# Return the rows that each search has found.
sub found
{
	return map { /\tLimit [^\n]*actual rows=(\d+)/ ? $1 : die "no rows in: $_\n" } plans();
}

wait_until(sub { return grep { $_ < 2000 } found() }, 'the search to end');
is(scalar(grep { $_ == 2000 } found()), 4, 'the queue is read part by part');
is_deeply([ grep { $_ > 2000 } map { /(?:actual rows=|Rows Removed by [^:]*: )(\d+)/g } plans() ], [],
	'no part is large, and none reads what was read before');

$node->stop;
done_testing();
