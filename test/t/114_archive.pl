
# The archive of doc/scaling.md, by its own statements. Finished messages are moved into a
# table partitioned by month while others are sent. No row is lost, duplicated or changed,
# and the worker never waits.

use strict;
use warnings;

use IPC::Run qw(finish start);
use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => <<"END");
sms3300.worker_idle_timeout = 1h
timezone = 'Asia/Tehran'
lock_timeout = ${PostgreSQL::Test::Utils::timeout_default}s
END
create_account($node, 'postgres', url => $gateway->url, line => '983000330000', max_in_flight => 5,
	stop_after_unknown => 1000);
run_sql($node, $_) for grep { /sms_archive/ && /^CREATE/ } sql_blocks('doc/scaling.md');

# Queue messages with a text each, a number after it, and a value in all that callers write.
sub queue_many
{
	my ($n, $message) = @_;
	return run_sql($node, 'INSERT INTO sms_outbox (mobile, message, line, line2, priority, dedup_key, metadata)'
		  . " SELECT '09123456789', '$message ' || i, '983000330000', '983000330001', 3, '$message ' || i, to_jsonb(i)"
		  . " FROM generate_series(1, $n) AS i");
}

# Start the job in a session of its own.
my $call = "CALL sms_archive_move('sms3300', '0 s', 7)";
sub start_job
{
	return start [ 'psql', '-Xq', '-c', $call, $node->connstr('postgres') ], '>', '/dev/null', '2>', '/dev/null';
}

# The columns that the archive keeps.
my $kept = <<'END';
id, mobile, message, line, line2, type, template, account, priority, send_after, send_before, dedup_key,
metadata, sender, created_at, status::text, attempts, started_at, finished_at, http_status, api_status,
message_id, sent_line, response, error, events, parts
END

# Return all that a table has of the messages that were finished by a time.
sub contents
{
	my ($table, $until) = @_;
	return run_sql($node,
		"SELECT to_jsonb(o) FROM (SELECT $kept FROM $table) AS o WHERE finished_at <= '$until' ORDER BY id");
}

# Messages that came to every end there is, some of them in other months, some redacted.
queue_many(50, $_) for 'sent', '#status 27', '#http 500';
run_sql($node, <<'END');
SELECT sms3300_cancel(sms3300_send('09123456789', 'cancelled', send_after => now() + interval '1 h'));
SELECT sms3300_send('09123456789', 'service line', type => 2, template => 17);
SELECT sms3300_send('09123456789', 'expired', send_after => now() + interval '1 h');
UPDATE sms_outbox SET send_after = '2000-01-01', send_before = '2000-01-02' WHERE message = 'expired';
SELECT sms3300_send('09123456789', 'later', send_after => now() + interval '1 day');
END
wait_for_sql($node, 'postgres', "SELECT count(*) FROM sms_outbox WHERE finished_at IS NULL", 1);
run_sql($node, "UPDATE sms_outbox SET finished_at = '2026-01-31 23:59:59.999999+00'::timestamptz + (id % 2) * interval '1 us'"
	  . " WHERE id <= 10; UPDATE sms_outbox SET message = NULL WHERE id BETWEEN 5 AND 15");
my $before = run_sql($node, 'SELECT now()');
my $finished = contents('sms_outbox', $before);
is(run_sql($node, "SELECT count(*), count(DISTINCT status) FROM sms_outbox WHERE finished_at <= '$before'"),
	'153|5', 'messages of every kind');

# They are moved in small batches by two sessions at once, one of which is ended again and again,
# while messages are sent.
$gateway->mode('#delay 20');
queue_many(400, 'meanwhile');
wait_until(
	sub {
		my @sessions = map { start_job() } 1 .. 2;
		run_sql($node, 'SELECT pg_terminate_backend(min(pid)) FROM pg_stat_activity WHERE query = ' . quote($call));
		finish $_ for @sessions;
		return count_rows($node) == 1;
	},
	'the archive to have all that is finished');
$gateway->mode('');
is(run_sql($node, 'SELECT message, status FROM sms_outbox'), 'later|queued', 'what is not finished stays');
is(contents('sms_archive', $before), $finished, 'what was finished is in the archive, as it was');
is(run_sql($node, "SELECT status, count(*), count(DISTINCT message_id) FROM sms_archive WHERE message LIKE 'meanwhile%' GROUP BY 1"),
	'sent|400|400', 'what was sent meanwhile is archived');
my %times;
$times{ $_->{fields}{message} }++ for $gateway->log;
is(scalar(grep { $_ != 1 } values %times), 0, 'each was sent once');
is(run_sql($node, 'SELECT tableoid::regclass, count(*) FROM sms_archive WHERE id <= 10 GROUP BY 1 ORDER BY 1'),
	"sms_archive_2026_01|5\nsms_archive_2026_02|5", 'each month has its own');

# The worker, and who queues and cancels, do not wait for the job, even if that has to wait in the middle.
queue_many(20, 'held');
wait_for_sql($node, 'postgres', 'SELECT count(*) FROM sms_outbox WHERE due_at IS NOT NULL', 1);
my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN; LOCK sms_archive');
my $job = start_job();
wait_for_sql($node, 'postgres', "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query = " . quote($call), 1);
queue_many(20, 'by the job');
wait_for_sql($node, 'postgres', 'SELECT count(*) FROM sms_outbox WHERE due_at IS NOT NULL', 1);
is(run_sql($node, "SELECT sms3300_cancel(id) FROM sms_outbox WHERE message = 'later'"), 't', 'others do not wait');
$reader->query_safe('COMMIT');
finish $job;

# Nor does it wait for a session that resends one of its messages, which it then leaves alone.
queue_many(1, '#status 27 again');
wait_for_status($node, '#status 27 again 1', 'rejected');
$reader->query_safe('BEGIN');
is($reader->query_safe("SELECT sms3300_resend(id) FROM sms_outbox WHERE message = '#status 27 again 1'"), 't', 'sent again');
run_sql($node, $call);
is(run_sql($node, 'SELECT message FROM sms_outbox'), '#status 27 again 1', 'what another has locked stays');
$reader->query_safe('COMMIT');
$reader->quit;
wait_for_status($node, '#status 27 again 1', 'rejected');
run_sql($node, $call);
is(count_rows($node), 0, 'the outbox is empty when the job is done');
is(run_sql($node, "SELECT sms3300_resend(id) FROM sms_archive WHERE message = 'held 1'"), 'f',
	'what is in the archive cannot be sent again');

# A key counts as long as the message is in sms_outbox.
my $send = "SELECT sms3300_send('09123456789', 'key', dedup_key => 'key')";
my $id   = run_sql($node, $send);
wait_for_status($node, 'key', 'sent');
is(run_sql($node, $send), $id, 'a key counts');
run_sql($node, $call);
isnt(run_sql($node, $send), $id, 'a dedup_key is free once its message is in the archive');
wait_for_status($node, 'key', 'sent');

# A row that a foreign key refers to is not moved, nor is the rest of its batch.
run_sql($node, 'CREATE TABLE orders (sms bigint CONSTRAINT keeps REFERENCES sms_outbox); INSERT INTO orders SELECT id FROM sms_outbox');
my (undef, undef, $error) = $node->psql('postgres', $call);
like($error, qr/violates foreign key constraint "keeps"/, 'a foreign key keeps its message');
is(run_sql($node, "SELECT (SELECT count(*) FROM sms_outbox), count(*) FROM sms_archive WHERE message = 'key'"), '1|1',
	'an archived message stays in the archive');
run_sql($node, 'ALTER TABLE orders DROP CONSTRAINT keeps, ADD FOREIGN KEY (sms) REFERENCES sms_outbox ON DELETE SET NULL');
run_sql($node, $call);
is(run_sql($node, 'SELECT count(*), count(sms) FROM orders'), '1|0', 'unless it lets go');

# A month is dropped.
my $rows = run_sql($node, 'SELECT count(*) FROM sms_archive');
run_sql($node, $_) for grep { /DETACH/ } sql_blocks('doc/scaling.md');
is(run_sql($node, 'SELECT count(*) FROM sms_archive'), $rows - 5, 'a month is dropped');

# The archive is the user's own.
run_sql($node, 'SET client_min_messages = warning; DROP EXTENSION sms3300 CASCADE');
is(run_sql($node, 'SELECT count(*) FROM sms_archive'), $rows - 5, 'the archive does not go with the extension');

$node->stop;
done_testing();
