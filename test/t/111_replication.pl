
# Streaming replication. A standby sends nothing. After a failover, messages that were on
# the wire are unknown and the others are sent once. A claim is on the standby before the
# request where synchronous replication requires it.

use strict;
use warnings;

use File::Copy qw(copy);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $first   = new_node(
	'first',
	init => [ allows_streaming => 1 ],
	conf => <<'END');
synchronous_commit = local
wal_log_hints = on
wal_keep_size = 512MB
sms3300.worker_idle_timeout = 1h
END
create_account($first, 'postgres', url => $gateway->url, line => '983000330000',
	timeout => '1 h', max_in_flight => 5);

# A cascade: the third follows the second, which follows the first.
my $second = add_standby('second', $first);
my $third  = add_standby('third',  $second);

# Make a standby of a server, and start it.
sub add_standby
{
	my ($name, $of) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$of->backup($name);
	$node->init_from_backup($of, $name, has_streaming => 1);
	$node->start;
	return $node;
}

# Queue messages that hang at the gateway, and more than may be on the wire.
sub hang
{
	my ($node, $message) = @_;
	my $taken = $gateway->count->{taken};
	$gateway->mode('#hang');
	queue($node, $message, n => 8);
	$gateway->wait_for_taken($taken + 5);
	$gateway->mode('');
	return;
}

# Say which standbys have to confirm a commit.
sub set_synchronous
{
	my ($node, $names) = @_;
	$node->append_conf('postgresql.conf', "synchronous_standby_names = '$names'\n");
	$node->reload;
	return wait_for_sql($node, 'postgres',
		"SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'", $names ? 1 : 0);
}

# Wait until the worker waits for a standby with a claim.
sub wait_for_claim
{
	my ($node) = @_;
	return wait_for_sql($node, 'postgres', <<'END');
SELECT count(*) = 1 FROM pg_stat_activity
WHERE backend_type = 'sms3300 worker' AND wait_event = 'SyncRep'
END
}

# Bring a former primary back as a standby of the one that took over. Before 16, pg_rewind
# only knows of that one's new timeline after a checkpoint. Files that say who a server is
# come from the other one, too, and are put back.
sub rewind_to
{
	my ($node, $to) = @_;
	my $conf = $node->data_dir . '/postgresql.conf';
	my $kept = "$PostgreSQL::Test::Utils::tmp_check/@{[ $node->name ]}.conf";
	copy($conf, $kept) or die "could not keep $conf: $!";
	run_sql($to, 'CHECKPOINT');
	command_ok([ 'pg_rewind', '--no-sync', '--target-pgdata', $node->data_dir, '--source-server', $to->connstr('postgres') ],
		'the former primary is rewound');
	copy($kept, $conf) or die "could not put back $conf: $!";
	return follow($node, $to);
}

# Start a server as a standby of another one.
sub follow
{
	my ($node, $to) = @_;
	$node->enable_streaming($to);
	$node->set_standby_mode;
	$node->start;
	return;
}

# A standby has no process that could send, and what there is to do on it fails in plain
# words; to look is allowed.
queue($first, 'before', n => 2);
wait_for_statuses($first, 'before', 'sent 2');
$first->wait_for_catchup('second');
$second->wait_for_catchup('third', 'replay', $first->lsn('write'));
for my $standby ($second, $third)
{
	my $name = $standby->name;
	wait_for_statuses($standby, 'before', 'sent 2');
	for my $sql (
		"SELECT sms3300_send('09123456789', 'never')",
		"INSERT INTO sms_outbox (mobile, message) VALUES ('09123456789', 'never')",
		'SELECT sms3300_cancel(1)',
		'SELECT sms3300_resend(1)',
		'SELECT sms3300_adopt()')
	{
		my (undef, undef, $error) = $standby->psql('postgres', $sql);
		like($error, qr/cannot execute (?:INSERT|UPDATE) in a read-only transaction/, "$name: $sql");
	}
	is(run_sql($standby, 'SELECT account, state, queued FROM sms3300_stat_account'),
		'sms3300|ok|0', "$name: the account can be looked at");
	is(run_sql($standby, 'SELECT status FROM sms_report'), "sent\nsent", "$name: and the messages");
	like(run_sql($standby, 'SELECT sms3300_explain(1)'), qr/^sent at/, "$name: and each of them");
	is(run_sql($standby, "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'sms3300%'"),
		0, "$name: no process of ours");
}

# Where a standby has to confirm, a claim waits for it, and its request with it. It hangs
# for a while.
set_synchronous($first, 'second');
my $receiver = run_sql($second, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walreceiver'");
kill 'STOP', $receiver;
queue($first, 'while the standby hangs', n => 3);
wait_for_claim($first);
is_taken($gateway, 'while the standby hangs', 0, "while the standby hangs: no request without a claim on the standby");
kill 'CONT', $receiver;
wait_for_statuses($first, 'while the standby hangs', 'sent 3');
is_taken($gateway, 'while the standby hangs', 3, "while the standby hangs: then each is sent once");

# It hangs and the server is stopped: it does not wait for that.
kill 'STOP', $receiver;
queue($first, 'while the server stops', n => 3);
wait_for_claim($first);
my $stopped = worker_pid($first);
run_sql($first, "SELECT pg_terminate_backend($stopped)");
wait_for_sql($first, 'postgres', "SELECT count(*) FROM pg_stat_activity WHERE pid = $stopped", 0);
is_taken($gateway, 'while the server stops', 0, "while the server stops: no request");
kill 'CONT', $receiver;
wait_for_statuses($first, 'while the server stops', 'sent 3');
is_taken($gateway, 'while the server stops', 3, "while the server stops: then each is sent once");

# The primary is lost. Whatever left has its claim on the standby, which takes over.
hang($first, 'on the lost primary');
$first->stop('immediate');
$second->promote;
wait_for_statuses($second, 'on the lost primary', 'sent 3, unknown 5');
is_taken($gateway, 'on the lost primary', 8, "on the lost primary: nothing is sent twice");
queue($second, 'after the failover');
wait_for_statuses($second, 'after the failover', 'sent 1');

# The cascade goes on; the lost primary becomes part of it, and is as silent.
queue($second, '#hang');
wait_for_statuses($second, '#hang', 'sending 1');
rewind_to($first, $second);
$second->wait_for_catchup($_) for qw(first third);
for my $standby ($first, $third)
{
	my $name = $standby->name;
	wait_for_statuses($standby, 'on the lost primary', 'sent 3, unknown 5');
	wait_for_statuses($standby, '#hang', 'sending 1');
	is(run_sql($standby, "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'sms3300%'"),
		0, "$name: a standby of the new primary");
}

# Switched back, in good order: nothing has to be rewound.
$second->stop('fast');
$first->promote;
wait_for_statuses($first, '#hang', 'unknown 1');
follow($second, $first);
queue($first, 'after the switchover');
wait_for_statuses($first, 'after the switchover', 'sent 1');
$first->wait_for_catchup('second');
wait_for_statuses($second, 'after the switchover', 'sent 1');
is_taken($gateway, '#hang', 1, "#hang: not sent again");

# A standby that has to confirm is promoted while its primary lives on, and nobody fenced
# that off: it cannot send.
set_synchronous($first, 'second');
$second->promote;
queue($first, 'behind the fence');
queue($second, 'before the fence');
wait_for_claim($first);
wait_for_statuses($second, 'before the fence', 'sent 1');
is_taken($gateway, 'behind the fence', 0, "behind the fence: the former primary is silent");
$first->stop('immediate');
rewind_to($first, $second);
$second->wait_for_catchup('first');
wait_for_statuses($first, 'before the fence', 'sent 1');
is(count_rows($first, "message = 'behind the fence'"),
	0, 'what only the former primary had is gone');

# Without that, a standby can lag behind. What left since then goes out again when it has
# taken over, as the README says: the messages whose claims were lost.
$first->append_conf('postgresql.conf', "synchronous_standby_names = ''\n");
run_sql($second, "ALTER SERVER sms3300 OPTIONS (ADD paused 'true')");
queue($second, 'twice');
$second->wait_for_catchup('first');
$first->stop;
run_sql($second, 'ALTER SERVER sms3300 OPTIONS (DROP paused)');
wait_for_statuses($second, 'twice', 'sent 1');
$second->stop('immediate');
$first->start;
$first->promote;
run_sql($first, 'ALTER SERVER sms3300 OPTIONS (DROP paused)');
wait_for_statuses($first, 'twice', 'sent 1');
is_taken($gateway, 'twice', 2, "twice: an asynchronous standby does not know of what left last");

# Of two standbys one has to confirm, and the other is away: the one that has more takes over.
my ($near, $far) = map { add_standby($_, $first) } qw(near far);
$first->append_conf('postgresql.conf', "synchronous_standby_names = 'ANY 1 (near, far)'\n");
$first->reload;
wait_for_sql($first, 'postgres', "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'", 2);
$far->stop;
hang($first, 'one of two');
$first->stop('immediate');
$far->start;
my ($more, $less) =
  map { run_sql($_, 'SELECT greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())') } $near, $far;
is(run_sql($near, "SELECT '$more'::pg_lsn > '$less'"), 't', 'which standby has more');
$near->promote;
wait_for_statuses($near, 'one of two', 'sent 3, unknown 5');
is_taken($gateway, 'one of two', 8, "one of two: nothing is sent twice");

$_->stop('immediate') for $third, $near, $far;
done_testing();
