
# The worker: what it holds while requests hang, what it costs while idle, what other
# sessions see of it, and how it reuses connections.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $line    = '983000330000';
my $gateway = new_gateway();
my $node    = new_node('main', conf => <<'END');
autovacuum = off
lock_timeout = 60s
sms3300.poll_interval = 10ms
sms3300.worker_idle_timeout = 1h
END
run_sql($node, 'CREATE DATABASE observer');
create_account($node, 'postgres', url => $gateway->url, line => $line, timeout => '1 hour',
	paused => 'false');

my $worker = "pg_stat_activity a WHERE backend_type = 'sms3300 worker' AND datname = 'postgres'";

# Twenty hang, claimed together with some that do not.
queue($node, [ ('#hang') x 20, map { "#delay ${_}00" } 1 .. 5 ]);
wait_for_sql($node, 'postgres', "SELECT count(*) FROM sms_outbox WHERE status = 'sent'", 5);
is(count_rows($node, "status = 'sending'"), 20, 'results are visible while others hang');
mark($node);
is(count_rows($node, "status = 'sending'"), 20, 'messages are sent while others hang');
$gateway->wait_for_taken(26);

# Meanwhile the worker is idle, outside any transaction.
wait_for_sql($node, 'observer', <<"END");
SELECT state = 'idle' AND wait_event_type = 'Extension' AND xact_start IS NULL
	AND backend_xid IS NULL AND backend_xmin IS NULL
	AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid) FROM $worker
END
is(count_rows($node, "status = 'sending'"), 20, 'idle, without transaction, snapshot or lock');
run_sql($node, 'VACUUM FULL sms_outbox');
mark($node);
is(count_rows($node, "status = 'sending'"), 20, 'a lock on the table is to be had');

# What other sessions see.
my $seen = "FROM pg_stat_activity WHERE backend_type LIKE 'sms3300%'";
is(run_sql($node, "SELECT backend_type, datname $seen ORDER BY backend_type"),
	"sms3300 launcher|\nsms3300 worker|postgres", 'backend_type');
is(run_sql($node, "SELECT query $seen AND query <> ''"),
	'sms3300: recording and claiming messages', 'the query text shows no message');

# Each of those that hang becomes unknown when its own connection ends.
$gateway->stop;
wait_for_sql($node, 'postgres', "SELECT count(*) FROM sms_outbox WHERE status = 'unknown'", 20);
$gateway->start;

# An idle database runs no query, however short poll_interval is. The period ends with a
# message that is due in another database.
create_account($node, 'observer', url => $gateway->url, line => $line);
mark($node);
wait_for_sql($node, 'observer', "SELECT state = 'idle' FROM $worker");
my $activity = "SELECT pid, query_start, state_change FROM $worker";
my $before   = run_sql($node, $activity, 'observer');
my $later    = run_sql($node, "SELECT sms3300_send('09123456789', 'marker',"
	  . " send_after => clock_timestamp() + interval '2 s')", 'observer');
wait_for_status($node, $later, 'sent', 'observer');
is(run_sql($node, $activity, 'observer'), $before, 'an idle worker does nothing');

# Nor does a worker that waits to leave, which what it did in all, counted when it has
# left, tells.
set_setting($node, 'sms3300.worker_idle_timeout', '2s');
wait_for_sql($node, 'observer', "SELECT count(*) = 0 FROM $worker");
my $commits = "SELECT xact_commit FROM pg_stat_database WHERE datname = 'postgres'";
my $start   = run_sql($node, $commits, 'observer');
my $taken   = $gateway->count->{taken};
queue($node, 'one more');
$gateway->wait_for_taken($taken + 1);
wait_for_sql($node, 'observer', "SELECT count(*) = 0 FROM $worker");
cmp_ok(run_sql($node, $commits, 'observer') - $start, '<', 30, 'a worker leaves without a query');
set_setting($node, 'sms3300.worker_idle_timeout', '1h');

# The worker follows a change of an account, also one whose commit takes long to tell
# of all that was changed with it.
for my $try (1 .. 20)
{
	run_sql($node, 'ALTER SERVER sms3300 OPTIONS (SET paused $$true$$)');
	$taken = $gateway->count->{taken};
	queue($node, 'waits for the account');
	run_sql($node, <<'END');
BEGIN;
DO $$
BEGIN
	FOR i IN 1 .. 100 LOOP
		EXECUTE format('CREATE TEMP TABLE t%s (c int) ON COMMIT DROP', i);
	END LOOP;
END $$;
ALTER SERVER sms3300 OPTIONS (SET paused 'false');
COMMIT;
END
	$gateway->wait_for_taken($taken + 1);
}

# One at a time, fifty messages need few connections. It would be one, but for pauses of
# a slow machine, after which a connection is not used again.
run_sql($node, 'ALTER SERVER sms3300 OPTIONS (ADD max_in_flight $$1$$)');
queue($node, [ ('kept') x 50 ]);
wait_for_end($node);
my %connections = map { $_->{connection} => 1 } $gateway->taken('kept');
is(scalar $gateway->taken('kept'), 50, 'fifty messages are sent');
cmp_ok(scalar keys %connections, '<', 25, 'fifty messages take few connections');

# A kept connection that ends after the request, without a byte: libcurl would send
# the request a second time. It is tried until the connection was in fact a kept one.
for my $name (qw(close reset accepted-then-drop))
{
	my $end = "#$name";
	my ($kept, $times) = (0, 0);
	for my $try (1 .. 20)
	{
		my @ids = queue($node, [ 'hello', $end ]);
		$times++;
		wait_for_end($node);
		my @log = $gateway->log;
		my ($hello, $ended) = @log[ -2, -1 ];
		$kept = $ended->{connection} == $hello->{connection};
		last if $kept;
	}
	ok($kept, "$name: over a kept connection");
	is(scalar $gateway->taken($end), $times, "$name: each was taken once");
	is( run_sql($node, "SELECT DISTINCT status, attempts FROM sms_outbox WHERE message = '$end'"),
		'unknown|1', "$name: unknown");
}

# The same where the gateway is gone altogether: libcurl finds no other connection. The server
# has ended three that were used again by now, so only the option has any used again.
my $kept = 0;
run_sql($node, 'ALTER SERVER sms3300 OPTIONS (ADD keep_idle $$1 min$$)');
for my $try (1 .. 20)
{
	my $taken = $gateway->count->{taken};
	queue($node, [ 'hello', '#hang' ]);
	$gateway->wait_for_taken($taken + 2);
	my @log = $gateway->log;
	$kept = $log[-1]{connection} == $log[-2]{connection};
	$gateway->stop;
	wait_for_sql($node, 'postgres', "SELECT count(*) = 0 FROM sms_outbox WHERE status = 'sending'");
	$gateway->start;
	wait_for_end($node);
	is($gateway->count->{taken}, 0, 'a gateway that goes: nothing is sent to it again');
	last if $kept;
}
ok($kept, 'a gateway that goes: over a kept connection');

# A request that was received is made once, whatever the reply.
run_sql($node, 'ALTER SERVER sms3300 OPTIONS (SET max_in_flight $$32$$, SET timeout $$10s$$)');
my %status = (
	'#ok'                    => 'sent',
	'#strings'               => 'sent',
	'#nodata'                => 'sent',
	'#drip 1'                => 'sent',
	'#headers 50'            => 'sent',
	'#nested 3'              => 'sent',
	'#huge 60000'            => 'sent',
	'#status -5'             => 'sent',
	'#status 27'             => 'rejected',
	'#http 400'              => 'rejected',
	'#http 413'              => 'rejected',
	'#status 0'              => 'unknown',
	'#status 999'            => 'unknown',
	'#http 500'              => 'unknown',
	'#http 502'              => 'unknown',
	'#http 504'              => 'unknown',
	'#hang'                  => 'unknown',
	'#reset'                 => 'unknown',
	'#close'                 => 'unknown',
	'#accepted-then-drop'    => 'unknown',
	'#half'                  => 'unknown',
	'#halfhang'              => 'unknown',
	'#drip 1 forever'        => 'unknown',
	'#endless'               => 'unknown',
	'#huge 100000'           => 'unknown',
	'#headers 20000'         => 'unknown',
	'#nested 100000'         => 'unknown',
	'#json {"status": "no"}' => 'unknown',
	'#json {"status": -1'    => 'unknown',
	'#empty'                 => 'unknown',
	'#text'                  => 'unknown',
	'#html'                  => 'unknown',
	'#garbage'               => 'unknown',
);
my @all  = sort keys %status;
my @fast = grep { !/hang|forever/ } @all;
$taken = $gateway->log;
my ($first) = queue($node, [ @all ]);
wait_for_end($node);
run_sql($node, 'ALTER SERVER sms3300 OPTIONS (SET max_in_flight $$1$$)');
queue($node, [ @fast ]);
wait_for_end($node);
my @log = map { $_->{fields}{message} } $gateway->log;
is_deeply([ sort @log[ $taken .. $#log ] ], [ sort @all, @fast ], 'each was taken once');
my $results = run_sql($node, 'SELECT message, status, attempts FROM sms_outbox'
	  . " WHERE id >= $first");
is_deeply([ sort split /\n/, $results ],
	[ sort map { "$_|$status{$_}|1" } @all, @fast ], 'each message has the right status');

$node->stop;
done_testing();
