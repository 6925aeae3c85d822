
# The owner of the database creates objects that shadow those of PostgreSQL. Neither the
# worker nor a superuser who installs and uses the extension runs any of them.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
my $number  = '09123456789';
run_sql($node, <<'END');
CREATE ROLE mallory LOGIN;
CREATE DATABASE hers OWNER mallory;
CREATE DATABASE taken OWNER mallory;
END

# Objects in the schema of CREATE EXTENSION that have the names of its own make it fail.
for my $object (
	'TABLE public.sms_outbox (id bigint)',
	'VIEW public.sms_report AS SELECT 1 AS id',
	'SEQUENCE public.sms_outbox_id_seq',
	q{TYPE public.sms_status AS ENUM ('queued')},
	'FUNCTION public.sms3300_mobile(text) RETURNS text LANGUAGE sql RETURN $1',
	'FUNCTION public._sms3300_outbox_insert() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$')
{
	run_as($node, 'mallory', "CREATE $object", 'taken');
	my (undef, undef, $error) = $node->psql('taken', 'CREATE EXTENSION sms3300');
	like($error, qr/ERROR:  .*(?:already exists|is not a member of the extension)/, "not taken over: $object");
	run_sql($node, 'DROP OWNED BY mallory CASCADE; ALTER DATABASE taken OWNER TO mallory;', 'taken');
}
is(run_as($node, 'mallory', 'CREATE EXTENSION sms3300', 'taken'), 42501, 'only superusers install it');

# Objects that could be used instead of PostgreSQL's own; each records the role that runs
# it. Those in the owner's schema, which is first in the database's search_path, shadow
# PostgreSQL's. Those in the extension's schema are better matches than its own.
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
CREATE FUNCTION evil.element(jsonb, integer) RETURNS jsonb LANGUAGE plpgsql
	AS $$ BEGIN PERFORM evil.use('->'); RETURN pg_catalog.jsonb_array_element($1, $2); END $$;
CREATE FUNCTION evil.field(jsonb, text) RETURNS text LANGUAGE plpgsql
	AS $$ BEGIN PERFORM evil.use('->>'); RETURN pg_catalog.jsonb_object_field_text($1, $2); END $$;
CREATE OPERATOR evil.-> (FUNCTION = evil.element, LEFTARG = jsonb, RIGHTARG = integer);
CREATE OPERATOR evil.->> (FUNCTION = evil.field, LEFTARG = jsonb, RIGHTARG = text);
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

# Settings of the owner, and of the superuser who installs the extension.
run_as($node, 'mallory', 'ALTER DATABASE hers SET search_path = evil, pg_catalog, public', 'hers');
run_sql($node, 'SET search_path = pg_catalog; CREATE EXTENSION sms3300 SCHEMA public', 'hers');
$ENV{PGOPTIONS} = '-c search_path=pg_catalog';
create_account($node, 'hers', url => $gateway->url, line => '983000330000');
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

# Neither functions called by a superuser nor the worker use any of them. The statements
# here contain no operators themselves.
$gateway->mode('#status 27');
my $refused = run_sql($node, "SELECT public.sms3300_send('$number', '#status 27')", 'hers');
$node->poll_query_until('hers', "SELECT pg_catalog.starts_with(public.sms3300_explain($refused), 'rejected')")
  or die 'the message is not rejected';
run_sql($node, <<"END", 'hers');
SELECT public.sms3300_send('$number', 'once', dedup_key => 'k');
SELECT public.sms3300_send('$number', 'once', dedup_key => 'k');
SELECT public.sms3300_resend($refused);
SELECT public.sms3300_cancel(public.sms3300_send('$number', 'never', send_after => 'tomorrow'));
SELECT public.sms3300_send('$number', 'over', send_before => pg_catalog.clock_timestamp() + '1 s');
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
is(run_sql($node, 'SELECT pg_catalog.count(*) FROM evil.sms_outbox', 'hers'), 0, 'no message gets into another table of the name');
isnt(run_sql($node, 'SELECT 1::bigint = 1::bigint; TABLE evil.used', 'hers'), 't',
	"a superuser's call runs nothing of the owner's");

# The owner can change settings of the database, except those for superusers. The objects
# of the extension do not belong to the owner.
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
	'CREATE OR REPLACE FUNCTION public._sms3300_outbox_insert() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN END $$',
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
	is(run_as($node, 'mallory', "SET search_path = pg_catalog; $sql", 'hers'), 42501, $sql);
}

# Settings of the database, even those of a superuser, do not affect the worker, which sets
# those that it relies on. Sessions have the usual settings here.
my %fixed = (
	default_transaction_deferrable      => [ 'on',           'off' ],
	default_transaction_isolation       => [ 'serializable', 'read committed' ],
	default_transaction_read_only       => [ 'on',           'off' ],
	exit_on_error                       => [ 'on',           'off' ],
	idle_in_transaction_session_timeout => [ '1ms',          '0' ],
	idle_session_timeout                => [ '1ms',          '0' ],
	lock_timeout                        => [ '1h',           '100ms' ],
	row_security                        => [ 'off',          'on' ],
	search_path                         => [ 'evil',         'pg_catalog, pg_temp' ],
	session_replication_role            => [ 'replica',      'origin' ],
	statement_timeout                   => [ '1ms',          '0' ],
	synchronous_commit                  => [ 'off',          'on' ]);
run_sql($node, 'CREATE DATABASE stubborn OWNER mallory');
for my $name (sort keys %fixed)
{
	is(run_as($node, $name eq 'session_replication_role' ? 'postgres' : 'mallory',
			"ALTER DATABASE stubborn SET $name = '$fixed{$name}[0]'"), '', "set for a database: $name");
}
{
	local $ENV{PGOPTIONS} = join ' ', '-c search_path=public',
	  map { "-c $_=" . $fixed{$_}[1] =~ s/ /\\ /gr } grep { !/lock_timeout|search_path/ } sort keys %fixed;
	my $names = join ', ', map { "'$_'" } sort keys %fixed;
	create_account($node, 'stubborn', url => $gateway->url, line => '983000330000');
	run_sql($node, <<"END", 'stubborn');
CREATE TABLE had (name text, value text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \$\$
BEGIN
	INSERT INTO public.had SELECT n, current_setting(n) FROM unnest(ARRAY[$names]) AS n;
	RETURN NEW;
END \$\$;
CREATE TRIGGER note BEFORE UPDATE ON sms_outbox FOR EACH ROW EXECUTE FUNCTION note();
SELECT sms3300_send('$number', 'x');
END
	wait_for_sql($node, 'stubborn', 'SELECT status FROM sms_outbox', 'sent');
	is(run_sql($node, 'SELECT DISTINCT name, value FROM had ORDER BY 1', 'stubborn'),
		join("\n", map { "$_|$fixed{$_}[1]" } sort keys %fixed), 'the worker\'s own settings');
}

# Dropping the owner's schema drops its contents, and its owner can shadow functions in it.
# So the extension belongs in another schema.
if ($node->pg_version >= 15)
{
	create_account($node, 'taken');
	run_as($node, 'mallory', <<'END', 'taken');
CREATE FUNCTION public.sms3300_send(varchar, varchar) RETURNS bigint LANGUAGE sql AS 'SELECT -1::bigint';
END
	is(run_sql($node, "SELECT sms3300_send('$number'::varchar, 'x'::varchar)", 'taken'), -1,
		'a function of hers in the schema public');
	is(run_as($node, 'mallory', 'DROP SCHEMA public CASCADE', 'taken'), '', 'the schema public is hers to drop');
	is(run_sql($node, q{SELECT count(*) FROM pg_extension WHERE extname = 'sms3300'}, 'taken'), 0,
		'the schema is dropped and the extension with it');
}
run_sql($node, 'CREATE SCHEMA sms; CREATE EXTENSION sms3300 SCHEMA sms', 'taken');
is(run_as($node, 'mallory', $_, 'taken'), 42501, $_)
  for 'DROP SCHEMA sms CASCADE', 'CREATE TABLE sms.t ()', 'ALTER SCHEMA sms RENAME TO public';

unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC/, 'no process crashed');
$node->stop;
done_testing();
