
# Monitoring: every counter of sms3300_stat_account, every state of sms3300_stat_worker,
# and the answer of sms3300_explain in every situation.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $line    = '983000330000';
my $line2   = '983000330001';
my $gateway = new_gateway();
my $node    = new_node('main', conf => <<'END', init => [ allows_streaming => 1 ]);
sms3300.worker_idle_timeout = 1h
max_prepared_transactions = 2
END
create_account($node, 'postgres', url => $gateway->url, line => $line, max_attempts => 1,
	timeout => '1 hour', max_in_flight => 4, paused => 'false');
run_sql($node, 'CREATE ROLE app LOGIN; GRANT USAGE ON FOREIGN SERVER sms3300 TO app');
run_sql($node, 'CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher');

# Wait until messages are finished.
sub wait_for_end_of
{
	my $ids = join ', ', @_;
	wait_for_sql($node, 'postgres',
		"SELECT count(*) FROM sms_outbox WHERE id IN ($ids) AND due_at IS NOT NULL", 0);
	return;
}

# Return the explanation of a message.
sub explanation
{
	my ($id) = @_;
	return run_sql($node, "SELECT sms3300_explain($id)");
}

# Check the explanation of a message: a pattern, to the end of the line.
sub explains
{
	my ($id, $pattern, $name) = @_;
	like(explanation($id), qr/^$pattern$/, "explained: $name");
	return;
}

# Wait until the explanation of a message matches.
sub comes_to_explain
{
	my ($id, $pattern, $name) = @_;
	wait_for_sql($node, 'postgres',
		"SELECT sms3300_explain($id) ~ " . quote("^$pattern\$"), 't');
	pass("explained: $name");
	return;
}

# Wait until expressions over the account's row are what is expected. A result is counted
# a moment after it is in the table.
sub account_is
{
	my ($columns, $expected, $name, $account) = @_;
	$account //= 'sms3300';
	my $query = "SELECT $columns FROM sms3300_stat_account WHERE account = '$account'";
	$node->poll_query_until('postgres', $query, $expected);
	is(run_sql($node, $query), $expected, $name);
	return;
}

my $time = '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\S*';

# Before anything is sent.
my $counters = 'sent, rejected, failed, unknown, expired, suppressed, retried, requests';
account_is("state, reason, queued, in_flight, foreign_rows, $counters, request_time_p50,"
		  . ' stats_reset', 'ok||0|0|0|0|0|0|0|0|0|0|0||', 'nothing is counted yet');

# Finished messages.
my $sent = queue_until($node, 'sent', 'an ordinary one');
explains($sent, "sent at $time as gateway message \\d+, via line $line", 'sent');
my $fallback = queue_until($node, 'sent', '#fallback', line => $line, line2 => $line2);
explains($fallback,
	"sent at $time as gateway message \\d+, by fallback: line $line2 carried it"
	  . " instead of $line", 'sent by the fallback');
$fallback = queue_until($node, 'sent', '#fallback', type => 1);
explains($fallback,
	"sent at $time as gateway message \\d+, via line \\d+ instead of the account's line $line:"
	  . ' a fallback, unless the account was altered since',
	'sent by the fallback of the account');
explains(queue_until($node, 'sent', 'by the service line', type => 2),
	"sent at $time as gateway message \\d+, via line \\d+", 'sent without a line');
explains(queue_until($node, 'sent', '#nodata'), "sent at $time", 'sent, with nothing more said');
my $rejected = queue_until($node, 'rejected', '#status 27 opted out');
explains($rejected, "rejected at $time: the gateway answered with status 27"
	  . ' \(recipient opted out\): opted out; leave it, or queue a new message by a route with a'
	  . ' fallback \(line2, or type 1 or 2\)', 'rejected');
my $failed = queue_until($node, 'failed', '#status 15 busy');
explains($failed, "failed at $time after 1 attempt: the gateway answered with status 15 \\(error inside the gateway\\): busy;"
	  . " sms3300_resend\\($failed\\) queues it again", 'failed');
my $unknown = queue_until($node, 'unknown', '#http 500');
explains($unknown, "unknown since $time: HTTP status 500.*; it may have been sent; its request"
	  . " began at $time; ask the gateway: if it has the message,"
	  . " sms3300_resolve\\($unknown, true\\) records that; otherwise sms3300_resend\\($unknown\\) queues it again", 'unknown');

# Paused: by the account, and by the setting.
alter_account($node, paused => 'true');
my $expired = queue_until($node, 'expired', 'too late', send_before => \"clock_timestamp() + interval '100 ms'");
explains($expired, "expired at $time: it was not sent before .*; sms3300_resend\\($expired\\)"
	  . ' queues it again', 'expired');
my $cancelled = queue($node, 'to be cancelled');
is(run_sql($node, "SELECT sms3300_cancel($cancelled)"), 't', 'cancelled');
explains($cancelled, "cancelled at $time; sms3300_resend\\($cancelled\\) queues it again",
	'cancelled');
my $paused = queue($node, 'paused');
explains($paused, 'queued: its account sms3300 is paused: ALTER SERVER sms3300 OPTIONS'
	  . " \\(SET paused 'false'\\)", 'account paused');
account_is("state, reason, queued, oldest_due_at = (SELECT due_at FROM sms_outbox WHERE id = $paused)",
	"paused|the option \"paused\" of the account is true|1|t", 'a paused account');
set_setting($node, 'sms3300.enabled', 'off');
explains($paused, 'queued: sending is disabled in the whole cluster: sms3300.enabled is off',
	'sending disabled');
account_is('state, reason', 'paused|sms3300.enabled is off', 'sending disabled');
set_setting($node, 'sms3300.enabled', 'on');
alter_account($node, paused => 'false');
wait_for_end($node);

# What explain says about a text that was removed, and about an account that is
# another now.
run_sql($node, "UPDATE sms_outbox SET message = NULL WHERE status <> 'sent'");
my $gone = 'queue a new message, because the text of this one was removed';
explains($failed, "failed at $time after 1 attempt: the gateway answered with status 15 \\(error inside the gateway\\): busy; $gone",
	'failed, without a text');
explains($unknown, "unknown since $time: .*, true\\) records that; otherwise $gone",
	'unknown, without a text');
explains($rejected, "rejected at $time: .*; leave it, or queue a new message by .*", 'rejected, without a text');
explains($expired,   "expired at $time: it was not sent before .*; $gone", 'expired, without a text');
explains($cancelled, "cancelled at $time; $gone", 'cancelled, without a text');
run_sql($node, "UPDATE sms_outbox SET error = NULL WHERE id = $failed");
explains($failed, "failed at $time after 1 attempt: no reason was recorded; $gone",
	'failed, without a reason');
alter_account($node, line => $line2);
explains($sent,
	"sent at $time as gateway message \\d+, via line $line instead of the account's line $line2:"
	  . ' a fallback, unless the account was altered since',
	'sent before the account was altered');
alter_account($node, line => $line);

# The counters add up to the table.
account_is($counters, '6|1|1|1|1|0|0|9', 'each is counted');
account_is('queued, oldest_due_at, in_flight', '0||0', 'nothing is left');
my $by_status = join ', ', map { "count(*) FILTER (WHERE status = '$_')" }
  qw(sent rejected failed unknown expired);
account_is('sent, rejected, failed, unknown, expired',
	run_sql($node, "SELECT $by_status FROM sms_outbox"), 'the counters agree with the table');
account_is('stats_reset BETWEEN pg_postmaster_start_time() AND now()', 't', 'since when');

# Not yet due.
my $later = queue($node, 'later', send_after => \"now() + interval '1 day'");
explains($later, "queued: it is scheduled for $time", 'waiting for its time');
account_is('queued, oldest_due_at > now()', '1|t', 'a message for later is queued');
run_sql($node, "SELECT sms3300_cancel($later)");
alter_account($node, max_attempts => '3');

# However long it takes to look, the next try does not come meanwhile.
run_sql($node, <<'END');
CREATE FUNCTION put_off() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN NEW.due_at = NEW.due_at + interval '1 day'; RETURN NEW; END$$;
CREATE TRIGGER put_off BEFORE UPDATE ON sms_outbox FOR EACH ROW
	WHEN (OLD.status = 'sending' AND NEW.status = 'queued') EXECUTE FUNCTION put_off();
END
my $again = queue($node, '#status 15 busy');
comes_to_explain($again, "queued: it will be retried at $time, after 1 attempt; the last"
	  . ' error was: the gateway answered with status 15 \\(error inside the gateway\\): busy', 'waiting for its next try');
account_is($counters, '6|1|1|1|1|0|1|10', 'one is retried');
run_sql($node, 'DROP FUNCTION put_off() CASCADE');
run_sql($node, "UPDATE sms_outbox SET send_before = clock_timestamp() WHERE id = $again");
wait_for_end_of($again);
explains($again, "expired at $time: it was not sent before .*; the last error was: the gateway"
	  . " answered with status 15 \\(error inside the gateway\\): busy; sms3300_resend\\($again\\) queues it again",
	'expired after a try');

# On the wire, and behind those that are.
my @hanging = map { queue($node, '#hang') } 1 .. 4;
wait_for_sql($node, 'postgres', 'SELECT in_flight FROM sms3300_stat_account', 4);
wait_for_sql($node, 'postgres',
	"SELECT in_flight FROM sms3300_stat_worker WHERE datname = 'postgres'", 4);
explains($hanging[0], "being sent since $time, attempt 1", 'being sent');
account_is('queued, oldest_due_at', '0|', 'what is on the wire does not wait');
my @waiting = map { queue($node, "behind $_") } 0 .. 2;
my $full = 'and all 4 requests of account sms3300 are on the wire';
explains($waiting[0], "queued: it is next in the queue, $full", 'the next one');
explains($waiting[1], "queued: 1 message is ahead of it, $full", 'behind 1 other');
explains($waiting[2], "queued: 2 messages are ahead of it, $full", 'behind 2 others');
is(run_sql($node, <<'END'), "queued: 3 messages are ahead of it, $full", 'messages of other roles count as ahead');
SET ROLE app;
BEGIN;
SELECT sms3300_send('09123456789', 'of app') AS id \gset
SELECT sms3300_explain(:id);
ROLLBACK;
END
my $urgent = queue($node, 'urgent', priority => 3);
explains($urgent, "queued: it is next in the queue, $full", 'the next one by its priority');
explains($waiting[0], "queued: 1 message is ahead of it, $full", 'behind one of higher priority');
run_sql($node, "INSERT INTO sms_outbox (mobile, message)"
	  . " SELECT '09123456789', 'many' FROM generate_series(1, 10001)");
explains(queue($node, 'the last'), "queued: more than 10000 messages are ahead of it, $full",
	'behind very many');
run_sql($node, "DELETE FROM sms_outbox WHERE message IN ('many', 'the last')");
alter_account($node, max_in_flight => '5', rate => '0.0001');
wait_for_end_of($urgent);
comes_to_explain($waiting[1], 'queued: it waits for the rate limit of account sms3300, 0.0001'
	  . ' messages per second; 1 message is ahead of it', 'waiting for the rate');

# The worker's row.
is(run_sql($node, "SELECT state, started_at < now(), last_error, pid = (SELECT pid FROM"
		  . " pg_stat_activity WHERE backend_type = 'sms3300 worker') FROM sms3300_stat_worker"),
	'running|t||t', 'a worker that runs');
run_sql($node, <<'END');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN RAISE EXCEPTION 'refused by a trigger'; END$$;
CREATE TRIGGER refuse BEFORE UPDATE ON sms_outbox FOR EACH ROW
	WHEN (NEW.message = 'for the trigger') EXECUTE FUNCTION refuse();
END
alter_account($node, rate => undef);
wait_for_end_of(@waiting);
queue_until($node, 'sent', 'for the trigger');
is(run_sql($node, 'SELECT last_error, last_error_at > started_at FROM sms3300_stat_worker'),
	'refused by a trigger|t', "the worker's last error is shown");
run_sql($node, 'DROP FUNCTION refuse() CASCADE');

# A copy of a row whose request hangs.
run_sql($node, "UPDATE sms_outbox SET origin = origin + 1 WHERE id = $hanging[0]");
explains($hanging[0], "being sent since $time, attempt 1, in the database that this one was"
	  . ' copied from: sms3300_adopt\(\) marks it unknown here', 'being sent elsewhere');
account_is('foreign_rows', 1, 'a foreign row');
run_sql($node, "UPDATE sms_outbox SET origin = origin - 1 WHERE id = $hanging[0]");
account_is('foreign_rows', 0, 'no foreign row');

# Queued elsewhere.
my $foreign = queue($node, 'foreign', send_after => \"now() + interval '1 hour'");
for my $step (1, -2)
{
	run_sql($node, "UPDATE sms_outbox SET origin = origin + $step WHERE id = $foreign");
	explains($foreign, 'queued: it was restored or queued in another database and is not sent:'
		  . " sms3300_adopt\\(\\) takes over all such messages", 'queued elsewhere');
	account_is('queued, foreign_rows', '0|1', 'a foreign row');
}
is(run_sql($node, 'SET ROLE watcher; SELECT foreign_rows FROM sms3300_stat_account'), 1,
	'pg_monitor counts the foreign rows of all');
is(run_sql($node, 'SELECT sms3300_adopt()'), 1, 'adopted');
account_is('queued, foreign_rows', '1|0', 'no longer foreign');
run_sql($node, "SELECT sms3300_cancel($foreign)");

# Figures of time: the gateway's delay is in those of requests, not in the wait.
run_sql($node, 'SELECT sms3300_stat_reset()');
account_is("$counters, in_flight, request_time_sum, request_time_p50, wait_time_sum,"
		  . ' wait_time_p99, stats_reset > pg_postmaster_start_time()',
	'0|0|0|0|0|0|0|0|4|0||0||t', 'a reset clears all but what is on the wire');
is(run_sql($node, 'SELECT last_error FROM sms3300_stat_worker'), '', 'a new worker has no last error');
queue_until($node, 'sent', '#delay 800');
account_is('requests, request_time_sum >= 800, request_time_p50 >= 700,'
		  . ' request_time_p99 >= 700, request_time_p50 <= request_time_p95,'
		  . ' request_time_p95 <= request_time_p99, request_time_p99 <= request_time_sum * 1.13,'
		  . ' wait_time_sum < request_time_sum, wait_time_p50 IS NOT NULL',
	'1|t|t|t|t|t|t|t|t', 'the time of a request');
alter_account($node, paused => 'true');
my $waited = queue($node, 'waited');
run_sql($node, "UPDATE sms_outbox SET send_after = now() - interval '1 hour' WHERE id = $waited");
alter_account($node, paused => 'false');
wait_for_end_of($waited);
account_is('wait_time_sum BETWEEN 3600000 AND 4200000, wait_time_p99 BETWEEN 3150000 AND 4200000,'
		  . ' wait_time_p50 < 3000000', 't|t|t', 'the time in the queue');

# Percentiles of what is known: messages that have waited for 10 minutes, 20 ... 1000.
run_sql($node, 'SELECT sms3300_stat_reset()');
alter_account($node, paused => 'true');
run_sql($node, "WITH q AS (INSERT INTO sms_outbox (mobile, message) SELECT '09123456789', 'waited' FROM generate_series(1, 100)"
	  . " RETURNING id) SELECT min(id) FROM q");
run_sql($node, "UPDATE sms_outbox AS o SET send_after = now() - n * interval '10 minutes' FROM (SELECT id, row_number() OVER (ORDER BY id) AS n"
	  . " FROM sms_outbox WHERE message = 'waited' AND status = 'queued') AS w WHERE w.id = o.id");
alter_account($node, paused => 'false');
wait_for_sql($node, 'postgres',
	"SELECT count(*) FROM sms_outbox WHERE message = 'waited' AND due_at IS NOT NULL", 0);
account_is('requests, round(wait_time_sum::numeric / 3030000000, 2), '
	  . join(', ', map { "abs(wait_time_p$_ / ($_ * 600000) - 1) < 0.125" } 50, 95, 99),
	'100|1.00|t|t|t', 'percentiles of times in the queue');

# An account that has stopped, and is told by its reason; it opens when it is changed.
$gateway->stop;
wait_for_sql($node, 'postgres', "SELECT count(*) FROM sms_outbox WHERE status = 'sending'", 0);
account_is('unknown', 4, 'what hung is unknown');
my $stopped = queue($node, 'stopped');
wait_for_sql($node, 'postgres', 'SELECT state FROM sms3300_stat_account', 'stopped');
comes_to_explain($stopped, 'queued: its account sms3300 has stopped: [^;]*connect[^;]*; next probe'
	  . " at $time; it is next in the queue", 'account stopped');
wait_for_sql($node, 'postgres', q{SELECT next_probe_at IS NOT NULL AND reason ~ 'connect'
	AND retried > 0 AND retried <= requests FROM sms3300_stat_account}, 't');
account_is('queued', 1, 'the message of a stopped account is queued');
explains($hanging[0], "unknown since $time: .*; it may have been sent; its request began at .*",
	'unknown, what hung');

# A message that waits for a retry: the stopped account is the reason.
my $tried = queue($node, 'tried');
run_sql($node, "UPDATE sms_outbox SET due_at = now() + interval '1 hour',"
	  . " events = '[{\"error\": \"an error\"}]' WHERE id = $tried");
explains($tried, "queued: its account sms3300 has stopped: .*; \\d+ messages? (?:is|are) ahead of it",
	'account stopped, and a message that was tried');
run_sql($node, "SELECT sms3300_cancel($tried)");
$gateway->start;
wait_for_end_of($stopped);
wait_for_sql($node, 'postgres',
	q{SELECT state = 'ok' AND reason IS NULL AND next_probe_at IS NULL FROM sms3300_stat_account});
account_is('requests = sent + rejected + failed + unknown + retried', 't', 'all adds up');

# A probe that hangs.
$gateway->mode('#status 14 no credit');
$stopped = queue($node, 'to a stopped account');
wait_for_sql($node, 'postgres', "SELECT reason = 'the gateway answered with status 14 (not enough credit): no credit'"
	  . " AND state = 'stopped' FROM sms3300_stat_account");
$gateway->mode('#hang');
comes_to_explain($stopped, "being sent since $time, attempt 1", 'the probe itself');
my $behind = queue($node, 'behind the probe');
comes_to_explain($behind, 'queued: its account sms3300 has stopped: the gateway answered with status 14 \(not enough credit\): no credit;'
	  . ' a probe is in progress; it is next in the queue', 'a probe is in progress');
$gateway->mode('');
run_sql($node, "SELECT sms3300_cancel($behind)");

# Two accounts: one that is dropped, one without a mapping for the sender.
run_sql($node, <<"END");
CREATE SERVER mapped FOREIGN DATA WRAPPER sms3300 OPTIONS (line '$line');
CREATE USER MAPPING FOR CURRENT_USER SERVER mapped OPTIONS (username 'u', password 'p');
END
my $mapped = queue($node, 'mapped', account => 'mapped', send_after => \"now() + interval '1 hour'");
account_is('state, queued', 'ok|1', 'an account has its own queue', 'mapped');
account_is('queued', 0, 'no other message is queued');
run_sql($node, 'DROP USER MAPPING FOR CURRENT_USER SERVER mapped');
my $unusable = 'queued: its account mapped cannot be used for sender \w+:';
explains($mapped, "$unusable the account has no user mapping for the sender", 'no user mapping');
run_sql($node, "CREATE USER MAPPING FOR CURRENT_USER SERVER mapped OPTIONS (username 'u',"
	  . " password_file '/nowhere')");
explains($mapped, "$unusable the password file cannot be opened: No such file or directory",
	'no password');
run_sql($node, 'DROP USER MAPPING FOR CURRENT_USER SERVER mapped');
run_sql($node, 'DROP SERVER mapped');
explains($mapped, 'queued: its account mapped does not exist: create the server, or cancel the'
	  . ' message', 'no account');
run_sql($node, "SELECT sms3300_cancel($mapped)");

# Privileges: a role sees its own messages, pg_monitor the views without any content.
my $nothing = 'no such message is visible to the current role';
is(explanation(1_000_000), $nothing, 'explained: no such message');
is(run_sql($node, "SET ROLE app; SELECT sms3300_explain($sent)"), $nothing,
	'explained: not the caller\'s');
my $own = run_sql($node, "SET ROLE app; SELECT sms3300_send('09123456789', 'own',"
	  . " send_after => now() + interval '1 hour')");
like(run_sql($node, "SET ROLE app; SELECT sms3300_explain($own)"),
	qr/^queued: it is scheduled for/, 'explained: the caller\'s own');
is(run_sql($node, 'SELECT sms3300_explain(NULL)'), '', 'explained: NULL');
for my $object ('* FROM sms3300_stat_account', '* FROM sms3300_stat_worker',
	'sms3300_stat_reset()', "_sms3300_stat_get_account('sms3300')",
	'_sms3300_stat_get_worker(1)',
	map { "_sms3300_stat_get_$_(1, 'sms3300')" } qw(queued oldest_due_at foreign_rows))
{
	my ($code, undef, $error) = $node->psql('postgres', "SET ROLE app; SELECT $object");
	like($error, qr/permission denied/, "not for all: $object");
	($code, undef, $error) = $node->psql('postgres', "SET ROLE watcher; SELECT $object");
	like($error, $object =~ /reset/ ? qr/permission denied/ : qr/^$/, "pg_monitor: $object");
}
is(run_sql($node, 'SET ROLE watcher; SELECT _sms3300_stat_get_account(NULL), _sms3300_stat_get_worker(NULL)'), '|',
	'pg_monitor: NULL');
is(run_sql($node, 'SET ROLE watcher; SELECT queued, oldest_due_at > now() FROM sms3300_stat_account'), '1|t',
	'pg_monitor counts all messages');

# A message that is due, but locked, here by a prepared transaction.
$gateway->stop;
$gateway->start;
wait_for_sql($node, 'postgres', "SELECT count(*) FROM sms_outbox WHERE status = 'sending'", 0);
alter_account($node, paused => 'true');
my $locked = queue($node, 'locked');
run_sql($node, "BEGIN; SELECT FROM sms_outbox WHERE id = $locked FOR UPDATE;"
	  . " PREPARE TRANSACTION 'locks'");
alter_account($node, paused => 'false');
comes_to_explain($locked, "queued: its row has been locked by prepared transaction \"locks\" since $time: it is"
	  . ' sent when that transaction ends', 'locked');
run_sql($node, "ROLLBACK PREPARED 'locks'");
wait_for_end_of($locked);

# A server with room for one worker, which another database has, and none for that of a
# third; then one that does not preload the library, and a standby.
sub other_databases
{
	my ($name, $conf, $pattern) = @_;
	my $other = new_node($name, conf => "sms3300.worker_idle_timeout = 1h\n$conf");
	run_sql($other, 'CREATE DATABASE two');
	create_account($other, $_, url => $gateway->url, line => $line) for qw(postgres two);
	my $taken = $gateway->count->{taken};
	run_sql($other, "SELECT sms3300_send('09123456789', '#hang')");
	$gateway->wait_for_taken($taken + 1);
	my $id = run_sql($other, "SELECT sms3300_send('09123456789', 'waits')", 'two');
	wait_for_sql($other, 'two', "SELECT sms3300_explain($id) ~ " . quote("^queued: $pattern\$"));
	pass("explained: $name");
	is(run_sql($other, 'SELECT datname, state, pid IS NULL, started_at IS NULL, in_flight'
			  . " FROM sms3300_stat_worker WHERE datname = 'two'"),
		'two|waiting|t|t|0', "$name: a worker that waits");
	return $other;
}
other_databases('refused', "max_worker_processes = 2\nmax_logical_replication_workers = 0\n",
	'no background worker slot is free: raise max_worker_processes and restart the server')
  ->stop;
my $other = other_databases('crowded', "sms3300.max_workers = 1\n",
	'all 1 workers are in use by other databases: raise sms3300.max_workers and restart the server');

$other->stop;

$other->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$other->start;
my $id = run_sql($other, 'SELECT id FROM sms_outbox', 'two');
like(run_sql($other, "SELECT sms3300_explain($id)", 'two'),
	qr/^queued: nothing is sent, because sms3300 is not preloaded: add it to/,
	'explained: not preloaded');
for my $object ('* FROM sms3300_stat_account', '* FROM sms3300_stat_worker',
	'sms3300_stat_reset()')
{
	my (undef, undef, $error) = $other->psql('postgres', "\\set VERBOSITY verbose\nSELECT $object");
	like($error, qr/55000.*preloaded.*HINT:  Add sms3300 to shared_preload_libraries/s,
		"not preloaded: $object");
}
$other->stop;

# A standby sends nothing, and says so.
alter_account($node, paused => 'true');
my $standing_by = queue($node, 'on a standby');
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
is(run_sql($standby, "SELECT sms3300_explain($standing_by)"),
	'queued: this server is a standby, which sends nothing', 'explained: on a standby');
is(run_sql($standby, 'SELECT queued FROM sms3300_stat_account'), 2, 'a standby shows its queue');
$standby->stop;

# A worker that was ended comes back after a pause, which the session does not miss.
alter_account($node, paused => 'false', rate => '0.0002');
wait_for_end_of($standing_by);
my $next = queue($node, 'after a pause');
run_sql($node, <<"END");
DO \$\$
BEGIN
	PERFORM pg_terminate_backend(pid) FROM sms3300_stat_worker;
	FOR i IN 1 .. 3000 LOOP
		IF sms3300_explain($next) ~ '^queued: the worker of this database has ended and will restart at '
			AND (SELECT state = 'restarting' FROM sms3300_stat_worker) THEN
			RETURN;
		END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RAISE 'the worker is %', (SELECT state FROM sms3300_stat_worker);
END \$\$
END
pass('explained: the worker is away');

# The new one knows nothing of what the former has sent.
wait_for_end_of($next);
alter_account($node, rate => undef);

# A worker that has nothing to do leaves.
set_setting($node, 'sms3300.worker_idle_timeout', '0');
wait_for_sql($node, 'postgres', 'SELECT state FROM sms3300_stat_worker', 'none');
is(run_sql($node, 'SELECT pid IS NULL, started_at IS NULL FROM sms3300_stat_worker'),
	't|t', 'a worker that has left');
account_is('sent > 0', 't', 'what was counted outlives it');

# A worker that is starting, delayed by a lock on the first catalog that it reads.
my $early = queue($node, 'for the next worker', send_after => \"now() + interval '2 s'");
wait_for_sql($node, 'postgres', 'SELECT state FROM sms3300_stat_worker', 'none');
run_sql($node, <<"END");
BEGIN;
LOCK TABLE pg_db_role_setting;
DO \$\$
BEGIN
	FOR i IN 1 .. 3000 LOOP
		IF sms3300_explain($early) = 'queued: the worker of this database is starting'
			AND (SELECT state = 'starting' AND pid IS NULL FROM sms3300_stat_worker) THEN
			RETURN;
		END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RAISE 'the worker is %', (SELECT state FROM sms3300_stat_worker);
END \$\$;
COMMIT
END
pass('explained: a worker is being started');
wait_for_end_of($early);
wait_for_sql($node, 'postgres', 'SELECT state FROM sms3300_stat_worker', 'none');

# A change with triggers disabled does not notify the worker.
run_sql($node, "UPDATE sms_outbox SET due_at = now() WHERE id = $own");
explains($own, 'queued: no worker was notified of it, .*', 'no worker was told');
run_sql($node, "UPDATE sms_outbox SET status = 'sending', started_at = now() WHERE id = $own");
explains($own, "being sent since $time, attempt 0, but no worker is running: the next one"
	  . ' treats it as possibly sent', 'sending without a worker');
run_sql($node, 'SET session_replication_role = replica;'
	  . " UPDATE sms_outbox SET status = 'queued', send_before = now() WHERE id = $own");
explains($own, "queued: its deadline \\($time\\) has passed; it will be marked expired", 'about to expire');
set_setting($node, 'sms3300.worker_idle_timeout', '1h');

# More accounts than are counted: those that were idle the longest are forgotten.
run_sql($node, <<"END");
DO \$\$
BEGIN
	FOR i IN 1 .. 1100 LOOP
		EXECUTE format('CREATE SERVER s%s FOREIGN DATA WRAPPER sms3300 OPTIONS (url %L, line %L)',
			i, '${\ $gateway->url }', '$line');
		EXECUTE format('CREATE USER MAPPING FOR PUBLIC SERVER s%s OPTIONS (username %L, password %L)',
			i, 'user', 'secret');
	END LOOP;
END \$\$;
INSERT INTO sms_outbox (mobile, message, account)
SELECT '09123456789', 'many accounts', 's' || i FROM generate_series(1, 1100) AS i;
END
wait_for_end($node);
wait_for_sql($node, 'postgres', 'SELECT count(stats_reset) BETWEEN 1023 AND 1024 AND max(sent) = 1'
	  . " FROM sms3300_stat_account WHERE account <> 'sms3300'");
pass('as many are counted as there is room for');
my $forgotten = run_sql($node,
	'SELECT account FROM sms3300_stat_account WHERE stats_reset IS NULL LIMIT 1');
queue_until($node, 'sent', 'once more', account => $forgotten);
account_is('sent > 0', 't', 'one that is used again is counted again', $forgotten);

$node->stop;
done_testing();
