
# Administrative commands while messages are waiting or on the wire: dropping objects,
# cancelling and terminating processes, exhausting the process slots, and settings of the
# database.

use strict;
use warnings;
use utf8;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
my %account = (url => $gateway->url, line => '983000330000', timeout => '1 hour');
run_sql($node, "CREATE DATABASE $_") for qw(other hostile);
create_account($node, $_, %account) for qw(postgres other hostile);

# Return the process id of the launcher, or of the worker of a database; empty if there
# is none.
sub pid_of
{
	my ($type, $database) = @_;
	my $where = $database ? "AND datname = '$database'" : '';
	return run_sql($node,
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'sms3300 $type' $where", 'template1');
}

# Run one of PostgreSQL's functions on a process.
sub signal
{
	my ($function, $pid) = @_;
	return run_sql($node, "SELECT $function($pid)", 'template1');
}

# A mapping, a server and a role are dropped while a message waits: it waits on, or goes
# by the mapping for all.
create_account($node, 'postgres', %account, account => 'second', paused => 'true');
my $mapping = q{CREATE USER MAPPING FOR PUBLIC SERVER second OPTIONS (username 'user', password 'secret')};

my $id = queue($node, 'mapping dropped', account => 'second');
run_sql($node, <<'END');
BEGIN;
DROP USER MAPPING FOR PUBLIC SERVER second;
ALTER SERVER second OPTIONS (SET paused 'false');
COMMIT;
END
wait_for_sql($node, 'postgres', "SELECT status = 'queued' AND error LIKE '%mapping%' FROM sms_outbox WHERE id = $id");
is_taken($gateway, 'mapping dropped', 0, 'mapping dropped: not sent');
run_sql($node, $mapping);
wait_for_status($node, $id, 'sent');

run_sql($node, "ALTER SERVER second OPTIONS (SET paused 'true')");
$id = queue($node, 'server dropped', account => 'second');
run_sql($node, 'DROP SERVER second CASCADE');
mark($node);
wait_for_status($node, $id, 'queued');
is_taken($gateway, 'server dropped', 0, 'server dropped: not sent');
create_account($node, 'postgres', %account, account => 'second');
wait_for_status($node, $id, 'sent');

run_sql($node, <<'END');
ALTER SERVER second OPTIONS (ADD paused 'true');
CREATE ROLE app;
GRANT USAGE ON FOREIGN SERVER second TO app;
CREATE USER MAPPING FOR app SERVER second OPTIONS (username 'app', password 'secret');
SET ROLE app;
SELECT sms3300_send('09123456789', 'role dropped', account => 'second');
RESET ROLE;
DROP OWNED BY app;
DROP ROLE app;
ALTER SERVER second OPTIONS (SET paused 'false');
END
wait_for_end($node);
is_deeply([ map { $_->{fields}{username} } $gateway->taken('role dropped') ], ['user'],
	'role dropped: sent by the mapping for all');
is_taken($gateway, $_, 1, "$_: sent once") for 'mapping dropped', 'server dropped';

# The extension is dropped with messages on the wire, and created again before the worker
# can see that: their replies do not end up in rows that have their numbers now.
my $offset = -s $node->logfile;
my $taken  = $gateway->count->{taken};
my $old = [ queue($node, '#hold #status 27', n => 3, database => 'other') ];
$gateway->wait_for_taken($taken + 3);
run_sql($node, <<"END", 'other');
BEGIN;
DROP EXTENSION sms3300 CASCADE;
CREATE EXTENSION sms3300;
CREATE SERVER sms3300 FOREIGN DATA WRAPPER sms3300
	OPTIONS (url '$account{url}', line '$account{line}', timeout '$account{timeout}');
CREATE USER MAPPING FOR PUBLIC SERVER sms3300 OPTIONS (username 'user', password 'secret');
COMMIT;
END
my $new = [ queue($node, '#hold', n => 3, database => 'other') ];
is_deeply($new, $old, 'the new messages have the numbers of the old ones');
$gateway->release(3);
$gateway->wait_for_taken($taken + 6);
mark($node, database => 'other');
wait_for_status($node, $new, 'sending', 'other');
$gateway->release;
wait_for_status($node, $new, 'sent', 'other');

$taken = $gateway->count->{taken};
queue($node, '#hold', database => 'other');
$gateway->wait_for_taken($taken + 1);
my $pid = pid_of('worker', 'other');
run_sql($node, 'DROP EXTENSION sms3300 CASCADE', 'other');
$gateway->release;
wait_for_log($node, qr/extension was dropped while messages were being sent/, $offset);
wait_for_sql($node, 'template1', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
create_account($node, 'other', %account);
mark($node, database => 'other');
pass('the extension can be dropped and created again');

# It is altered, which changes what belongs to it: nobody minds.
$taken = $gateway->count->{taken};
my $meanwhile = queue($node, '#hold', database => 'other');
$gateway->wait_for_taken($taken + 1);
$pid = pid_of('worker', 'other');
run_sql($node, <<'END', 'other');
CREATE TABLE mine ();
ALTER EXTENSION sms3300 ADD TABLE mine;
ALTER EXTENSION sms3300 UPDATE;
END
mark($node, database => 'other');
run_sql($node, 'ALTER EXTENSION sms3300 DROP TABLE mine', 'other');
$gateway->release;
wait_for_status($node, $meanwhile, 'sent', 'other');
is(pid_of('worker', 'other'), $pid, 'ALTER EXTENSION: the worker goes on');

# The owner queues by hand what is on the wire, and makes a mess of its row: it is not
# sent again, and its result is recorded.
$taken = $gateway->count->{taken};
my %mess = map { $_ => queue($node, "#hold #status 27 events $_") } '{}', '"none"', 'null', '-1';
create_account($node, 'postgres', %account, account => 'broke');
$gateway->wait_for_taken($taken + 4);
$gateway->mode('#hold #status 14 no credit', 1);
my $refused = queue($node, '#status 14 no credit', account => 'broke');
$gateway->wait_for_taken($taken + 5);
run_sql($node, <<"END");
UPDATE sms_outbox SET status = 'queued', events = substring(message FROM 'events (.*)')::jsonb
WHERE message LIKE '%events%';
UPDATE sms_outbox SET attempts = -32768 WHERE id = $refused;
END
mark($node);
$gateway->release;
wait_for_sql($node, 'postgres', <<"END");
SELECT status = 'queued' AND attempts = 0 AND api_status = 14 FROM sms_outbox WHERE id = $refused
END
wait_for_sql($node, 'postgres', "SELECT sms3300_cancel($refused)");
wait_for_end($node);
for my $events (sort keys %mess)
{
	is(run_sql($node, <<"END"), 'rejected|t|t', "events $events: the result is recorded");
SELECT status, events -> 0 = '$events', events -> 1 ->> 'api_status' = '27'
FROM sms_outbox WHERE id = $mess{$events}
END
	is_taken($gateway, "#hold #status 27 events $events", 1, "events $events: it is sent once");
}

# A cancel does nothing to the worker.
my $hanging = [ queue_until_taken($node, $gateway, '#hang', n => 3) ];
$pid = pid_of('worker', 'postgres');
for (1 .. 20)
{
	signal('pg_cancel_backend', $pid);
	mark($node);
}
is(pid_of('worker', 'postgres'), $pid, 'pg_cancel_backend: the worker goes on');
wait_for_status($node, $hanging, 'sending');

# When it is terminated, what comes in a moment is recorded, the rest is unknown, and
# another worker comes.
$taken = $gateway->count->{taken};
$id    = queue($node, '#hold');
$gateway->wait_for_taken($taken + 1);
signal('pg_terminate_backend', $pid);
$gateway->release;
wait_for_status($node, $id, 'sent');
wait_for_status($node, $hanging, 'unknown');
mark($node);
isnt(pid_of('worker', 'postgres'), $pid, 'pg_terminate_backend: another worker comes');

# The launcher: another one comes, and workers do not care.
$hanging = [ queue_until_taken($node, $gateway, '#hang') ];
for my $function (qw(pg_cancel_backend pg_terminate_backend))
{
	my ($launcher, $worker) = (pid_of('launcher'), pid_of('worker', 'postgres'));
	signal('pg_terminate_backend', pid_of('worker', 'other'));
	signal($function, $launcher);
	mark($node, database => 'other');
	like(pid_of('launcher'), qr/\A\d+\z/, "$function: there is a launcher");
	is(pid_of('worker', 'postgres'), $worker, "$function: workers go on");
}
wait_for_status($node, $hanging, 'sending');

# Whatever is set for a database, for the role that the worker runs as, or for the role in
# the database, the worker works as usual. Names that this server does not know are left
# out.
my %hostile = (
	array_nulls                         => 'off',
	bytea_output                        => 'escape',
	client_encoding                     => 'LATIN1',
	client_min_messages                 => 'error',
	cpu_operator_cost                   => '1e9',
	DateStyle                           => 'German',
	debug_parallel_query                => 'on',
	default_transaction_deferrable      => 'on',
	default_transaction_isolation       => 'serializable',
	default_transaction_read_only       => 'on',
	enable_indexonlyscan                => 'off',
	enable_indexscan                    => 'off',
	enable_nestloop                     => 'off',
	enable_sort                         => 'off',
	exit_on_error                       => 'on',
	extra_float_digits                  => '-15',
	force_parallel_mode                 => 'on',
	idle_in_transaction_session_timeout => '1ms',
	idle_session_timeout                => '1ms',
	IntervalStyle                       => 'sql_standard',
	jit                                 => 'on',
	jit_above_cost                      => '0',
	join_collapse_limit                 => '1',
	lock_timeout                        => '1h',
	max_stack_depth                     => '100kB',
	plan_cache_mode                     => 'force_custom_plan',
	quote_all_identifiers               => 'on',
	role                                => 'nobody_special',
	row_security                        => 'off',
	search_path                         => 'hostile',
	session_replication_role            => 'replica',
	standard_conforming_strings         => 'off',
	statement_timeout                   => '1ms',
	synchronous_commit                  => 'off',
	temp_file_limit                     => '0',
	TimeZone                            => 'Asia/Tehran',
	transaction_timeout                 => '1ms',
	transform_null_equals               => 'on',
	work_mem                            => '64kB',
);
run_sql($node, <<'END', 'hostile');
CREATE ROLE nobody_special;
CREATE SCHEMA hostile
	CREATE TABLE sms_outbox (id integer)
	CREATE TABLE seen (message text);
CREATE TYPE hostile.sms_status AS ENUM ('none');
CREATE FUNCTION hostile.on_sent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO hostile.seen VALUES (NEW.message);
	IF NEW.message = 'bad' THEN
		RAISE EXCEPTION 'not today';
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER on_sent AFTER UPDATE ON sms_outbox
	FOR EACH ROW WHEN (NEW.status = 'sent') EXECUTE FUNCTION hostile.on_sent();
END
mark($node, database => 'hostile');
my @known = grep { run_sql($node, "SELECT count(*) FROM pg_settings WHERE name = '$_'") || $_ eq 'role' } sort keys %hostile;

# The sessions here are not to be disturbed.
$ENV{PGOPTIONS} = join ' ', map { "-c $_" } 'client_encoding=UTF8', 'role=none',
  'search_path=public', 'session_replication_role=origin', 'row_security=on',
  'default_transaction_read_only=off', 'default_transaction_deferrable=off',
  (map { "$_=0" } grep { /\A(?:statement|transaction|idle_session)_timeout\z/ } @known),
  map { "$_=off" } grep { /parallel/ } @known;
my $superuser = run_sql($node, 'SELECT CURRENT_USER');
my @whose     = ('DATABASE hostile', "ROLE $superuser", "ROLE $superuser IN DATABASE hostile", 'ROLE ALL');
run_sql($node, join "\n",
	map { "ALTER $whose[$_ % @whose] SET $known[$_] = '$hostile{$known[$_]}';" } 0 .. $#known);
signal('pg_terminate_backend', pid_of('worker', 'hostile'));
my %expected = (
	'سلام'        => 'sent',
	'#status 27'  => 'rejected',
	'#http 500'   => 'unknown',
	'bad'         => 'sent',
	'#delay 2000' => 'sent',
);
$taken = $gateway->count->{taken};
queue($node, $_, database => 'hostile') for sort keys %expected;
wait_for_end($node, 'hostile');
is_deeply({ map { ($_->{message} => $_->{status}) } read_rows($node, "message NOT LIKE 'mark %'", 'hostile') },
	\%expected, 'hostile settings: every result');
is($gateway->count->{taken} - $taken, 5, 'hostile settings: each is sent once');
is(run_sql($node, 'SELECT count(*) FROM hostile.seen WHERE message NOT LIKE $$mark %$$', 'hostile'), 2,
	'hostile settings: triggers see what is sent');
delete $ENV{PGOPTIONS};
$node->stop;

# No slot for another worker process: that is said once, and the message is sent when
# there is one. The one slot is taken for longer than it takes to try some times.
$node = new_node('small', conf => <<'END');
max_worker_processes = 2
max_logical_replication_workers = 0
sms3300.worker_idle_timeout = 0
END
run_sql($node, 'CREATE DATABASE other');
create_account($node, $_, %account) for qw(postgres other);
$taken = $gateway->count->{taken};
my $first = queue($node, '#delay 12000');
$gateway->wait_for_taken($taken + 1);
my $second = queue($node, 'waits for a slot', database => 'other');
wait_for_status($node, $first, 'sent');
wait_for_status($node, $second, 'sent', 'other');
my @said = slurp_file($node->logfile) =~ /(no background worker slot is free.*\n.*HINT:.*max_worker_processes)/g;
is(scalar @said, 1, 'no slot for a worker: said once, with a hint');

$node->stop;
done_testing();
