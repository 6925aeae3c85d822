
# A short run of test/chaos: whatever breaks while messages are sent, none is lost and
# none is sent twice.

use strict;
use warnings;

use Cwd            qw(abs_path);
use File::Basename qw(dirname);
use Test::More;

my $chaos  = abs_path(dirname(__FILE__) . '/../chaos');
my $output = qx("$^X" "$chaos" --duration 30 --messages 1500 --seed 1 2>&1);

is($?, 0, 'every promise was kept');
note($output);

# It would say so of a run in which nothing happened, too.
my %count = $output =~ /^(\S.*?) +(\d+)(?:  |$)/mg;
cmp_ok($count{queued}, '>=', 1500, 'messages were queued');
cmp_ok($count{$_}, '>', 0, "$_: some") for 'rolled back', 'sent', 'worker';
is($count{$_}, 0, "$_: none") for 'sent twice', 'lost';

done_testing();
