
# Short runs of test/chaos. Whatever fails while messages are sent, no message is lost or
# sent twice. While the server itself keeps running, each result is counted once. None is sent
# against a rule of its account, and none has a delivery state that the gateway did not say.

use strict;
use warnings;

use Cwd            qw(abs_path);
use File::Basename qw(dirname);
use Test::More;

my $chaos = abs_path(dirname(__FILE__) . '/../chaos');

# Run it; return how often what happened.
sub run_chaos
{
	my ($name, $options) = @_;
	my $output = qx("$^X" "$chaos" --seed 1 $options 2>&1);
	is($?, 0, "$name: every promise was kept");
	note($output);
	return $output =~ /^(\S.*?) +(\d+)(?:  |$)/mg;
}

# It would say so of a run in which nothing happened, too.
my %count = run_chaos('all faults', '--duration 30 --messages 1500');
cmp_ok($count{queued}, '>=', 1500, 'messages were queued');
cmp_ok($count{$_}, '>', 0, "$_: some") for 'rolled back', 'sent', 'worker';
is($count{$_}, 0, "$_: none") for 'sent twice', 'lost';

%count = run_chaos('the server goes on',
	'--duration 12 --messages 600 --faults terminate,gateway,cut,refuse,reset,busy,refusal,drop,half');
cmp_ok($count{terminate}, '>', 0, 'workers were replaced');
cmp_ok($count{unknown},   '>', 0, 'unknown: some');
is($count{counted}, $count{queued}, 'every result was counted');

%count = run_chaos('rules and delivery states', '--duration 20 --messages 1000 --rules --delivery --https');
cmp_ok($count{$_}, '>', 0, "$_: some") for 'sent', 'suppressed', 'changed rules', 'with delivery state';
is($count{$_}, 0, "$_: none") for 'sent twice', 'lost', 'against a rule', 'states that were not said';

done_testing();
