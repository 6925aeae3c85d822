# Memory does not grow with the number of messages. The memory of the worker, as reported
# by PostgreSQL and by the system, is the same after the first messages and after some
# thousands more, some of which are refused or retried.
#
# MEMORY_MESSAGES is the number of further messages.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $messages = $ENV{MEMORY_MESSAGES} // 4000;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000',
	max_in_flight => 32, max_attempts => 1);

# Send messages, of which one in ten is refused, and one in ten given up.
sub send_messages
{
	my ($n) = @_;
	run_sql($node, <<"END");
INSERT INTO sms_outbox (mobile, message)
SELECT '09123456789', CASE i % 10 WHEN 0 THEN '#status 27' WHEN 1 THEN '#status 15' ELSE 'Hello' END
FROM generate_series(1, $n) AS i
END
	wait_for_end($node);
	return;
}

# The worker's memory: bytes in memory contexts, and unshared bytes in total.
sub memory_of
{
	my ($pid) = @_;
	my $from = -s $node->logfile;
	run_sql($node, "SELECT pg_log_backend_memory_contexts($pid)");
	wait_for_log($node, qr/Grand total: .* used/, $from);
	my ($used) = slurp_file($node->logfile, $from) =~ /Grand total: .* (\d+) used/;
	my ($anonymous) = slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m;
	return ($used, $anonymous * 1024);
}

# So many that all that is kept has been allocated.
my $first = 3000;
send_messages($first);
my $pid    = run_sql($node, 'SELECT pid FROM sms3300_stat_worker');
my @before = memory_of($pid);
send_messages($messages);
my @after = memory_of($pid);

is(run_sql($node, 'SELECT pid FROM sms3300_stat_worker'), $pid, 'the worker is the same');
is(count_rows($node, "status = 'sent'"),
	($first + $messages) * 8 / 10, 'the messages were sent');

# The least that can be allocated is 8 bytes in PostgreSQL, besides its header, and 32 of
# malloc(); pages are only counted whole.
cmp_ok($after[0] - $before[0], '<', 8 * $messages, 'no memory context grows');
cmp_ok($after[1] - $before[1], '<', 32 * $messages + 524288, 'the process does not grow');
note("in contexts $before[0], then $after[0]; anonymous $before[1], then $after[1]");

# Replies that take many times their size to parse, and that come together.
sub peak
{
	return (slurp_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB/m)[0] / 1024;
}
alter_account($node, max_in_flight => 200);
queue_until_taken($node, $gateway, '#hold #items 21000', n => 150);
append_to_file("/proc/$pid/clear_refs", 5);
my $low = peak();
$gateway->release;
wait_for_status($node, '#hold #items 21000', 'sent');
cmp_ok(peak() - $low, '<', 60, 'large replies are not parsed all at once');
note("from $low to ${\peak()} MB");

$node->stop;
done_testing();
