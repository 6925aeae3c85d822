
# Accounts that have stopped, are paused or have a rate limit. They lose no messages and
# do not affect other accounts.

use strict;
use warnings;

use POSIX qw(ceil);
use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $node = new_node('main',
	conf => "restart_after_crash = on\nsms3300.worker_idle_timeout = 1h\n");
my %gateway;

# Create an account with a gateway of its own.
sub create
{
	my ($account, %option) = @_;
	$gateway{$account} = new_gateway();
	create_account($node, 'postgres',
		account => $account, url => $gateway{$account}->url, line => '983000330000', %option);
	return;
}

# Wait until so many messages of an account are sent.
sub wait_for_sent
{
	my ($account, $n) = @_;
	wait_for_sql($node, 'postgres',
		"SELECT count(*) FROM sms_outbox WHERE account = '$account' AND status = 'sent'", $n);
	return;
}

# Return how often a pattern is in the server's log.
sub logged
{
	my ($pattern) = @_;
	return scalar(() = slurp_file($node->logfile) =~ /$pattern/g);
}

# Return how many messages of an account have each status.
sub status
{
	my ($account) = @_;
	return run_sql($node,
		"SELECT status, count(*) FROM sms_outbox WHERE account = '$account' GROUP BY 1 ORDER BY 1");
}

# Return how often more messages of an account left in some time than its rate allows: in
# a second, or in more.
sub too_many
{
	my ($account, $rate) = @_;
	return run_sql($node, <<"END");
WITH claims AS (
	SELECT row_number() OVER (ORDER BY left_at) AS n, extract(epoch FROM left_at) AS at FROM (
		SELECT started_at + CASE message WHEN 'slow' THEN interval '0.3 s' ELSE '0' END AS left_at
		FROM sms_outbox WHERE account = '$account' AND started_at IS NOT NULL) AS c)
SELECT count(*) FROM claims AS a JOIN claims AS b ON b.n > a.n
WHERE b.n - a.n + 1 > CASE WHEN b.at - a.at < 1 THEN ceil($rate) ELSE floor($rate * (b.at - a.at)) + 1 END
END
}

# Have an account stop for an hour, with a message queued.
sub stop_for_long
{
	my ($account) = @_;
	my $gateway = $gateway{$account};
	my $stops   = logged("account \"$account\" stopped");
	$gateway->mode('#http 503 retry-after=3600', 1);
	queue($node, 'hello', account => $account);
	wait_for_log($node, qr/(account "$account" stopped.*){@{[ $stops + 1 ]}}/s);
	return;
}

create('good', max_in_flight => 1);

# 100,000 messages of an account without credit do not hold up another.
create('broke', max_in_flight => 4);
$gateway{broke}->mode('#delay 300 #status 14 no credit');
queue($node, 'hello', account => 'broke', n => 100_000);
wait_for_log($node, qr/account "broke" stopped: .*14/);
my $reads = "SELECT pg_stat_get_tuples_returned('sms_outbox_queue_idx'::regclass)";
my $before = run_sql($node, $reads);
queue($node, 'hello', account => 'good', n => 300);
wait_for_sent('good', 300);
cmp_ok(run_sql($node, $reads) - $before, '<', 50_000, 'what waits for a stopped account is not read for each message of another');
wait_for_sql($node, 'postgres', <<'END');
SELECT count(*) <= 1 FROM sms_outbox WHERE account = 'broke' AND status = 'sending'
END
is(run_sql($node, <<'END'), '100000|0', 'messages of a stopped account stay queued, unharmed');
SELECT count(*), sum(attempts) FILTER (WHERE status = 'queued')
FROM sms_outbox WHERE account = 'broke' AND status IN ('queued', 'sending')
END

# One at a time is tried, 1 s and 2 s after the answer to the last, less a fifth at most.
$gateway{broke}->wait_for_taken(6);
my @at = map { $_->{at} } $gateway{broke}->log;
cmp_ok($at[4] - $at[3], '>=', 0.8, 'the first probe');
cmp_ok($at[5] - $at[4], '>=', 1.6, 'the second probe');

# When a probe succeeds, all go.
run_sql($node, "DELETE FROM sms_outbox WHERE account = 'broke' AND id > 1000 AND status = 'queued'");
$gateway{broke}->mode('');
wait_for_sql($node, 'postgres',
	"SELECT count(*) = 0 FROM sms_outbox WHERE account = 'broke' AND status <> 'sent'");
is(run_sql($node, "SELECT DISTINCT attempts FROM sms_outbox WHERE account = 'broke'"), 1,
	'each with one attempt that counts');
is(logged('account "broke" stopped'),     1, 'the stop is logged once');
is(logged('account "broke" is sending again'), 1, 'the end of a stop is logged');

# A change of the server opens the account at once, one of another does not.
create('closed');
stop_for_long('closed');
my $taken = $gateway{closed}->count->{taken};
alter_account($node, account => 'good', timeout => '20s');
mark($node, account => 'good');
is($gateway{closed}->count->{taken}, $taken, 'a stopped account stays stopped when another is altered');
alter_account($node, account => 'closed', timeout => '20s');
wait_for_sent('closed', 1);
ok(1, 'opened by ALTER SERVER');

# So does a change of a mapping.
stop_for_long('closed');
run_sql($node, "ALTER USER MAPPING FOR PUBLIC SERVER closed OPTIONS (SET password 'new')");
wait_for_sent('closed', 2);
is(($gateway{closed}->log)[-1]{fields}{password}, 'new', 'opened by ALTER USER MAPPING');

# Paused: queued, not sent.
create('idle', paused => 'true');
queue($node, 'hello', account => 'idle', n => 5);
mark($node, account => 'good');
is(status('idle'), 'queued|5', 'paused');
alter_account($node, account => 'idle', paused => 'false');
wait_for_sent('idle', 5);
is($gateway{idle}->count->{taken}, 5, 'no longer paused');

# Never more than max_in_flight on the wire.
create('narrow', max_in_flight => 5);
queue($node, '#delay 500', account => 'narrow', n => 20);
wait_for_sent('narrow', 20);
@at = map { $_->{at} } $gateway{narrow}->log;
is_deeply([ grep { $at[$_] - $at[ $_ - 5 ] < 0.25 } 5 .. $#at ], [], 'at most 5 at a time');
queue($node, '#hang', account => 'narrow', n => 10);
$gateway{narrow}->wait_for_taken(25);
mark($node, account => 'good');
is(status('narrow'), "queued|5\nsending|5\nsent|20", '5 at a time, and 5 wait');
run_sql($node, "SELECT sms3300_cancel(id) FROM sms_outbox"
	  . " WHERE account = 'narrow' AND status = 'queued'");

# A rate holds over any second: also after the account had nothing to send, and where a
# claim takes its time, here by a trigger. It is read from the claims, as the gateway may
# be late in taking note of what arrives; nothing arrives before its claim.
run_sql($node, <<'END');
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN PERFORM pg_sleep(0.3); RETURN NEW; END';
CREATE TRIGGER dawdle BEFORE UPDATE ON sms_outbox FOR EACH ROW
	WHEN (NEW.status = 'sending' AND NEW.message = 'slow')
	EXECUTE FUNCTION dawdle();
END
for my $rate (1.5, 5, 50)
{
	my $account = "rate$rate";
	create($account, rate => $rate);
	my $n = ceil(3 * $rate);
	queue($node, 'hello', account => $account, n => $n);
	wait_for_sent($account, $n);
	run_sql($node, <<"END");
INSERT INTO sms_outbox (mobile, message, account, send_after)
SELECT '09123456789', 'hello', '$account', now() + interval '2 s' FROM generate_series(1, $n)
END
	wait_for_sent($account, 2 * $n);
	run_sql($node, <<"END");
INSERT INTO sms_outbox (mobile, message, account, priority)
SELECT '09123456789', CASE n WHEN 0 THEN 'slow' ELSE 'hello' END, '$account', (n = 0)::int
FROM generate_series(0, $n) n
END
	wait_for_sent($account, 3 * $n + 1);

	is(too_many($account, $rate), 0, "$rate a second");
	my %at = map { $_->{answer}{message_id} => $_->{at} } $gateway{$account}->log;
	my %started = map { split /\|/ } split /\n/, run_sql($node, <<"END");
SELECT message_id, extract(epoch FROM started_at) FROM sms_outbox WHERE account = '$account'
END
	is_deeply([ grep { $at{$_} < $started{$_} } keys %at ], [], 'each claimed before it arrived');
}
run_sql($node, 'DROP TRIGGER dawdle ON sms_outbox');

# A rate is kept by a worker that has nothing more to do: another would not know of it.
create('rare', rate => '0.5');
set_setting($node, 'sms3300.worker_idle_timeout', '0');
for my $n (1 .. 3)
{
	queue($node, 'hello', account => 'rare');
	wait_for_sent('rare', $n);
}
is(too_many('rare', 0.5), 0, 'one in two seconds');
set_setting($node, 'sms3300.worker_idle_timeout', undef);

# A new worker, also of a server that comes back from a crash, does not know what was sent
# just before.
create('one', rate => '1');
my $worker = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'sms3300 worker'";
for my $end (qw(TERM KILL))
{
	my $taken = $gateway{one}->count->{taken};
	queue($node, 'hello', account => 'one', n => 3);
	$gateway{one}->wait_for_taken($taken + 1);
	kill $end => run_sql($node, $worker);
	$node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM sms_outbox WHERE account = 'one' AND finished_at IS NULL");
	is($gateway{one}->count->{taken}, $taken + 3, "$end: all are sent");
}
is(too_many('one', 1), 0, 'one in a second, over restarts');

# A sender whose mapping is gone waits while others go on.
create('shared', paused => 'true');
run_sql($node, <<'END');
CREATE ROLE alice;
CREATE ROLE bob;
GRANT USAGE ON FOREIGN SERVER shared TO alice, bob;
DROP USER MAPPING FOR PUBLIC SERVER shared;
CREATE USER MAPPING FOR alice SERVER shared OPTIONS (username 'alice', password 'a');
CREATE USER MAPPING FOR bob SERVER shared OPTIONS (username 'bob', password 'b');
END
queue($node, 'hello', account => 'shared', role => $_) for qw(alice bob alice bob);
run_sql($node, 'DROP USER MAPPING FOR alice SERVER shared');
alter_account($node, account => 'shared', paused => 'false');
wait_for_sent('shared', 2);
wait_for_sql($node, 'postgres', <<'END');
SELECT count(*) = 2 FROM sms_outbox WHERE account = 'shared' AND sender = 'alice'
AND status = 'queued' AND attempts = 0 AND error LIKE '%no user mapping%'
END
is(join(' ', map { $_->{fields}{username} } $gateway{shared}->log), 'bob bob', 'the others went');
run_sql($node, "CREATE USER MAPPING FOR alice SERVER shared"
	  . " OPTIONS (username 'alice', password 'a')");
wait_for_sent('shared', 4);
is(logged('account "shared" stopped'), 0, 'no reason to stop');

# The messages of a role that is gone are sent with the mapping for all.
create('public', paused => 'true');
run_sql($node, 'CREATE ROLE carol; GRANT USAGE ON FOREIGN SERVER public TO carol');
queue($node, 'hello', account => 'public', role => 'carol');
run_sql($node, 'DROP OWNED BY carol; DROP ROLE carol');
alter_account($node, account => 'public', paused => 'false');
wait_for_sent('public', 1);
ok(1, 'a dropped role');

# A server that is dropped: what is on the wire ends as it ends, the rest waits for it.
create('dropped', max_in_flight => 2, timeout => '1 h');
$gateway{dropped}->mode('#hang', 2);
queue($node, 'hello', account => 'dropped', n => 5);
$gateway{dropped}->wait_for_taken(2);
my $pid = run_sql($node, $worker);
run_sql($node, 'DROP SERVER dropped CASCADE');
mark($node, account => 'good');
is(status('dropped'), "queued|3\nsending|2", 'messages of a dropped account wait');
$gateway{dropped}->stop;
wait_for_sql($node, 'postgres',
	"SELECT count(*) FROM sms_outbox WHERE account = 'dropped' AND status = 'unknown'", 2);
$gateway{dropped}->start;
create_account($node, 'postgres',
	account => 'dropped', url => $gateway{dropped}->url, line => '983000330000');
wait_for_sent('dropped', 3);
is(scalar(() = $gateway{dropped}->log), 5, 'messages of a dropped account go once it is back, each once');
is(run_sql($node, $worker), $pid, 'the worker is the same');

$node->stop;
done_testing();
