
# The cost of sending in the table, by counts of blocks read. Candidates are read from the
# queue's index alone, whatever statistics the planner has. A claim changes no index.
# Messages sent or cancelled earlier are not read again, even if an old snapshot keeps their
# index entries.

use strict;
use warnings;

use SMS3300;
use Test::More;

my $n       = 2000;
my $gateway = new_gateway();
my $node    = new_node('main', conf => "autovacuum = off\nsms3300.worker_idle_timeout = 1s\nsms3300.poll_interval = 1h\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');

# Queue many at once, and wait until they are sent. Nobody looks at the table meanwhile:
# what a snapshot can see has to stay where it is.
sub send_many
{
	queue_until_taken($node, $gateway, 'many', n => $n);
	wait_for_end($node);
	return;
}

# Return how many entries of the queue's index were read, once no worker is left.
sub entries_read
{
	wait_for_workers($node, 0);
	return run_sql($node,
		"SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'sms_outbox_queue_idx'");
}

# The planner learns that nothing is queued, as it mostly is.
send_many();
run_sql($node, 'VACUUM ANALYZE sms_outbox');
send_many();
is(count_rows($node, "status = 'sent'"), 2 * $n, 'all were sent');

# The worker tells what it has counted when it leaves, if not sooner.
wait_for_sql($node, 'postgres',
	'SELECT n_tup_upd >= ' . 4 * $n . " FROM pg_stat_user_tables WHERE relname = 'sms_outbox'");
cmp_ok(run_sql($node, "SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'sms_outbox'"),
	'>=', 1.8 * $n, 'a claim is a HOT update');
cmp_ok(
	run_sql($node, "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'sms_outbox_expiry_idx'"),
	'<', 3 * $n, 'candidates are not looked for among what expires');

# As long as an old snapshot is held, the index keeps the entries of all that is sent.
# A worker reads them as it starts, and not again for each message that comes.
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
send_many();
my $before = entries_read();
set_setting($node, 'sms3300.worker_idle_timeout', '1h');
my $scans   = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'sms_outbox'";
my $scanned = run_sql($node, $scans);
my $taken   = $gateway->count->{taken};
for my $i (1 .. 20)
{
	run_sql($node, q{SELECT sms3300_send('09123456789', 'one')});
	$gateway->wait_for_taken($taken + $i);
}
set_setting($node, 'sms3300.worker_idle_timeout', '10ms');
cmp_ok(entries_read() - $before, '<', 3 * $n, 'the queue is read from where it was left');
is(run_sql($node, $scans), $scanned, 'the queue is read by its index alone');

# Nor does it keep entries of many messages that were cancelled before they were due from being
# passed over. To find the next one that is due takes long then, and is not done for each.
my $cancelled = 200_000;
run_sql($node, <<"END");
SET session_replication_role = replica;
INSERT INTO sms_outbox (mobile, message, account, sender, send_before, due_at, origin)
SELECT mobile, 'later', account, sender, now() + interval '1 day', now() + interval '1 hour', origin
FROM generate_series(1, $cancelled), (SELECT * FROM sms_outbox LIMIT 1) AS o;
UPDATE sms_outbox SET status = 'cancelled', due_at = NULL, finished_at = now() WHERE message = 'later';
END
$before = entries_read();
set_setting($node, 'sms3300.worker_idle_timeout', '1h');
run_sql($node, <<'END');
DO $$
DECLARE
	sent bigint;
BEGIN
	FOR i IN 1 .. 60 LOOP
		sent := sms3300_send('09123456789', 'one of a few');
		COMMIT;
		WHILE (SELECT status <> 'sent' FROM sms_outbox WHERE id = sent) LOOP
			PERFORM pg_sleep(0.001);
			COMMIT;
		END LOOP;
	END LOOP;
END $$
END
set_setting($node, 'sms3300.worker_idle_timeout', '10ms');
cmp_ok(entries_read() - $before, '<', 30 * $cancelled, 'what was cancelled is not read for each message that comes');
$holder->quit;

$node->stop;
done_testing();
