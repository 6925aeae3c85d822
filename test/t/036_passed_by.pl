
# A row that cannot be written, is locked, or has a slow trigger delays nothing but itself,
# however many of them there are.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000', max_in_flight => 300);
create_account($node, 'postgres', account => 'other', url => $gateway->url, line => '983000330000');

# Queue messages while the account is paused, so that they are seen together.
sub queue_together
{
	my ($message, $n) = @_;
	alter_account($node, paused => 'true');
	queue($node, $message, n => $n);
	return;
}

# Rows that a constraint keeps from being claimed, more than a window has, and more than the
# worker remembers when it was built with assertions.
queue_together('unclaimable', 1200);
run_sql($node, q{ALTER TABLE sms_outbox ADD CONSTRAINT mine CHECK (status <> 'sending' OR message <> 'unclaimable') NOT VALID});
my $offset = -s $node->logfile;
alter_account($node, paused => 'false');
mark($node);
is(statuses($node, 'unclaimable'), 'queued 1200', 'unclaimable rows are passed by');
my $told = () = slurp_file($node->logfile, $offset) =~ /violates check constraint/g;
cmp_ok($told, '<', 10, 'unclaimable rows do not flood the log');
queue_until($node, 'sent', 'of another account', account => 'other');
mark($node);
run_sql($node, 'ALTER TABLE sms_outbox DROP CONSTRAINT mine');
wait_for_status($node, 'unclaimable', 'sent');
is_taken($gateway, 'unclaimable', 1200, 'each is sent once when it can be claimed');

# So are those that an index of the user's fails for, now that no more rows are remembered.
run_sql($node, q{CREATE INDEX failing ON sms_outbox ((1 / CASE WHEN status = 'sending' AND message = 'indexed' THEN 0 ELSE 1 END))});
queue($node, 'indexed', n => 40);
mark($node);
is(statuses($node, 'indexed'), 'queued 40', 'those that an index refuses are passed by');
run_sql($node, 'DROP INDEX failing');
wait_for_status($node, 'indexed', 'sent');
is_taken($gateway, 'indexed', 40, 'each is sent once without the index');

# Locked rows: new messages do not have the worker begin at the head again.
my $user = $node->background_psql('postgres');
queue_together('locked', 1500);
$user->query_safe(q{BEGIN; SELECT FROM sms_outbox WHERE message = 'locked' FOR UPDATE});
my $finds = q{SELECT pg_stat_get_numscans('sms_outbox_pkey'::regclass)};
alter_account($node, paused => 'false');
mark($node);
my $before = run_sql($node, $finds);
my $began  = clock_gettime(CLOCK_MONOTONIC);
mark($node) for 1 .. 20;
my $most = 12000 + 1500 * (clock_gettime(CLOCK_MONOTONIC) - $began);
cmp_ok(run_sql($node, $finds) - $before, '<', $most, 'locked rows are tried at a pace');
$user->query_safe('COMMIT');
$user->quit;
wait_for_status($node, 'locked', 'sent');
is_taken($gateway, 'locked', 1500, 'each is sent once when it is unlocked');

# Create a trigger for the rows with a text that are sent.
sub create_trigger
{
	my ($when, $message, $does) = @_;
	run_sql($node, <<"END");
CREATE FUNCTION user_function() RETURNS trigger LANGUAGE plpgsql AS \$\$
BEGIN
	$does;
	RETURN NEW;
END \$\$;
CREATE TRIGGER user_trigger $when UPDATE ON sms_outbox FOR EACH ROW
	WHEN (NEW.status = 'sent' AND NEW.message LIKE '$message') EXECUTE FUNCTION user_function();
END
	return;
}

# So it is with those that cannot expire.
run_sql($node, q{ALTER TABLE sms_outbox ADD CONSTRAINT mine CHECK (status <> 'expired' OR message <> 'stays')});
alter_account($node, paused => 'true');
queue($node, 'stays', n => 1100, send_before => \"clock_timestamp() + interval '1 s'");
my $expires = queue($node, 'expires', send_before => \"clock_timestamp() + interval '1 s'");
wait_for_status($node, $expires, 'expired');
is(statuses($node, 'stays'), 'queued 1100', 'those that cannot expire are passed by');
alter_account($node, paused => 'false');
mark($node);
run_sql($node, 'ALTER TABLE sms_outbox DROP CONSTRAINT mine');
wait_for_status($node, 'stays', 'expired');
is_taken($gateway, 'stays', 0, 'nor are they sent');

# What is not the trigger's fault is no reason to write a row with triggers disabled.
$offset = -s $node->logfile;
for my $error (qw(out_of_memory deadlock_detected))
{
	run_sql($node, 'CREATE TABLE scarce ()');
	create_trigger('BEFORE', $error, <<"END");
IF to_regclass('public.scarce') IS NOT NULL THEN
		RAISE EXCEPTION '$error' USING ERRCODE = '$error';
	END IF;
	NEW.metadata = '{"seen": true}'
END
	queue($node, $error);
	wait_for_log($node, qr/result of message \d+ cannot be recorded: $error/);
	mark($node);
	is(statuses($node, $error), 'sending 1', "$error: the result waits, others do not");
	run_sql($node, 'DROP TABLE scarce');
	wait_for_status($node, $error, 'sent');
	is(run_sql($node, "SELECT metadata FROM sms_outbox WHERE message = '$error'"), '{"seen": true}',
		"$error: the trigger has run");
	run_sql($node, 'DROP FUNCTION user_function() CASCADE');
}

# An administrator cancels it, until its row alone is written.
create_trigger('BEFORE', 'cancelled', <<'END');
IF to_regclass('public.waits') IS NOT NULL THEN
		PERFORM pg_sleep(9);
	END IF;
	NEW.metadata = '{"seen": true}'
END
run_sql($node, 'CREATE TABLE waits ()');
queue($node, 'cancelled');
my $cancel = q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type = 'sms3300 worker' AND wait_event = 'PgSleep'};
wait_until(
	sub {
		run_sql($node, $cancel);
		slurp_file($node->logfile, $offset) =~ /result of message \d+ cannot be recorded: canceling statement due to user request/;
	},
	'the result to be put off');
run_sql($node, "DROP TABLE waits; $cancel");
wait_for_status($node, 'cancelled', 'sent');
is(run_sql($node, q{SELECT metadata FROM sms_outbox WHERE message = 'cancelled'}), '{"seen": true}',
	'cancelled: the trigger has run');
run_sql($node, 'DROP FUNCTION user_function() CASCADE');
unlike(slurp_file($node->logfile, $offset), qr/triggers disabled/, 'triggers are not disabled for any of these');

# A slow trigger: all together would take longer than triggers may.
$offset = -s $node->logfile;
run_sql($node, 'CREATE TABLE ran (id bigint)');
create_trigger('AFTER', '#hold slow', 'PERFORM pg_sleep(0.06); INSERT INTO public.ran VALUES (NEW.id)');
queue_until_taken($node, $gateway, '#hold slow', n => 200);
$gateway->release;
wait_for_status($node, '#hold slow', 'sent');
is(run_sql($node, 'SELECT count(*), count(DISTINCT id) FROM ran'), '200|200',
	'a slow trigger runs for each row');
unlike(slurp_file($node->logfile, $offset), qr/triggers disabled/, 'a slow trigger is not disabled');
run_sql($node, 'DROP FUNCTION user_function() CASCADE');

# One that takes seconds: after the first failure, as few rows as there is time for.
$offset = -s $node->logfile;
create_trigger('BEFORE', '#hold slowest', q{RAISE LOG 'it runs'; PERFORM pg_sleep(3)});
queue_until_taken($node, $gateway, '#hold slowest', n => 40);
$gateway->release;
wait_for_sql($node, 'postgres', q{SELECT count(*) > 0 FROM sms_outbox WHERE message = '#hold slowest' AND status = 'sent'});
my @runs = slurp_file($node->logfile, $offset) =~ /LOG:  it runs/g;
cmp_ok(scalar @runs, '<', 10, 'a very slow trigger is not tried with half as many rows again and again');
run_sql($node, 'DROP FUNCTION user_function() CASCADE');
wait_for_status($node, '#hold slowest', 'sent');

# A trigger that fails for some of many results.
create_trigger('AFTER', '#hold some', 'ASSERT NEW.id % 50 <> 0; INSERT INTO public.ran VALUES (-NEW.id)');
queue_until_taken($node, $gateway, '#hold some', n => 200);
$gateway->release;
wait_for_status($node, '#hold some', 'sent');
is(run_sql($node, 'SELECT count(*) FROM ran WHERE id < 0'), 196, 'a trigger runs for each row that it takes');
run_sql($node, 'DROP FUNCTION user_function() CASCADE');

# One that fails for one of the results that have come together: the others are still written
# together.  Each of their steps is a statement.
run_sql($node, <<'END');
CREATE FUNCTION note_statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.ran VALUES (0);
	RETURN NULL;
END $$;
END
queue_until_taken($node, $gateway, '#hold together', n => 200);
run_sql($node, q{CREATE TABLE first AS SELECT min(id) AS id FROM sms_outbox WHERE message = '#hold together'});
create_trigger('BEFORE', '#hold together', q{ASSERT NEW.id <> (SELECT id FROM public.first)});
run_sql($node, 'CREATE TRIGGER note_statement AFTER UPDATE ON sms_outbox EXECUTE FUNCTION note_statement()');
$user = $node->background_psql('postgres');
$user->query_safe('BEGIN; LOCK TABLE sms_outbox IN SHARE MODE');
$gateway->release;
wait_for_sql($node, 'postgres', 'SELECT in_flight FROM sms3300_stat_worker', 0);
unlock($user);
wait_for_status($node, '#hold together', 'sent');
cmp_ok(run_sql($node, 'SELECT count(*) FROM ran WHERE id = 0'), '<', 100, 'results beside one that fails are written together');
run_sql($node, 'DROP FUNCTION user_function(), note_statement() CASCADE');

# Old messages whose deletion is slow: few at a time, and the log says so once.
run_sql($node, <<'END');
CREATE TABLE child (message bigint REFERENCES sms_outbox ON DELETE CASCADE);
CREATE TABLE deleted (by_transaction xid8);
CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_sleep(0.06);
	INSERT INTO public.deleted VALUES (pg_current_xact_id());
	RETURN NULL;
END $$;
CREATE TRIGGER slowly AFTER DELETE ON sms_outbox FOR EACH ROW EXECUTE FUNCTION slowly();
END
$offset = -s $node->logfile;
alter_account($node, retention => '1ms');
wait_for_log($node, qr/old messages of account "sms3300" is slow: \d+ ms each.*\n.*Table public.child references sms_outbox/, $offset);
queue_until($node, 'sent', 'beside deletions', account => 'other');
wait_for_sql($node, 'postgres', 'SELECT count(*) > 20 FROM deleted');
alter_account($node, retention => undef);
is(run_sql($node, 'SELECT max(n) FROM (SELECT count(*) n FROM deleted GROUP BY by_transaction) d'), 1,
	'slow deletions have short transactions');
my @slow = slurp_file($node->logfile, $offset) =~ /is slow/g;
is(scalar @slow, 1, 'slow deletions are logged once');
run_sql($node, 'DROP FUNCTION slowly() CASCADE');

# The table gets another name, and another schema, while requests are on the wire.
run_sql($node, 'CREATE SCHEMA elsewhere');
for my $there ('RENAME TO others', 'SET SCHEMA elsewhere')
{
	my $moved = $there =~ /RENAME/ ? 'others' : 'elsewhere.sms_outbox';
	my $back  = $there =~ /RENAME/ ? 'RENAME TO sms_outbox' : 'SET SCHEMA public';
	queue_until_taken($node, $gateway, "#hold $there");
	run_sql($node, "ALTER TABLE sms_outbox $there");
	$gateway->release;
	wait_for_sql($node, 'postgres', "SELECT status FROM $moved WHERE message = '#hold $there'", 'sent');
	run_sql($node, "ALTER TABLE $moved $back");
	mark($node);
	is_taken($gateway, "#hold $there", 1, "$there: the result is recorded");
}

$node->stop;
done_testing();
