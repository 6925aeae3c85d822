
# Stopping the server during crash recovery. Nothing is sent before recovery has finished,
# and messages that were on the wire are still in doubt.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;
use Time::HiRes qw(usleep);

my $gateway = new_gateway();
my $node    = new_node('main', conf => <<'END');
checkpoint_timeout = 1h
max_wal_size = 1GB
log_min_messages = debug1
END
create_account($node, 'postgres', url => $gateway->url, line => '983000330000', timeout => '1 h',
	max_in_flight => 10);

# Wait until a condition holds, without missing what lasts for a moment only.
sub wait_briefly
{
	my ($condition, $what) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	until ($condition->())
	{
		die "timed out waiting for $what" if time > $deadline;
		usleep(500);
	}
	return;
}

run_sql($node, <<'END');
INSERT INTO sms_outbox (mobile, message) SELECT '09123456789', '#hang' FROM generate_series(1, 10);
INSERT INTO sms_outbox (mobile, message) SELECT '09123456789', 'waits' FROM generate_series(1, 5);
END
$gateway->wait_for_taken(10);
run_sql($node, <<'END');
CREATE TABLE much AS SELECT n, repeat('x', 500) AS text FROM generate_series(1, 50000) AS n;
CREATE INDEX ON much (n, text);
END
$node->stop('immediate');

# Halt the recovery, stop the server, and let it go on to do so. At debug1 the log tells
# which processes the server starts.
my $data   = $node->data_dir;
my $offset = -s $node->logfile;
my $begun  = qr/starting background worker process "sms3300/;
my $startup;
system_or_bail('pg_ctl', '-W', '-D', $data, '-l', $node->logfile, 'start');
wait_briefly(
	sub { ($startup) = slurp_file($node->logfile, $offset) =~ /\[(\d+)\] LOG:  database system was interrupted/ },
	'the recovery');
kill STOP => $startup;
unlike(slurp_file($node->logfile, $offset), qr/redo done/, 'the recovery is under way');
system_or_bail('pg_ctl', '-W', '-m', 'fast', '-D', $data, 'stop');
kill CONT => $startup;
wait_briefly(sub { !-e "$data/postmaster.pid" }, 'the stop');
unlike(slurp_file($node->logfile, $offset), $begun, 'nothing of sms3300 runs before it has recovered');
is($gateway->count->{taken}, 10, 'nothing is sent');

$node->start;
wait_for_end($node);
like(slurp_file($node->logfile, $offset), $begun, 'the server recovers then');
is(run_sql($node, 'SELECT message, status, count(*) FROM sms_outbox GROUP BY 1, 2 ORDER BY 1'),
	"#hang|unknown|10\nwaits|sent|5", 'what was on the wire is in doubt, the rest is sent');
is($gateway->count->{taken}, 15, 'each once');

$node->stop;
done_testing();
