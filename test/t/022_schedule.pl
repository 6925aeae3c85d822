
# The time and order of sending: not before send_after and without polling, higher
# priorities first, and not after send_before.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.poll_interval = 1h\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');

# Queue a message that is due in some seconds, and return its id.
sub send_in
{
	my ($seconds, $message) = @_;
	return run_sql($node, "SELECT sms3300_send('09123456789', '$message',"
		  . " send_after => clock_timestamp() + interval '$seconds s')");
}

# Wait until a message is sent, and check that it was sent once and not too early.
sub is_sent_in_time
{
	my ($id, $what) = @_;
	wait_for_status($node, $id, 'sent');
	my ($due, $message) = split /\|/, run_sql($node,
		"SELECT extract(epoch FROM send_after), message FROM sms_outbox WHERE id = $id");
	my @taken = $gateway->taken($message);
	is(scalar @taken, 1, "$what: sent");
	cmp_ok($taken[0]{at}, '>=', $due, "$what: not before its time");
	return;
}

# Return the messages that were taken beyond the first $n, in their order.
sub taken_since
{
	my ($n) = @_;
	my @log = $gateway->log;
	return [ map { $_->{fields}{message} } @log[ $n .. $#log ] ];
}

# send_after: one that is due later, queued first, holds nothing up; one that is due
# earlier, queued last, is not held up by it.
my $late  = send_in(3,  'late');
my $early = send_in(1,  'early');
my $never = send_in(86400, 'never');
my $now   = send_in(0,  'now');
is_sent_in_time($now,   'without send_after');
is_sent_in_time($early, 'send_after, queued second');
is_sent_in_time($late,  'send_after, queued first');

# A message that is due first, as its transaction began first, but becomes visible last.
my $slow = $node->background_psql('postgres');
my $old  = $slow->query_safe("BEGIN; SELECT sms3300_send('09123456789', 'old')");
is_sent_in_time(send_in(0, 'young'), 'of a younger transaction');
$slow->query_safe('COMMIT');
is_sent_in_time($old, 'of an older one');
$slow->quit;

# The worker has left meanwhile. On a machine so slow that it could not leave before
# the message was due, a longer time is tried.
set_setting($node, 'sms3300.worker_idle_timeout', 0);
for (my $seconds = 2; ; $seconds *= 2)
{
	my $id = send_in($seconds, "in $seconds seconds");
	wait_for_workers($node, 0);
	my $status = run_sql($node, "SELECT status FROM sms_outbox WHERE id = $id");
	is_sent_in_time($id, "after the worker left ($status)");
	last if $status eq 'queued';
}

# A message that becomes due earlier, or later, by hand of the owner.
run_sql($node, "UPDATE sms_outbox SET send_after = clock_timestamp() WHERE id = $never");
is_sent_in_time($never, 'send_after brought forward');
my $put_off = send_in(2, 'put off');
run_sql($node,
	"UPDATE sms_outbox SET send_after = send_after + interval '1 s' WHERE id = $put_off");
is_sent_in_time($put_off, 'send_after put off');

# The server was restarted meanwhile, or was down when the time came.
my $after = send_in(4, 'after a restart');
my $past  = send_in(0.1, 'while it was down');
$node->restart;
is_sent_in_time($past,  'due while the server was down');
is_sent_in_time($after, 'due after a restart');

# Priority, then time, then id, where only one can go at a time.
my $n = $gateway->log;
run_sql($node, 'ALTER SERVER sms3300 OPTIONS (ADD paused $$true$$, ADD max_in_flight $$1$$)');
run_sql($node, <<'END');
INSERT INTO sms_outbox (mobile, message, priority, send_after)
VALUES ('09123456789', 'E', 0, now()), ('09123456789', 'C', 5, now()),
	('09123456789', 'B', 9, now()), ('09123456789', 'D', 5, now()),
	('09123456789', 'F', NULL, now()), ('09123456789', 'A', 9, now() + interval '1 h'),
	('09123456789', 'later', 9, now() + interval '1 day');
SELECT sms3300_send('09123456789', 'G');
UPDATE sms_outbox SET send_after = send_after - interval '2 h' WHERE message = 'A';
END
run_sql($node, 'ALTER SERVER sms3300 OPTIONS (SET paused $$false$$)');
wait_for_sql($node, 'postgres', "SELECT count(*) FROM sms_outbox WHERE status = 'queued'", 1);
is_deeply(taken_since($n), [qw(A B C D E F G)], 'by priority, time and id');

# One with a higher priority that comes while others wait is the next to get a free
# place. What hangs ends when the gateway does.
$n = $gateway->log;
run_sql($node, "SELECT sms3300_send('09123456789', '#hang')");
$gateway->wait_for_taken($n + 1);
run_sql($node, "SELECT sms3300_send('09123456789', 'ordinary')");
run_sql($node, "SELECT sms3300_send('09123456789', 'urgent', priority => 9)");
run_sql($node, 'ALTER SERVER sms3300 OPTIONS (SET max_in_flight $$2$$)');
wait_for_sql($node, 'postgres', "SELECT count(*) FROM sms_outbox WHERE status = 'queued'", 1);
$gateway->stop;
$gateway->start;
wait_for_sql($node, 'postgres', "SELECT count(*) FROM sms_outbox WHERE status = 'sending'", 0);
is_deeply(taken_since($n), [ '#hang', 'urgent', 'ordinary' ], 'an urgent one overtakes');

# The validity of the account counts from send_after on.
run_sql($node, 'ALTER SERVER sms3300 OPTIONS (ADD validity $$2 hours$$, SET max_in_flight $$1$$, SET paused $$true$$)');
my @ids = map { send_in($_, 'valid') } 0, 86400;
is(run_sql($node, 'SELECT DISTINCT send_before - send_after FROM sms_outbox'
		  . " WHERE id IN ($ids[0], $ids[1])"), '02:00:00', 'send_before by the validity');

# Expiry where nothing is sent, without a worker and with one.
for my $idle_timeout (0, 60000)
{
	set_setting($node, 'sms3300.worker_idle_timeout', $idle_timeout);
	my $id = run_sql($node, "SELECT sms3300_send('09123456789', 'expires',"
		  . " send_before => clock_timestamp() + interval '1 s')");
	wait_for_status($node, $id, 'expired');
	is( run_sql($node, "SELECT finished_at >= send_before, due_at IS NULL, attempts,"
			  . " error LIKE 'it was not sent before%' FROM sms_outbox WHERE id = $id"),
		't|t|0|t', "expired, worker_idle_timeout $idle_timeout");
}

# A worker that has just started knows when what it finds expires.
my $found = run_sql($node, "SELECT sms3300_send('09123456789', 'found',"
	  . " send_before => clock_timestamp() + interval '3 s')");
$node->restart;
wait_for_status($node, $found, 'expired');

# A message behind others expires at its time, also if that is brought forward;
# one that is on its way does not.
$n = $gateway->log;
run_sql($node, 'ALTER SERVER sms3300 OPTIONS (SET paused $$false$$, ADD timeout $$1h$$)');
run_sql($node, "SELECT sms3300_send('09123456789', '#hang', priority => 9)");
wait_for_sql($node, 'postgres',
	"SELECT count(*) FROM sms_outbox WHERE message = '#hang' AND status = 'sending'", 1);
my $brief = run_sql($node, "SELECT sms3300_send('09123456789', 'brief',"
	  . " send_before => clock_timestamp() + interval '1 s')");
my $long = run_sql($node, "SELECT sms3300_send('09123456789', 'long')");
wait_for_status($node, $brief, 'expired');
run_sql($node, "UPDATE sms_outbox SET send_before = clock_timestamp()"
	  . " WHERE status = 'sending' OR id = $long");
wait_for_status($node, $long, 'expired');
is(count_rows($node, "status = 'sending'"),
	1, 'what is on its way does not expire');

# One whose time ends while it is on its way, and which was not sent, expires then.
$node->restart;
my $late = queue($node, '#delay 1500 #http 503', send_before => \q{now() + interval '1 s'});
wait_for_status($node, $late, 'expired');
pass('a message whose time ends on its way expires when it comes back');

$node->stop;

# The launcher sleeps for one that is due in more milliseconds than the system can wait,
# which would take them for no limit. Nothing but the system knows how long it sleeps.
my $far = new_node('far', conf => "sms3300.worker_idle_timeout = 0\n");
create_account($far, 'postgres', url => $gateway->url, line => '983000330000');
run_sql($far, "SELECT sms3300_send('09123456789', 'far', send_after => now() + interval '40 days')");
my $launcher = run_sql($far,
	"SELECT pid FROM pg_stat_activity WHERE backend_type = 'sms3300 launcher'");
SKIP:
{
	my $sleep = "/proc/$launcher/syscall";
	skip 'the kernel does not show what a process sleeps in', 1 unless eval { slurp_file($sleep) };
	wait_until(sub { slurp_file($sleep) =~ / 0x7fffffff / },
		'the launcher to sleep as long as it can');
	pass('the launcher wakes up before, if not sooner');
}

$far->stop;
done_testing();
