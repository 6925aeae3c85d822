
# The worker stays small, whatever is in the table: claims are bounded by bytes as well as
# by rows, and a row that is too long to be sent is settled.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000', max_in_flight => 200);
mark($node);
my $pid = worker_pid($node, 'postgres');

# The most memory that the worker has had for itself, in MB. Part of what it has had is shared.
sub most_memory
{
	my $status = slurp_file("/proc/$pid/status");
	my ($most, $file, $shared) = map { $status =~ /^$_:\s+(\d+) kB/m } qw(VmHWM RssFile RssShmem);
	return ($most - $file - $shared) / 1024;
}

# Give queued messages a text that no caller could queue.
sub lengthen
{
	my ($message, $text) = @_;
	run_sql($node, "SET session_replication_role = replica; UPDATE sms_outbox SET message = $text WHERE message = '$message'");
	return;
}

# Rows of 6 MB, before one that is sent.
alter_account($node, paused => 'true');
my @huge = queue($node, 'huge', n => 40);
my $after = queue($node, 'after them');
lengthen('huge', q{repeat(chr(1587), 3000000)});
alter_account($node, paused => 'false');
wait_for_status($node, $after, 'sent');
wait_for_status($node, \@huge, 'failed');
my ($row) = read_rows($node, "id = $huge[0]");
is($row->{error}, 'the text is longer than any that can be sent', 'the row says why it is settled');
is($row->{attempts}, 0, 'no request was made');
is(run_sql($node, 'SELECT failed FROM sms3300_stat_account'), 40, 'they are counted');

# Many long texts that can be sent: fewer at once, all in the end.
alter_account($node, paused => 'true', max_parts => 255);
my @long = queue($node, 'long', n => 300);
lengthen('long', q{repeat(chr(1587), 17000)});
alter_account($node, paused => 'false');
wait_for_status($node, \@long, 'sent');

# Events that are larger than the extension makes them.
alter_account($node, paused => 'true');
my @eventful = queue($node, '#status 27', n => 3);
run_sql($node, q{UPDATE sms_outbox SET events = to_jsonb(ARRAY[repeat('x', 60000000)]) WHERE message = '#status 27'});
alter_account($node, paused => 'false');
wait_for_status($node, \@eventful, 'rejected');
is(run_sql($node, q{SELECT DISTINCT jsonb_array_length(events), events -> 0 ->> 'api_status' FROM sms_outbox WHERE message = '#status 27'}),
	'1|27', 'huge events are dropped');

is(worker_pid($node, 'postgres'), $pid, 'the worker is the same');
my $most = most_memory();
cmp_ok($most, '<', 32, 'the worker was always smaller than 32 MB');
note("at most $most MB");

$node->stop;
done_testing();
