
# Updates of the extension: with messages in the queue and on the wire, from every early
# version to what a new installation is, against roles that prepare objects for the script,
# and while library and extension have different versions. The early versions were never
# released; make install-early installs them.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
my %account = (url => $gateway->url, line => '983000330000');
my $current = run_sql($node, q{SELECT default_version FROM pg_available_extensions WHERE name = 'sms3300'});
run_sql($node, "CREATE DATABASE $_") for qw(fresh hostile);

# Have an early version in a database.
sub create_early
{
	my ($version, $database) = @_;
	run_sql($node, "CREATE EXTENSION sms3300 VERSION '$version'", $database);
	return create_account($node, $database, %account);
}

# Return how often the log has a text.
sub said
{
	my ($text) = @_;
	my $n = () = slurp_file($node->logfile) =~ /\Q$text\E/g;
	return $n;
}

# Everything that the extension consists of, a line each, by name. The search_path
# leaves nothing unqualified that is not PostgreSQL's own.
my $listing = <<'END';
SET search_path = pg_catalog;
CREATE TEMPORARY VIEW member AS
	SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid
	WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'sms3300';
CREATE TEMPORARY VIEW relation AS
	SELECT c.* FROM pg_class c JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid;
CREATE TEMPORARY VIEW line AS
SELECT format('extension %s %s %s %s', extversion, extrelocatable, extnamespace::regnamespace,
	ARRAY(SELECT c.o::regclass || ' ' || c.w FROM unnest(extconfig, extcondition) AS c(o, w) ORDER BY 1)) AS line
FROM pg_extension WHERE extname = 'sms3300'
UNION ALL SELECT format('member %s', pg_describe_object(classid, objid, 0)) FROM member
UNION ALL SELECT format('depends %s on %s %s', pg_describe_object(d.classid, d.objid, d.objsubid),
	pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid), d.deptype)
FROM pg_depend d JOIN member m USING (classid, objid)
UNION ALL SELECT format('relation %s %s %s %s %s %s %s %s %s', oid::regclass, relkind, relpersistence, relowner::regrole,
	relrowsecurity, relforcerowsecurity, ARRAY(SELECT unnest(reloptions) ORDER BY 1), relacl, relreplident) FROM relation
UNION ALL SELECT format('column %s %s %s %s %s %s %s %s %s %s %s %s %s', attrelid::regclass, attnum, attname,
	format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, attstorage, attcompression,
	attstattarget, ARRAY(SELECT o FROM unnest(attoptions) AS o WHERE o LIKE 'n!_distinct%' ESCAPE '!' ORDER BY 1),
	attacl, pg_get_expr(adbin, adrelid))
FROM pg_attribute a JOIN relation r ON r.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attnum > 0
UNION ALL SELECT format('constraint %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(c.oid))
FROM pg_constraint c JOIN relation r ON r.oid = conrelid
UNION ALL SELECT format('index %s %s %s', pg_get_indexdef(indexrelid), indisvalid, indisreplident)
FROM pg_index JOIN relation r ON r.oid = indrelid
UNION ALL SELECT format('statistics %s', pg_get_statisticsobjdef(s.oid))
FROM pg_statistic_ext s JOIN relation r ON r.oid = stxrelid
UNION ALL SELECT format('rule %s', pg_get_ruledef(w.oid))
FROM pg_rewrite w JOIN relation r ON r.oid = ev_class
UNION ALL SELECT format('trigger %s %s', pg_get_triggerdef(t.oid), tgenabled)
FROM pg_trigger t JOIN relation r ON r.oid = tgrelid
UNION ALL SELECT format('policy %s %s %s %s %s %s %s', polrelid::regclass, polname, polcmd, polpermissive,
	polroles::regrole[], pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
FROM pg_policy JOIN relation r ON r.oid = polrelid
UNION ALL SELECT format('view %s %s', oid::regclass, pg_get_viewdef(oid)) FROM relation WHERE relkind = 'v'
UNION ALL SELECT format('sequence %s %s', seqrelid::regclass, to_jsonb(s) - 'seqrelid')
FROM pg_sequence s JOIN relation r ON r.oid = seqrelid
UNION ALL SELECT format('function %s %s %s', pg_get_functiondef(p.oid), proowner::regrole, proacl)
FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
UNION ALL SELECT format('type %s %s %s %s %s', t.oid::regtype, typtype, typowner::regrole, typacl,
	ARRAY(SELECT enumlabel FROM pg_enum WHERE enumtypid = t.oid ORDER BY enumsortorder))
FROM pg_type t JOIN member m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
UNION ALL SELECT format('wrapper %s %s %s %s %s', fdwname, fdwowner::regrole, fdwhandler, fdwvalidator::regprocedure, fdwacl)
FROM pg_foreign_data_wrapper
UNION ALL SELECT format('comment on %s: %s', pg_describe_object(classoid, objoid, objsubid), description)
FROM pg_description d JOIN member m ON m.classid = classoid AND m.objid = objoid
UNION ALL SELECT format('comment on %s: %s', pg_describe_object(classoid, objoid, objsubid), description)
FROM pg_description
WHERE classoid = 'pg_trigger'::regclass AND objoid IN (SELECT t.oid FROM pg_trigger t JOIN relation r ON r.oid = tgrelid)
	OR classoid = 'pg_policy'::regclass AND objoid IN (SELECT p.oid FROM pg_policy p JOIN relation r ON r.oid = polrelid)
	OR classoid = 'pg_extension'::regclass AND objoid = (SELECT oid FROM pg_extension WHERE extname = 'sms3300')
UNION ALL SELECT format('initial rights %s %s %s', pg_describe_object(i.classoid, i.objoid, i.objsubid), privtype, initprivs)
FROM pg_init_privs i JOIN member m ON m.classid = classoid AND m.objid = objoid;
SELECT regexp_replace(line, '\s+', ' ', 'g') FROM line ORDER BY line COLLATE "C";
END

# Return what the extension in a database consists of, perhaps after a change that is
# undone.
sub parts
{
	my ($database, $change) = @_;
	$change //= '';
	return run_sql($node, "BEGIN; $change; $listing; ROLLBACK", $database);
}

# Return the lines that only one of two texts has, each with a sign that says which.
sub differences
{
	my ($had, $has) = @_;
	my %times;
	$times{$_}-- for split /\n/, $had;
	$times{$_}++ for split /\n/, $has;
	return join "\n", map { ($times{$_} > 0 ? '+ ' : '- ') . $_ } grep { $times{$_} } sort keys %times;
}

# The library works with the first version, and says once that there is another.
create_early('1.0', 'postgres');
$node->restart;
my $id = queue($node, 'with the first version');
wait_for_status($node, $id, 'sent');
run_sql($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'sms3300 worker'});
$id = queue($node, 'by another worker');
wait_for_status($node, $id, 'sent');
is(said('ALTER EXTENSION sms3300 UPDATE'), 1, 'an older extension: the log gives the advice');
is(said('in database "postgres" the extension has version 1.0'), 1, 'an older extension: and says where');

# Messages go out before, while and after it is updated; what is there stays as it is.
my $app = run_sql($node, <<'END');
CREATE ROLE app;
GRANT USAGE ON FOREIGN SERVER sms3300 TO app;
SET ROLE app;
SELECT sms3300_send('09123456789', 'another role', dedup_key => 'key', metadata => '{"a": [1]}');
END
wait_for_status($node, $app, 'sent');
my $later  = queue($node, 'later', send_after => \q(now() + '1 day'));
my $kept   = "id IN ($id, $app, $later)";
my @before = read_rows($node, $kept);

my $taken = $gateway->count->{taken};
my $hanging = queue($node, '#hold');
$gateway->wait_for_taken($taken + 1);
my $dba = $node->background_psql('postgres');
$dba->query_safe('BEGIN');
$dba->query_safe('ALTER EXTENSION sms3300 UPDATE');
my $sender = $node->background_psql('postgres');
$sender->query_until(qr/begins/,
	"\\echo begins\nSELECT sms3300_send('09123456789', 'while it is updated');\n");
$gateway->release;
$dba->query_safe('COMMIT');
$dba->quit;
$sender->quit;
wait_for_status($node, 'while it is updated', 'sent');
wait_for_status($node, $hanging, 'sent');
$id = queue($node, 'after it was updated');
wait_for_status($node, $id, 'sent');
# The update renames "errors" and adds columns at the end, which are null.
my @after = read_rows($node, $kept);
for my $row (@after)
{
	$row->{errors} = delete $row->{events};
	is(delete $row->{parts}, undef, 'update: the parts of an earlier message are not known');
	is(delete $row->{dedup_released}, undef, 'update: an earlier message holds its key');
	is_deeply([ delete @$row{qw(delivery delivery_code delivery_at)} ], [ (undef) x 3 ],
		'update: an earlier message is not tracked');
}
is_deeply(\@after, \@before, 'update: the rows are as they were');
is($gateway->count->{taken} - $taken, 3, 'update: each message is sent once');
is(run_sql($node, "SET ROLE app; SELECT string_agg(message, ',') FROM sms_report"), 'another role',
	'update: what is new works');

# Afterwards its catalog entries are those of a new one. 0.1 is 1.0 in its first days.
run_sql($node, 'CREATE EXTENSION sms3300', 'fresh');
my $fresh = parts('fresh');
is(differences(parts('postgres'), $fresh), '', 'an extension updated from 1.0, with messages, is like a new one');
for my $version ('0.1', '1.0', '1.1')
{
	my $database = "from $version";
	run_sql($node, qq{CREATE DATABASE "$database"});
	create_early($version, $database);
	isnt(differences(parts($database), $fresh), '', "$version is not like the current version");
	$id = run_sql($node, "SELECT sms3300_send('09123456789', 'kept $version')", $database);
	wait_for_sql($node, $database, "SELECT status FROM sms_outbox WHERE id = $id", 'sent');
	run_sql($node, "ALTER SERVER sms3300 OPTIONS (ADD deliver_only '09120000000')", $database);
	$id = run_sql($node, "SELECT sms3300_send('09123456789', 'forbidden')", $database);
	wait_for_sql($node, $database, "SELECT status, error FROM sms_outbox WHERE id = $id",
		q{failed|the recipient is not in the account's option "deliver_only"});
	run_sql($node, "ALTER SERVER sms3300 OPTIONS (DROP deliver_only); DELETE FROM sms_outbox WHERE id = $id", $database);
	run_sql($node, 'ALTER EXTENSION sms3300 UPDATE', $database);
	is(differences(parts($database), $fresh), '', "an extension updated from $version is like a new one");
	is(run_sql($node, 'SELECT message, status FROM sms_outbox', $database), "kept $version|sent", "$version: the rows are kept");
	$id = run_sql($node, "SELECT sms3300_send('09123456789', 'after $version')", $database);
	wait_for_sql($node, $database, "SELECT status FROM sms_outbox WHERE id = $id", 'sent');
	run_sql($node, 'DROP EXTENSION sms3300 CASCADE', $database);
}

# So it is in a schema whose name has to be quoted.
my %in_schema = (updated => q{VERSION '0.1'}, created => '');
for my $database (keys %in_schema)
{
	run_sql($node, "CREATE DATABASE $database");
	run_sql($node, <<"END", $database);
CREATE SCHEMA "Text messages";
CREATE EXTENSION sms3300 SCHEMA "Text messages" $in_schema{$database};
ALTER EXTENSION sms3300 UPDATE;
END
}
is(differences(parts('updated'), parts('created')), '', 'in a schema whose name is quoted, too');

for my $change (
	'REVOKE SELECT ON sms_report FROM PUBLIC',
	'REVOKE INSERT (mobile) ON sms_outbox FROM PUBLIC',
	'GRANT EXECUTE ON FUNCTION sms3300_adopt() TO PUBLIC',
	'ALTER FUNCTION sms3300_explain(bigint) VOLATILE',
	'ALTER TABLE sms_outbox ADD CHECK (id > 0)',
	'ALTER TABLE sms_outbox ALTER COLUMN mobile DROP NOT NULL',
	'ALTER TABLE sms_outbox SET (fillfactor = 70)',
	'ALTER TABLE sms_outbox DISABLE TRIGGER sms3300_update',
	'CREATE INDEX ON sms_outbox (created_at)',
	'DROP INDEX sms_outbox_retry_idx',
	'CREATE RULE r AS ON DELETE TO sms_outbox DO INSTEAD NOTHING',
	'CREATE STATISTICS s ON account, status FROM sms_outbox',
	'ALTER TABLE sms_outbox ALTER COLUMN account SET STATISTICS 1000',
	'ALTER TABLE sms_outbox ALTER COLUMN account SET (n_distinct = 7)',
	q{ALTER TABLE sms_outbox ALTER COLUMN status SET DEFAULT 'sending'},
	'ALTER FUNCTION sms3300_cancel(bigint) COST 1',
	'ALTER FUNCTION _sms3300_stat_get_queued(bigint, name) RESET ALL',
	'ALTER TABLE sms_outbox RENAME COLUMN metadata TO meta',
	'ALTER POLICY sms_outbox_own ON sms_outbox USING (true)',
	q{COMMENT ON POLICY sms_outbox_own ON sms_outbox IS ''},
	q{COMMENT ON COLUMN sms_report.id IS 'x'},
	q{ALTER TYPE sms_status RENAME VALUE 'sent' TO 'gone'},
	'ALTER EXTENSION sms3300 DROP VIEW sms_report',
	q{UPDATE pg_extension SET extcondition = NULL, extconfig = NULL WHERE extname = 'sms3300'})
{
	isnt(differences(parts('fresh', $change), $fresh), '', "it would be seen: $change");
}

# Someone who may create objects in the extension's schema gets nothing out of it: the
# script takes over no object, and uses none.
create_early('0.1', 'hostile');
my $bait = <<'END';
CREATE ROLE mallory;
GRANT CREATE ON SCHEMA public TO mallory;
SET ROLE mallory;
CREATE FUNCTION public.yes(sms_status, sms_status) RETURNS boolean LANGUAGE sql RETURN true;
CREATE FUNCTION public.yes(smallint, smallint) RETURNS boolean LANGUAGE sql RETURN true;
CREATE FUNCTION public.left(text, smallint) RETURNS text LANGUAGE sql RETURN 'x';
CREATE FUNCTION public.substr(text, bigint) RETURNS text LANGUAGE sql RETURN 'x';
CREATE FUNCTION public.sms3300_explain(integer) RETURNS text LANGUAGE sql RETURN 'x';
CREATE FUNCTION public.both(text, bpchar) RETURNS text LANGUAGE sql RETURN 'x';
CREATE OPERATOR public.= (FUNCTION = public.yes, LEFTARG = sms_status, RIGHTARG = sms_status);
CREATE OPERATOR public.= (FUNCTION = public.yes, LEFTARG = smallint, RIGHTARG = smallint);
CREATE OPERATOR public.|| (FUNCTION = public.both, LEFTARG = text, RIGHTARG = bpchar);
END
run_sql($node, $bait, 'hostile');
for my $object ('VIEW sms_report AS SELECT 1 AS id', 'FUNCTION _sms3300_report() RETURNS integer LANGUAGE sql RETURN 1')
{
	my ($status, undef, $error) = $node->psql('hostile',
		"BEGIN; SET ROLE mallory; CREATE $object; RESET ROLE; ALTER EXTENSION sms3300 UPDATE",
		on_error_stop => 1);
	like($error, qr/ERROR: .*already exists/, "no object is taken over: $object");
}
run_sql($node, 'ALTER EXTENSION sms3300 UPDATE', 'hostile');
is(differences(parts('hostile'), $fresh), '', 'no object of another is used');

# As if it was updated to a version that this library does not know. What is on the wire
# is recorded, and nothing else is done: nothing is sent, and nothing expires.
sub pretend
{
	my ($version) = @_;
	return run_sql($node, "UPDATE pg_extension SET extversion = '$version' WHERE extname = 'sms3300'");
}
my $mismatch = "the extension has version 1.10 but the loaded library has version $current";

# Wait until a worker has seen that again.
sub wait_for_look
{
	my ($seen) = @_;
	return wait_for_sql($node, 'postgres',
		"SELECT last_error = '$mismatch' AND last_error_at > '$seen' FROM sms3300_stat_worker WHERE datname = 'postgres'");
}
my $now = 'SELECT clock_timestamp()';

$taken   = $gateway->count->{taken};
$hanging = queue($node, '#hold');
$gateway->wait_for_taken($taken + 1);
pretend('1.10');
my $seen = run_sql($node, $now);
my $waiting = queue($node, 'waits for the library');
wait_for_look($seen);
$gateway->release;
wait_for_status($node, $hanging, 'sent');
is(run_sql($node, "SELECT sms3300_explain($waiting)"),
	"queued: nothing is sent, because $mismatch: restart the server", 'a newer extension: explained');
is(run_sql($node, 'SELECT state, reason FROM sms3300_stat_account'), "paused|$mismatch",
	'a newer extension: shown');

# Other workers come to the same, and repeat nothing.
$node->append_conf('postgresql.conf', 'sms3300.worker_idle_timeout = 0');
$node->reload;
wait_for_sql($node, 'postgres', "SELECT pid IS NULL FROM sms3300_stat_worker WHERE datname = 'postgres'");
my $late = queue($node, 'late', send_before => \q(clock_timestamp() + interval $$1 s$$));
for (1 .. 2)
{
	$seen = run_sql($node, $now);
	queue($node, 'wakes a worker');
	wait_for_look($seen);
}
is(said("no messages are sent in database \"postgres\" because $mismatch"), 1, 'a newer extension: said once');
is(run_sql($node, "SELECT status FROM sms_outbox WHERE id = $late"), 'queued', 'a newer extension: nothing expires');
is($gateway->count->{taken} - $taken, 1, 'a newer extension: nothing is sent');

# The worker that found a row of a dead one says what became of it, as always.
pretend($current);
$node->append_conf('postgresql.conf', 'sms3300.worker_idle_timeout = 1h');
$node->reload;
my $orphan = queue($node, '#hang');
wait_for_sql($node, 'postgres', "SELECT count(*) FROM sms_outbox WHERE status = 'queued'", 1);
wait_for_status($node, $orphan, 'sending');
pretend('1.10');
$node->stop('immediate');
$node->start;
wait_for_status($node, $orphan, 'unknown');
$waiting = queue($node, 'waits for the next library');

# Another library, and it goes on.
pretend($current);
$node->restart;
wait_for_status($node, $waiting, 'sent');
my %times;
$times{ $_->{fields}{message} }++ for $gateway->log;
is_deeply([ grep { $times{$_} > 1 } sort keys %times ], [ '#hold', 'wakes a worker' ],
	'each message is sent once');
is($times{'wakes a worker'}, 2, 'messages that woke workers are sent');

$node->stop;
done_testing();
