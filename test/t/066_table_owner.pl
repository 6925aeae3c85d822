
# The owner of sms_outbox, who is not a superuser, adds objects to it and alters it. The
# worker runs them with the owner's privileges only, and none of them crashes the server.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
my $number  = '09123456789';
create_account($node, 'postgres', url => $gateway->url, line => '983000330000', max_in_flight => 10);
run_sql($node, <<'END');
CREATE ROLE owner LOGIN;
CREATE ROLE caller LOGIN;
GRANT USAGE ON FOREIGN SERVER sms3300 TO owner, caller;
GRANT CREATE ON SCHEMA public TO owner;
ALTER TABLE sms_outbox OWNER TO owner;
END

# Do something as the owner.
sub as_owner
{
	my ($sql) = @_;
	return run_as($node, 'owner', $sql);
}

# The worker runs the owner's objects with the owner's privileges. No attempt to gain others
# succeeds.
as_owner(<<'END');
CREATE TABLE tried (what text, result text, by_user name);
GRANT INSERT ON tried TO PUBLIC;
CREATE FUNCTION try(what text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	result text = 'done';
BEGIN
	BEGIN
		EXECUTE what;
	EXCEPTION WHEN OTHERS THEN
		result = SQLSTATE;
	END;
	INSERT INTO public.tried VALUES (what, result, CURRENT_USER);
END $$;
CREATE FUNCTION on_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM public.try(what) FROM unnest(ARRAY[
		'SET ROLE postgres', 'RESET ROLE', 'SET SESSION AUTHORIZATION DEFAULT',
		'CREATE TEMPORARY TABLE t ()', 'SELECT FROM pg_authid', 'SELECT FROM pg_user_mapping',
		'SELECT pg_read_file(''PG_VERSION'')', 'COPY public.tried TO PROGRAM ''true''',
		'SET session_replication_role = replica', 'SELECT pg_terminate_backend(pg_backend_pid())']) AS what;
	RETURN NEW;
END $$;
CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM public.try('ALTER ROLE owner SUPERUSER'); RETURN NULL; END $$;
CREATE FUNCTION is_good(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN PERFORM public.try('ALTER ROLE owner CREATEROLE'); RETURN true; END $$;
CREATE TRIGGER on_update BEFORE UPDATE ON sms_outbox FOR EACH ROW EXECUTE FUNCTION on_update();
CREATE CONSTRAINT TRIGGER at_commit AFTER UPDATE ON sms_outbox DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION at_commit();
ALTER TABLE sms_outbox ADD CHECK (is_good(error));
CREATE INDEX ON sms_outbox (is_good(error));
END
my $id = run_as($node, 'caller', "SELECT sms3300_send('$number', 'with their rights')");
wait_for_status($node, $id, 'sent');
is(run_sql($node, q{SELECT DISTINCT by_user FROM tried WHERE by_user <> 'caller'}), 'owner',
	'what the owner puts on the table is run as him');
is(run_sql($node, 'SELECT count(DISTINCT what) FROM tried'), 12, "all kinds of the owner's code were tried");
is(run_sql($node, q{SELECT DISTINCT what, result FROM tried WHERE result <> '42501'}), '',
	"the owner's code gets no other rights");

# Nor by deferring it until the commit, when the worker has its own privileges again.
as_owner(<<'END');
CREATE OR REPLACE FUNCTION on_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN SET CONSTRAINTS ALL DEFERRED; RETURN NEW; END $$;
END
$id = run_as($node, 'caller', "SELECT sms3300_send('$number', 'put off')");
wait_for_status($node, $id, 'sent');
is(run_sql($node, q{SELECT DISTINCT by_user FROM tried WHERE by_user <> 'caller'}), 'owner',
	"the owner's code gets no other rights at the commit");
is(run_sql($node, q{SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = 'owner'}), 'f|f|f',
	'the owner of the table has the rights that he had');
as_owner('DROP FUNCTION on_update, at_commit, is_good CASCADE');

# In a session the owner's triggers run as the role that queues. When the extension writes,
# they run as the owner, who cannot become another role; deferred ones run at once.
as_owner(<<'END');
CREATE TABLE ran (what text, by_user name);
GRANT INSERT ON ran TO PUBLIC;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.ran VALUES (TG_OP || TG_ARGV[0], CURRENT_USER);
	BEGIN
		RESET ROLE;
	EXCEPTION WHEN insufficient_privilege THEN
		INSERT INTO public.ran VALUES (TG_OP || TG_ARGV[0], 'nobody else');
	END;
	RETURN NEW;
END $$;
CREATE TRIGGER note BEFORE INSERT OR UPDATE ON sms_outbox FOR EACH ROW EXECUTE FUNCTION note('');
CREATE CONSTRAINT TRIGGER note_late AFTER INSERT OR UPDATE ON sms_outbox DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION note(', at the commit');
END
$id = run_as($node, 'caller', "SELECT sms3300_send('$number', 'never', send_after => 'tomorrow')");
my $late = 'UPDATE, at the commit: nobody else; UPDATE, at the commit: owner';
my $ran = q{SELECT string_agg(DISTINCT what || ': ' || by_user, '; ') FROM ran};
is(run_sql($node, $ran), 'INSERT, at the commit: caller; INSERT: caller', 'who queues runs what is on the table');
for my $does (qw(cancel resend))
{
	run_sql($node, 'TRUNCATE ran');
	is(run_as($node, 'caller', "SELECT sms3300_$does($id)"), 't', $does);
	is(run_sql($node, $ran), "$late; UPDATE: nobody else; UPDATE: owner",
		'what is deferred runs at once, as the owner');
}
as_owner('DROP FUNCTION note CASCADE; DROP TABLE ran');
run_as($node, 'caller', "SELECT sms3300_cancel($id)");

# Settings changed by a trigger last until the end of the transaction, and then the worker
# has its own settings again. Settings that this server lacks are omitted.
my %set = (
	client_encoding                     => 'SQL_ASCII',
	DateStyle                           => 'German',
	default_transaction_deferrable      => 'on',
	default_transaction_isolation       => 'serializable',
	default_transaction_read_only       => 'on',
	enable_indexscan                    => 'off',
	enable_seqscan                      => 'on',
	exit_on_error                       => 'on',
	idle_in_transaction_session_timeout => '1ms',
	idle_session_timeout                => '1ms',
	IntervalStyle                       => 'sql_standard',
	lock_timeout                        => '1ms',
	plan_cache_mode                     => 'auto',
	row_security                        => 'off',
	search_path                         => 'public',
	'sms3300.account'                   => 'nowhere',
	statement_timeout                   => '1ms',
	synchronous_commit                  => 'off',
	TimeZone                            => 'Asia/Tehran',
	transaction_timeout                 => '1h',
	work_mem                            => '64kB');
my @known  = grep { run_sql($node, "SELECT count(*) FROM pg_settings WHERE name = '$_'") } sort keys %set;
my $names  = join ', ', map { "'$_'" } @known;
my $values = join ', ', map { "'$set{$_}'" } @known;
as_owner(<<"END");
CREATE TABLE found (xid xid8, name text, value text);
CREATE FUNCTION set_all() RETURNS trigger LANGUAGE plpgsql AS \$\$
BEGIN
	IF NOT EXISTS (SELECT FROM public.found WHERE xid = pg_current_xact_id()) THEN
		INSERT INTO public.found SELECT pg_current_xact_id(), n, current_setting(n) FROM unnest(ARRAY[$names]) AS n;
	END IF;
	PERFORM set_config(n, v, false) FROM unnest(ARRAY[$names], ARRAY[$values]) AS s (n, v);
	RETURN NEW;
END \$\$;
CREATE TRIGGER set_all AFTER UPDATE ON sms_outbox FOR EACH ROW EXECUTE FUNCTION set_all();
END
my $worker = run_sql($node, 'SELECT pid FROM sms3300_stat_worker');
wait_for_status($node, queue($node, "with settings, $_"), 'sent') for 1 .. 3;
is(run_sql($node, 'SELECT count(DISTINCT xid) >= 6 FROM found'), 't', 'a trigger sets what it may');
is(run_sql($node, 'SELECT name FROM found GROUP BY name HAVING count(DISTINCT value) > 1'), '',
	'the settings last until the end of the transaction');
is(run_sql($node, q{SELECT DISTINCT value FROM found WHERE name = 'search_path'}), 'pg_catalog, pg_temp',
	'the worker has its own settings again');
is(run_sql($node, 'SELECT pid FROM sms3300_stat_worker'), $worker, 'the worker goes on with its own settings');
as_owner('DROP FUNCTION set_all CASCADE');

# The owner can terminate the worker, for example by making an error fatal. It restarts after
# a pause, other databases are not affected, and nothing is sent twice.
run_sql($node, 'CREATE DATABASE elsewhere');
create_account($node, 'elsewhere', url => $gateway->url, line => '983000330000');
my $elsewhere = 0;
sub send_elsewhere
{
	my $there = run_sql($node, "SELECT sms3300_send('$number', 'elsewhere @{[ ++$elsewhere ]}')", 'elsewhere');
	return wait_for_status($node, $there, 'sent', 'elsewhere');
}
my $state = q{SELECT state FROM sms3300_stat_worker WHERE datname = 'postgres'};
as_owner(<<'END');
CREATE FUNCTION end_worker() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('exit_on_error', 'on', false);
	RAISE EXCEPTION 'end';
END $$;
END
for my $status (qw(sending sent))
{
	as_owner("CREATE TRIGGER end_worker BEFORE UPDATE ON sms_outbox FOR EACH ROW"
		  . " WHEN (NEW.status = '$status') EXECUTE FUNCTION end_worker()");
	$id = queue($node, "ends the worker when $status");
	wait_for_sql($node, 'postgres', $state, 'restarting');
	send_elsewhere();
	as_owner('DROP TRIGGER end_worker ON sms_outbox');
	wait_for_status($node, $id, $status eq 'sending' ? 'sent' : 'unknown');
}

# A worker that was suspended beyond a trigger's time limit continues, because no trigger
# has caught its cancellation.
as_owner(<<'END');
CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN PERFORM pg_sleep(3600); RETURN NEW; END';
CREATE TRIGGER linger BEFORE UPDATE ON sms_outbox FOR EACH ROW EXECUTE FUNCTION linger();
END
my $sleeping = "FROM pg_stat_activity WHERE backend_type = 'sms3300 worker' AND wait_event = 'PgSleep'";
my $sleeps = "SELECT count(*) $sleeping";
my $logged = -s $node->logfile;
$id = queue($node, 'held up');
wait_for_sql($node, 'postgres', $sleeps, 1);
my $pid = run_sql($node, "SELECT pid $sleeping");
kill STOP => $pid;
wait_for_sql($node, 'postgres',
	"SELECT clock_timestamp() - xact_start > interval '13 s' FROM pg_stat_activity WHERE pid = $pid");
kill CONT => $pid;
wait_for_log($node, qr/canceling statement due to statement timeout/, $logged);
as_owner('DROP FUNCTION linger CASCADE');
wait_for_status($node, $id, 'sent');
is(run_sql($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid"), 1, 'a worker that was held up goes on');

# A trigger that catches its cancellation and keeps running is terminated with the worker.
# It does not delay a stop of the server forever.
as_owner(<<'END');
CREATE FUNCTION go_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	LOOP
		BEGIN
			PERFORM pg_sleep(3600);
		EXCEPTION WHEN query_canceled THEN
		END;
	END LOOP;
END $$;
CREATE TRIGGER go_on BEFORE UPDATE ON sms_outbox FOR EACH ROW EXECUTE FUNCTION go_on();
END
$logged = -s $node->logfile;
$id = queue($node, 'goes on');
wait_for_sql($node, 'postgres', $sleeps, 1);
send_elsewhere();
wait_for_sql($node, 'postgres', $state, 'restarting');
like(slurp_file($node->logfile, $logged), qr/FATAL: .*CONTEXT: .*a trigger on sms_outbox ignored its cancellation/s,
	'the worker ends, and the log says why');
wait_for_sql($node, 'postgres', $sleeps, 1);
$node->stop('fast');
$node->start;
as_owner('DROP FUNCTION go_on CASCADE');
wait_for_status($node, $id, 'sent');

# An altered column: an error names it, and nothing is sent until the change is undone.
as_owner('DROP TRIGGER sms3300_update ON sms_outbox');
for my $change (
	[ 'ALTER line TYPE bigint USING 7',  'ALTER line TYPE text USING NULL',     '4', '"line" of type text' ],
	[ 'RENAME line TO l',                'RENAME l TO line',                    '4', '"line" of type text' ],
	[ 'ALTER line2 TYPE jsonb USING NULL', 'ALTER line2 TYPE text',             '5', '"line2" of type text' ],
	[ 'ALTER metadata TYPE json',        'ALTER metadata TYPE jsonb',           '13', '"metadata" of type jsonb' ],
	[ 'ALTER response TYPE text',        'ALTER response TYPE jsonb USING NULL', '25', '"response" of type jsonb' ],
	[ 'ALTER api_status TYPE bigint',    'ALTER api_status TYPE integer',       '22', '"api_status" of type integer' ])
{
	my ($alter, $undo, $column, $was) = @$change;
	my $expected = "column $column of sms_outbox is no longer $was";
	run_sql($node, q{ALTER SERVER sms3300 OPTIONS (ADD paused 'true')});
	$id = queue($node, "before $alter");
	is(as_owner("ALTER TABLE sms_outbox $alter"), '', $alter);
	for my $sql ("INSERT INTO sms_outbox (mobile, message) VALUES ('$number', 'x')",
		"SELECT sms3300_send('$number', 'x')", "SELECT sms3300_explain($id)", "SELECT sms3300_cancel($id)")
	{
		my (undef, undef, $error) = $node->psql('postgres', $sql);
		like($error, qr/ERROR:  \Q$expected\E/, "... $sql");
	}
	run_sql($node, q{ALTER SERVER sms3300 OPTIONS (DROP paused)});
	wait_for_sql($node, 'postgres',
		q{SELECT last_error FROM sms3300_stat_worker WHERE datname = 'postgres'}, $expected);
	as_owner("ALTER TABLE sms_outbox $undo");
	wait_for_status($node, $id, 'sent');
}
# Nor is a reply recorded that arrives in the meantime.
my $taken = $gateway->count->{taken};
$id = queue($node, '#hold');
$gateway->wait_for_taken($taken + 1);
as_owner('ALTER TABLE sms_outbox ALTER response TYPE text');
$gateway->release;
wait_for_sql($node, 'postgres', q{SELECT last_error FROM sms3300_stat_worker WHERE datname = 'postgres'},
	'column 25 of sms_outbox is no longer "response" of type jsonb');
is(run_sql($node, "SELECT status FROM sms_outbox WHERE id = $id"), 'sending', 'a reply that comes meanwhile is not recorded');
as_owner('ALTER TABLE sms_outbox ALTER response TYPE jsonb USING NULL');
wait_for_status($node, $id, 'sent');
my $said = () = slurp_file($node->logfile) =~ /transaction on sms_outbox failed: column/g;
cmp_ok($said, '<', 100, 'the log is not flooded');
is(as_owner('ALTER TABLE sms_outbox ADD mine text'), '', 'a column added by the owner does no harm');
wait_for_status($node, queue($node, 'beside an added column'), 'sent');

# Another object in place of the table.
as_owner(<<'END');
ALTER TABLE sms_outbox RENAME TO moved;
CREATE VIEW sms_outbox AS SELECT * FROM moved;
END
is(run_as($node, 'postgres', "SELECT sms3300_send('$number', 'x')"), 42809, 'a view in its place');
as_owner('DROP VIEW sms_outbox');
is(run_as($node, 'postgres', "SELECT sms3300_send('$number', 'x')"), '42P01', 'nothing in its place');
for my $other (
	[ 'CREATE TABLE sms_outbox (id bigint)', 'a table with fewer columns' ],
	[ 'CREATE TABLE sms_outbox (LIKE moved); ALTER TABLE sms_outbox ALTER status TYPE text', 'one with another status' ])
{
	my ($create, $what) = @$other;
	as_owner($create);
	is(run_as($node, 'postgres', "SELECT sms3300_send('$number', 'x')"), 42804, "$what in its place");
	as_owner('DROP TABLE sms_outbox');
}
as_owner('ALTER TABLE moved RENAME TO sms_outbox');
wait_for_status($node, queue($node, 'back in its place'), 'sent');

# What a claim would leave out of what an UPDATE does: an error that says so, and nothing
# is sent meanwhile.
as_owner(q{CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'});
for my $other (
	[ 'REVOKE UPDATE ON sms_outbox FROM owner', 'GRANT UPDATE ON sms_outbox TO owner',
		'permission denied for table sms_outbox: its owner, "owner", has no UPDATE privilege' ],
	[ q{CREATE RULE mine AS ON UPDATE TO sms_outbox DO ALSO INSERT INTO tried VALUES ('rule')},
		'DROP RULE mine ON sms_outbox', 'rule mine on table public.sms_outbox is for UPDATE, which is not supported' ],
	[ 'CREATE TRIGGER mine AFTER UPDATE ON sms_outbox REFERENCING NEW TABLE AS changed EXECUTE FUNCTION nothing()',
		'DROP TRIGGER mine ON sms_outbox', 'trigger "mine" on sms_outbox has a transition table, which is not supported' ],
	[ 'ALTER TABLE sms_outbox FORCE ROW LEVEL SECURITY', 'ALTER TABLE sms_outbox NO FORCE ROW LEVEL SECURITY',
		'row-level security of sms_outbox is forced on its owner, which is not supported' ],
	[ 'ALTER TABLE sms_outbox DROP CONSTRAINT sms_outbox_pkey', 'ALTER TABLE sms_outbox ADD PRIMARY KEY (id)',
		'the primary key of sms_outbox is no longer "id"' ])
{
	my ($do, $undo, $error) = @$other;
	is(as_owner($do), '', $do);
	$id = queue($node, "meanwhile: $do");
	wait_for_sql($node, 'postgres',
		q{SELECT last_error FROM sms3300_stat_worker WHERE datname = 'postgres'}, $error);
	is(run_sql($node, "SELECT status, attempts FROM sms_outbox WHERE id = $id"), 'queued|0', '... nothing is claimed');
	as_owner($undo);
	wait_for_status($node, $id, 'sent');
}
is(run_sql($node, q{SELECT count(*) FROM tried WHERE what = 'rule'}), 0, 'no rule was applied');

# Nulls where there are none: without the constraints, or in a child, whose rows are no messages.
my @never_null = qw(mobile account send_after send_before sender status attempts events origin);
run_as($node, 'owner',
	'ALTER TABLE sms_outbox ' . join(', ', map { "ALTER $_ DROP NOT NULL" } @never_null));
run_sql($node, q{ALTER SERVER sms3300 OPTIONS (ADD paused 'true')});
my %null = map { $_ => queue($node, "null $_") } @never_null;
as_owner("UPDATE sms_outbox SET $_ = NULL WHERE id = $null{$_}") for @never_null;
as_owner("UPDATE sms_outbox SET events = NULL WHERE id = $null{mobile}");
my $textless = queue($node, 'gone');
as_owner("UPDATE sms_outbox SET message = NULL WHERE id = $textless");
my $orphan = queue($node, 'of a dead worker');
as_owner(<<"END");
UPDATE sms_outbox SET status = 'sending', account = NULL, sender = NULL, attempts = NULL WHERE id = $orphan;
INSERT INTO sms_outbox (mobile, message) VALUES ('$number', 'over');
UPDATE sms_outbox SET send_before = now(), account = NULL, sender = NULL WHERE message = 'over';
END
$node->restart;
run_sql($node, q{ALTER SERVER sms3300 OPTIONS (DROP paused)});
wait_for_status($node, $orphan, 'unknown');
wait_for_status($node, $null{$_}, 'sent') for qw(sender send_after attempts events);
wait_for_sql($node, 'postgres', q{SELECT status FROM sms_outbox WHERE message = 'over'}, 'expired');
wait_for_sql($node, 'postgres', "SELECT events->-1->>'error' LIKE '%no longer has a recipient%' FROM sms_outbox WHERE id = $null{mobile}");
wait_for_sql($node, 'postgres', "SELECT error LIKE '%no longer has a text%' FROM sms_outbox WHERE id = $textless");
$node->psql('postgres', "SELECT sms3300_explain($_); SELECT sms3300_resend($_); SELECT sms3300_cancel($_)",
	on_error_stop => 0)
  for values %null;
is(run_sql($node, q{SELECT string_agg(message, ', ' ORDER BY message) FROM sms_outbox}
	  . q{ WHERE message LIKE 'null %' AND started_at IS NOT NULL}),
	'null attempts, null events, null mobile, null send_after, null sender', 'what is taken with a null, and what is not');
as_owner("DELETE FROM sms_outbox WHERE message LIKE 'null%' OR message IS NULL");

as_owner(<<'END');
CREATE TABLE child () INHERITS (sms_outbox);
INSERT INTO child (id, mobile, message, account, send_before, status, due_at, origin)
	SELECT -1, mobile, 'of a child', account, 'infinity', 'queued', now(), origin
	FROM sms_outbox WHERE message = 'beside an added column';
END
wait_for_status($node, queue($node, 'beside a child'), 'sent');

# A claim is of a row, not of a place: there is one of the child's at the same.
run_sql($node, q{ALTER SERVER sms3300 OPTIONS (ADD paused 'true')});
$id = queue($node, 'has a twin');
run_sql($node, 'VACUUM FULL sms_outbox');
as_owner(<<"END");
INSERT INTO child (id, mobile, message, account, send_after, send_before, status, due_at, origin)
	SELECT -n, mobile, 'a twin', account, 'infinity', 'infinity', 'queued', 'infinity', origin
	FROM sms_outbox, generate_series(1, 5000) AS n WHERE id = $id;
DELETE FROM ONLY child WHERE ctid <> (SELECT ctid FROM sms_outbox WHERE id = $id);
END
is(run_sql($node, 'SELECT message FROM ONLY child'), 'a twin', 'a row of the child in the place of another');
run_sql($node, q{ALTER SERVER sms3300 OPTIONS (DROP paused)});
wait_for_status($node, $id, 'sent');
is(run_sql($node, 'SELECT status, attempts FROM ONLY child'), 'queued|0', "a child table's row is not claimed");

# A row of a child is no message, however due it is.
is(run_sql($node, 'SELECT count(*) FROM child WHERE started_at IS NOT NULL'), 0, 'no row of a child was claimed');

unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC|TRAP/, 'no process crashed');
my %times;
$times{ $_->{fields}{message} }++ for $gateway->log;
is_deeply([ grep { $times{$_} > 1 } sort keys %times ], [], 'each message was sent once');
$node->stop;
done_testing();
