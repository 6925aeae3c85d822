
# Somebody with rights on the database or on the table lays things in the way: nothing
# of it is done with the rights of the worker, or of a superuser who uses the extension,
# and nothing of it crashes the server.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
my $number  = '09123456789';
my %account = (url => $gateway->url, line => '983000330000', max_in_flight => 10);
run_sql($node, <<'END');
CREATE ROLE mallory LOGIN;
CREATE DATABASE hers OWNER mallory;
CREATE DATABASE taken OWNER mallory;
END

# Expect what a role gets to see, or the SQLSTATE of its error.
sub may
{
	my ($role, $sql, $expected, $what, $database) = @_;
	return is(run_as($node, $role, $sql, $database // 'hers'), $expected, "$role: $what");
}

# Queue a message and return its id.
sub queue
{
	my ($message, $database) = @_;
	return run_sql($node, "SELECT public.sms3300_send('$number', '$message')", $database // 'hers');
}

# Wait until a message has a status.
sub wait_for_status
{
	my ($id, $status, $database) = @_;
	return wait_for_sql($node, $database // 'hers', "SELECT status FROM public.sms_outbox WHERE id = $id", $status);
}

# ---------------------------------------------------------------------------
# The owner of the database
# ---------------------------------------------------------------------------

# In wait for CREATE EXTENSION, in its schema: what it would take over makes it fail.
for my $object (
	'TABLE public.sms_outbox (id bigint)',
	'VIEW public.sms_report AS SELECT 1 AS id',
	'SEQUENCE public.sms_outbox_id_seq',
	q{TYPE public.sms_status AS ENUM ('queued')},
	'FUNCTION public.sms3300_mobile(text) RETURNS text LANGUAGE sql RETURN $1',
	'FUNCTION public.sms3300_outbox_insert() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$')
{
	run_as($node, 'mallory', "CREATE $object", 'taken');
	my (undef, undef, $error) = $node->psql('taken', 'CREATE EXTENSION sms3300');
	like($error, qr/ERROR:  .*(?:already exists|is not a member of the extension)/, "not taken over: $object");
	run_sql($node, 'DROP OWNED BY mallory CASCADE; ALTER DATABASE taken OWNER TO mallory;', 'taken');
}

# What it might use instead of PostgreSQL's own: each tells by whom it is run. Those in
# her own schema, which is first in the database's search_path, stand in for what
# PostgreSQL has; those in the extension's schema fit better than what it has.
my %operand = (
	evil => [
		[qw(name name)],         [qw(bigint bigint)],     [qw(smallint integer)], [qw(integer integer)],
		[qw(anyenum anyenum)],   [qw(text text)],         [qw(boolean boolean)],  [qw(smallint smallint)],
		[qw(oid oid)],           [qw(jsonb integer)],     [qw(jsonb text)],       [qw(jsonb jsonb)],
		[qw(timestamptz timestamptz)], [qw(anyelement anyelement)], [qw(record record)] ],
	public => [
		[qw(anyelement text)],   [qw(anyenum text)],      [qw(text anyelement)],  [qw(bigint text)],
		[qw(name varchar)],      [qw(text varchar)],      [qw(oid bigint)],       [qw(smallint bigint)] ]);
my $bait = <<'END';
CREATE SCHEMA evil;
CREATE TABLE evil.used (what text, by_user name);
GRANT USAGE ON SCHEMA evil TO PUBLIC;
GRANT ALL ON evil.used TO PUBLIC;
CREATE FUNCTION evil.use(what text) RETURNS void LANGUAGE sql
	AS $$ INSERT INTO evil.used VALUES (what, CURRENT_USER) $$;
CREATE TABLE evil.sms_outbox (id bigint);
CREATE TYPE evil.sms_status AS ENUM ('none');
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE plpgsql
	AS $$ BEGIN PERFORM evil.use('now'); RETURN pg_catalog.now(); END $$;
CREATE FUNCTION evil.unnest(anyarray) RETURNS SETOF anyelement LANGUAGE plpgsql
	AS $$ BEGIN PERFORM evil.use('unnest'); RETURN QUERY SELECT * FROM pg_catalog.unnest($1); END $$;
CREATE FUNCTION evil.sms3300_explain(bigint) RETURNS text LANGUAGE plpgsql
	AS $$ BEGIN PERFORM evil.use('explain'); RETURN ''; END $$;
END
for my $schema (sort keys %operand)
{
	for my $types (@{ $operand{$schema} })
	{
		my ($left, $right) = @$types;
		for my $operator (qw(= <> < <= > >=))
		{
			$bait .= <<"END";
CREATE FUNCTION $schema."$operator"($left, $right) RETURNS boolean LANGUAGE plpgsql
	AS \$\$ BEGIN PERFORM evil.use('$schema.$operator($left,$right)'); RETURN true; END \$\$;
CREATE OPERATOR $schema.$operator (FUNCTION = $schema."$operator", LEFTARG = $left, RIGHTARG = $right);
END
		}
	}
}
run_as($node, 'mallory', $bait, 'hers');
is(run_sql($node, q{SELECT count(*) > 100 FROM pg_operator WHERE oprowner = 'mallory'::regrole}, 'hers'), 't',
	'operators are in wait');

# As she could have it from the start, and the superuser who installs it.
run_as($node, 'mallory', 'ALTER DATABASE hers SET search_path = evil, pg_catalog, public', 'hers');
run_sql($node, 'SET search_path = pg_catalog; CREATE EXTENSION sms3300 SCHEMA public', 'hers');
$ENV{PGOPTIONS} = '-c search_path=pg_catalog';
create_account($node, 'hers', %account);
delete $ENV{PGOPTIONS};
is(run_sql($node, <<'END', 'hers'), '', 'nothing in the extension uses what is hers');
SET search_path = pg_catalog;
WITH hers AS (
	SELECT 'pg_proc'::regclass AS class, oid FROM pg_proc WHERE proowner = 'mallory'::regrole
	UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator WHERE oprowner = 'mallory'::regrole)
SELECT pg_describe_object(d.classid, d.objid, d.objsubid), pg_describe_object(d.refclassid, d.refobjid, 0)
FROM pg_depend AS d JOIN hers AS h ON d.refclassid = h.class AND d.refobjid = h.oid
WHERE NOT EXISTS (SELECT FROM hers WHERE class = d.classid AND oid = d.objid)
END

# Whatever a superuser calls, and the worker does, uses none of it. The statements here
# use no operator themselves.
$gateway->mode('#status 27');
my $refused = queue('#status 27');
$node->poll_query_until('hers', "SELECT pg_catalog.starts_with(public.sms3300_explain($refused), 'rejected')")
  or die 'the message is not rejected';
run_sql($node, <<"END", 'hers');
SELECT public.sms3300_send('$number', 'once', dedup_key => 'k');
SELECT public.sms3300_send('$number', 'once', dedup_key => 'k');
SELECT public.sms3300_resend($refused);
SELECT public.sms3300_cancel(public.sms3300_send('$number', 'never', send_after => 'tomorrow'));
SELECT public.sms3300_send('$number', 'over', send_before => pg_catalog.clock_timestamp());
END
$gateway->mode('');
run_sql($node, <<"END", 'hers');
SELECT public.sms3300_adopt(), public.sms3300_explain($refused), public.sms3300_send_now('$number', 'at once');
TABLE public.sms_report;
TABLE public.sms3300_stat_account;
TABLE public.sms3300_stat_worker;
SELECT public.sms3300_segments('x'), public.sms3300_is_mobile('x'), public.sms3300_mobile('$number');
ALTER SERVER sms3300 OPTIONS (ADD retention '0', ADD redact_after '0');
END
$node->poll_query_until('hers', 'SELECT pg_catalog.count(*) FROM public.sms_outbox', 0)
  or die 'the messages do not go';
is(run_sql($node, 'TABLE evil.used', 'hers'), '', 'nothing of it was used');
is(run_sql($node, 'SELECT pg_catalog.count(*) FROM evil.sms_outbox', 'hers'), 0, 'nor a table of the name');
isnt(run_sql($node, 'SELECT 1::bigint = 1::bigint; TABLE evil.used', 'hers'), 't',
	'... as a superuser uses it without knowing');

# She can set what she likes for her database, but nothing that is the superuser's; and
# what belongs to the extension is not hers.
for my $sql (
	q{ALTER DATABASE hers SET session_preload_libraries = 'auto_explain'},
	'ALTER DATABASE hers SET session_replication_role = replica',
	q{ALTER DATABASE hers SET log_statement = 'all'},
	'ALTER ROLE postgres SET search_path = evil',
	'ALTER TABLE public.sms_outbox ADD COLUMN x integer',
	'ALTER TABLE public.sms_outbox DISABLE ROW LEVEL SECURITY',
	'CREATE TRIGGER t BEFORE UPDATE ON public.sms_outbox FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
	'CREATE RULE r AS ON UPDATE TO public.sms_outbox DO INSTEAD NOTHING',
	'CREATE POLICY p ON public.sms_outbox USING (true)',
	'CREATE INDEX ON public.sms_outbox (mobile)',
	'CREATE TABLE evil.child () INHERITS (public.sms_outbox)',
	'CREATE TABLE evil.referring (id bigint REFERENCES public.sms_outbox)',
	q{ALTER TYPE public.sms_status RENAME VALUE 'sent' TO 'gone'},
	'CREATE CAST (public.sms_status AS text) WITH INOUT AS IMPLICIT',
	'CREATE CAST (smallint AS text) WITH INOUT AS IMPLICIT',
	'CREATE OR REPLACE FUNCTION public.sms3300_outbox_insert() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN END $$',
	'ALTER FUNCTION public.sms3300_adopt() OWNER TO mallory',
	'GRANT EXECUTE ON FUNCTION public.sms3300_adopt() TO PUBLIC; SELECT public.sms3300_adopt()',
	'GRANT UPDATE ON public.sms_outbox TO mallory; UPDATE public.sms_outbox SET priority = 1',
	'ALTER EXTENSION sms3300 DROP TABLE public.sms_outbox',
	'DROP EXTENSION sms3300',
	q{ALTER SERVER sms3300 OPTIONS (SET url 'http://127.0.0.1/')},
	'CREATE SERVER another FOREIGN DATA WRAPPER sms3300',
	q{ALTER USER MAPPING FOR PUBLIC SERVER sms3300 OPTIONS (SET password 'x')},
	'TABLE pg_catalog.pg_user_mapping')
{
	may('mallory', "SET search_path = pg_catalog; $sql", 42501, $sql);
}

# ---------------------------------------------------------------------------
# The owner of the table
# ---------------------------------------------------------------------------

run_sql($node, <<'END');
CREATE ROLE owner LOGIN;
CREATE ROLE caller LOGIN;
CREATE DATABASE theirs;
END
create_account($node, 'theirs', %account);
run_sql($node, <<'END', 'theirs');
GRANT USAGE ON FOREIGN SERVER sms3300 TO owner, caller;
GRANT CREATE ON SCHEMA public TO owner;
ALTER TABLE sms_outbox OWNER TO owner;
END

# What he puts on it is run by the worker with his rights; whatever he tries there, he
# gets no others.
run_as($node, 'owner', <<'END', 'theirs');
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
CREATE RULE also AS ON UPDATE TO sms_outbox DO ALSO SELECT try('ALTER ROLE owner CREATEDB');
END
my $id = run_as($node, 'caller', "SELECT sms3300_send('$number', 'with their rights')", 'theirs');
wait_for_status($id, 'sent', 'theirs');
is(run_sql($node, q{SELECT DISTINCT by_user FROM tried WHERE by_user <> 'caller'}, 'theirs'), 'owner',
	'what the owner puts on the table is run as him');
is(run_sql($node, 'SELECT count(DISTINCT what) FROM tried', 'theirs'), 13, '... all of it');
is(run_sql($node, q{SELECT DISTINCT what, result FROM tried WHERE result <> '42501'}, 'theirs'), '',
	'... and gets no other rights');

# Nor by putting it off until the commit, when the worker is itself again.
run_as($node, 'owner', <<'END', 'theirs');
DROP RULE also ON sms_outbox;
CREATE OR REPLACE FUNCTION on_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN SET CONSTRAINTS ALL DEFERRED; RETURN NEW; END $$;
END
$id = run_as($node, 'caller', "SELECT sms3300_send('$number', 'put off')", 'theirs');
wait_for_status($id, 'sent', 'theirs');
is(run_sql($node, q{SELECT DISTINCT by_user FROM tried WHERE by_user <> 'caller'}, 'theirs'), 'owner',
	'... nor at the commit');
is(run_sql($node, q{SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = 'owner'}), 'f|f|f',
	'the owner of the table has the rights that he had');
run_as($node, 'owner', 'DROP FUNCTION on_update, at_commit, is_good CASCADE', 'theirs');

# A column that is no longer what it was: an error that says so, and nothing is sent
# until it is again.
run_as($node, 'owner', 'DROP TRIGGER sms3300_update ON sms_outbox', 'theirs');
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
	run_sql($node, q{ALTER SERVER sms3300 OPTIONS (ADD paused 'true')}, 'theirs');
	$id = queue("before $alter", 'theirs');
	is(run_as($node, 'owner', "ALTER TABLE sms_outbox $alter", 'theirs'), '', $alter);
	for my $sql ("INSERT INTO sms_outbox (mobile, message) VALUES ('$number', 'x')",
		"SELECT sms3300_send('$number', 'x')", "SELECT sms3300_explain($id)", "SELECT sms3300_cancel($id)")
	{
		my (undef, undef, $error) = $node->psql('theirs', $sql);
		like($error, qr/ERROR:  \Q$expected\E/, "... $sql");
	}
	run_sql($node, q{ALTER SERVER sms3300 OPTIONS (DROP paused)}, 'theirs');
	wait_for_sql($node, 'theirs',
		q{SELECT last_error FROM sms3300_stat_worker WHERE datname = 'theirs'}, $expected);
	run_as($node, 'owner', "ALTER TABLE sms_outbox $undo", 'theirs');
	wait_for_status($id, 'sent', 'theirs');
}
my $said = () = slurp_file($node->logfile) =~ /transaction on sms_outbox failed: column/g;
cmp_ok($said, '<', 100, 'the log is not flooded');
is(run_as($node, 'owner', 'ALTER TABLE sms_outbox ADD mine text', 'theirs'), '', 'a column of his own does no harm');
wait_for_status(queue('beside his own column', 'theirs'), 'sent', 'theirs');

# Something else in the place of the table.
run_as($node, 'owner', <<'END', 'theirs');
ALTER TABLE sms_outbox RENAME TO moved;
CREATE VIEW sms_outbox AS SELECT * FROM moved;
END
is(run_as($node, 'postgres', "SELECT sms3300_send('$number', 'x')", 'theirs'), 42809, 'a view in its place');
run_as($node, 'owner', 'DROP VIEW sms_outbox', 'theirs');
is(run_as($node, 'postgres', "SELECT sms3300_send('$number', 'x')", 'theirs'), '42P01', 'nothing in its place');
run_as($node, 'owner', 'ALTER TABLE moved RENAME TO sms_outbox', 'theirs');
wait_for_status(queue('back in its place', 'theirs'), 'sent', 'theirs');

# Nulls where there are none: without the constraints, in a child, or by a rule.
my @never_null = qw(mobile account send_after send_before sender status attempts errors origin);
run_as($node, 'owner',
	'ALTER TABLE sms_outbox ' . join(', ', map { "ALTER $_ DROP NOT NULL" } @never_null), 'theirs');
run_sql($node, q{ALTER SERVER sms3300 OPTIONS (ADD paused 'true')}, 'theirs');
my %null = map { $_ => queue("null $_", 'theirs') } @never_null;
run_as($node, 'owner', "UPDATE sms_outbox SET $_ = NULL WHERE id = $null{$_}", 'theirs') for @never_null;
my $orphan = queue('of a dead worker', 'theirs');
run_as($node, 'owner', <<"END", 'theirs');
UPDATE sms_outbox SET status = 'sending', account = NULL, sender = NULL, attempts = NULL WHERE id = $orphan;
INSERT INTO sms_outbox (mobile, message) VALUES ('$number', 'over');
UPDATE sms_outbox SET send_before = now(), account = NULL, sender = NULL WHERE message = 'over';
END
$node->restart;
run_sql($node, q{ALTER SERVER sms3300 OPTIONS (DROP paused)}, 'theirs');
wait_for_status($orphan, 'unknown', 'theirs');
wait_for_status($null{$_}, 'sent', 'theirs') for qw(sender send_after attempts errors);
wait_for_sql($node, 'theirs', q{SELECT status FROM sms_outbox WHERE message = 'over'}, 'expired');
wait_for_sql($node, 'theirs', "SELECT error LIKE '%no recipient%' FROM sms_outbox WHERE id = $null{mobile}");
$node->psql('theirs', "SELECT sms3300_explain($_); SELECT sms3300_resend($_); SELECT sms3300_cancel($_)",
	on_error_stop => 0)
  for values %null;
run_as($node, 'owner', "DELETE FROM sms_outbox WHERE message LIKE 'null%'", 'theirs');

run_as($node, 'owner', <<'END', 'theirs');
CREATE TABLE child () INHERITS (sms_outbox);
INSERT INTO child (id, mobile, message, account, send_before, status, due_at, origin)
	SELECT -1, mobile, 'of a child', account, 'infinity', 'queued', now(), origin
	FROM sms_outbox WHERE message = 'beside his own column';
END
wait_for_status(queue('beside a child', 'theirs'), 'sent', 'theirs');
wait_for_status(-1, 'sent', 'theirs');
run_as($node, 'owner', <<'END', 'theirs');
DROP TABLE child;
CREATE RULE nulls AS ON UPDATE TO sms_outbox DO INSTEAD
	UPDATE tried SET what = 'rule'
	RETURNING NULL::bigint, NULL, NULL, NULL, NULL, NULL::smallint, NULL::integer, NULL::name, NULL::smallint,
		NULL::timestamptz, NULL::timestamptz, NULL, NULL::jsonb, NULL::name, NULL::timestamptz, NULL::sms_status,
		NULL::smallint, NULL::timestamptz, NULL::timestamptz, NULL::timestamptz, NULL::smallint, NULL::integer,
		NULL::bigint, NULL, NULL::jsonb, NULL, NULL::jsonb, NULL::bigint, NULL;
END
$id = queue('by a rule', 'theirs');
wait_for_sql($node, 'theirs', q{SELECT count(*) > 0 FROM tried WHERE what = 'rule'});
run_as($node, 'owner', 'DROP RULE nulls ON sms_outbox', 'theirs');
wait_for_status($id, 'sent', 'theirs');

unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC|TRAP/, 'no process crashed');
my %times;
$times{ $_->{fields}{message} }++ for grep { $_->{fields}{message} ne '#status 27' } $gateway->log;
is_deeply([ grep { $times{$_} > 1 } sort keys %times ], [], 'each message was sent once');
$node->stop;
done_testing();
