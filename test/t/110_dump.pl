
# Dumps in all ways in which they are made and restored, and copied and renamed databases.
# Everything is restored, queued messages are not sent until they are adopted, and no
# message is sent twice unless the original database still sends the adopted ones.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 0\n");
my $folder  = "$PostgreSQL::Test::Utils::tmp_check/dumps";
mkdir $folder or die "could not create $folder: $!";

# Send a message by itself: what was there before has been claimed then, if it ever
# will be. Its number tells where the sequence is.
my $marks = 0;
sub mark_in
{
	my ($database, $on) = @_;
	my $id = run_sql($on // $node, "SELECT sms3300_send('09123456789', 'mark @{[ ++$marks ]}')", $database);
	wait_for_status($on // $node, $id, 'sent', $database);
	return $id;
}

# Do something with a database that its worker must have left.
sub without_worker
{
	my ($sql) = @_;
	wait_until(sub { $node->psql('template1', $sql) == 0 }, $sql);
	return;
}

# Run a program on the server's databases.
sub run_program
{
	my (@command) = @_;
	return $node->command_ok(\@command, join ' ', map { s/\Q$folder\E\///r } @command);
}

# Dump the original into a file or folder.
sub dump_original
{
	my ($file, @option) = @_;
	return run_program('pg_dump', @option, '-f', "$folder/$file", 'original');
}

# The original: messages of each status. It is paused, with some queued, for now and for
# later; one is on the wire.
run_sql($node, <<'END', 'template1');
CREATE ROLE app LOGIN;
CREATE DATABASE original;
END
create_account($node, 'original', url => $gateway->url, line => '983000330000', timeout => '1 h',
	paused => 'false');
run_sql($node, <<'END', 'original');
GRANT USAGE ON FOREIGN SERVER sms3300 TO app;
CREATE USER MAPPING FOR app SERVER sms3300 OPTIONS (username 'app', password 'its own');
SET ROLE app;
SELECT sms3300_send('09123456789', 'سلام', line2 => '983000330001', dedup_key => 'once',
	metadata => '{"order": 17}');
SELECT sms3300_send('09123456789', '#status 27', priority => 9);
SELECT sms3300_send('09123456789', '#http 500', send_before => 'infinity');
SELECT sms3300_cancel(sms3300_send('09123456789', 'cancelled', send_after => now() + interval '1 h'));
SELECT sms3300_send('09123456789', '#status 15', type => 2);
END
wait_for_sql($node, 'original',
	"SELECT count(*) FROM sms_outbox WHERE started_at IS NOT NULL AND status <> 'sending'", 4);
run_sql($node, "SELECT sms3300_send('09123456789', '#hang')", 'original');
$gateway->wait_for_taken(5);
run_sql($node, <<'END', 'original');
ALTER SERVER sms3300 OPTIONS (SET paused 'true');
UPDATE sms_outbox SET due_at = 'infinity' WHERE message = '#status 15';
SET ROLE app;
SELECT sms3300_send('09123456789', 'queued') FROM generate_series(1, 3);
SELECT sms3300_send('09123456789', 'later', send_after => now() + interval '1 day', dedup_key => 'later');
END
run_sql($node, "INSERT INTO sms_opt_out (mobile, line, since) VALUES ('09120000001', NULL, '2026-01-01'), ('09120000001', '983000330000', now())",
	'original');
my $opted_out = 'SELECT to_jsonb(o) FROM sms_opt_out AS o ORDER BY mobile, line';
my $entries   = run_sql($node, $opted_out, 'original');
my $original  = read_contents($node, 'original');
my $last     = run_sql($node, 'SELECT max(id) FROM sms_outbox', 'original');
my $queued   = 0;

# Check a database that is to have come back, and is silent; and that it sends what it
# adopts.
sub is_back
{
	my ($what, $database, $on) = @_;
	$on //= $node;
	is(read_contents($on, $database), $original, "$what: everything is back");
	is(run_sql($on, $opted_out, $database), $entries, "$what: who has opted out is back");
	alter_account($on, database => $database, paused => 'false');
	is(mark_in($database, $on), $last + 1, "$what: the next number");
	is_taken($gateway, 'queued', $queued, "$what: what is queued is not sent");
	is(run_sql($on, 'SELECT sms3300_adopt()', $database), 6, "$what: adopted");
	wait_for_sql($on, $database,
		"SELECT string_agg(DISTINCT status::text, ' ') FROM sms_outbox WHERE message = 'queued'", 'sent');
	$queued += 3;
	is_taken($gateway, 'queued', $queued, "$what: then it is sent, once");
	is(run_sql($on, "SELECT status FROM sms_outbox WHERE message = '#hang'", $database),
		'unknown', "$what: what was on the wire is unknown");
	return;
}

# How a database is dumped, and restored into an empty one.
my %restore = (
	'plain' => sub {
		dump_original('plain.sql');
		run_program('psql', '-Xqv', 'ON_ERROR_STOP=1', '-d', 'copy', '-f', "$folder/plain.sql");
	},
	'plain, as inserts' => sub {
		dump_original('inserts.sql', '--column-inserts');
		run_program('psql', '-Xqv', 'ON_ERROR_STOP=1', '-d', 'copy', '-f', "$folder/inserts.sql");
	},
	'custom' => sub {
		dump_original('custom', '-Fc');
		run_program('pg_restore', '-e', '-d', 'copy', "$folder/custom");
	},
	'directory, in parallel' => sub {
		dump_original('folder', '-Fd', '-j', 2);
		run_program('pg_restore', '-e', '-j', 2, '-d', 'copy', "$folder/folder");
	},
	'by sections' => sub {
		dump_original('sections', '-Fc');
		run_program('pg_restore', '-e', "--section=$_", '-d', 'copy', "$folder/sections")
		  for qw(pre-data data post-data);
	},
	'schema and data apart' => sub {
		dump_original('schema.sql', '--schema-only');
		dump_original('data',       '--data-only', '-Fc');
		run_program('psql', '-Xqv', 'ON_ERROR_STOP=1', '-d', 'copy', '-f', "$folder/schema.sql");
		run_program('pg_restore', '-e', '--data-only', '-d', 'copy', "$folder/data");
	},
	'schema and data apart, plain' => sub {
		dump_original('schema-only.sql', '--schema-only');
		dump_original('data-only.sql',   '--data-only');
		run_program('psql', '-Xqv', 'ON_ERROR_STOP=1', '-d', 'copy', '-f', "$folder/$_") for 'schema-only.sql', 'data-only.sql';
	},
	'into the extension' => sub {
		dump_original('whole', '-Fc');
		run_sql($node, 'CREATE EXTENSION sms3300', 'copy');
		run_program('pg_restore', '-e', '-d', 'copy', "$folder/whole");
	},
	'data, triggers off' => sub {
		dump_original('schema', '--schema-only', '-Fc');
		dump_original('rows',   '--data-only',   '-Fc');
		run_program('pg_restore', '-e', '-d', 'copy', "$folder/schema");
		run_program('pg_restore', '-e', '--data-only', '--disable-triggers', '-d', 'copy', "$folder/rows");
	});
for my $what (sort keys %restore)
{
	run_sql($node, 'CREATE DATABASE copy', 'template1');
	$restore{$what}->();
	is_back($what, 'copy');
	without_worker('DROP DATABASE copy');
}
is(read_contents($node, 'original'), $original, 'the original is as it was');

# A dump omits users' own objects on sms_outbox, but includes objects that refer to it.
run_sql($node, "CREATE DATABASE $_", 'template1') for qw(own copy);
create_account($node, 'own', url => $gateway->url, line => '983000330000', paused => 'true');
run_sql($node, <<'END', 'own');
CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER own AFTER DELETE ON sms_outbox EXECUTE FUNCTION own();
CREATE INDEX own ON sms_outbox (created_at);
CREATE TABLE orders (sms bigint REFERENCES sms_outbox);
INSERT INTO orders SELECT sms3300_send('09123456789', 'own');
END
my $own = "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgname = 'own'), to_regclass('own') IS NOT NULL,"
  . ' EXISTS (SELECT FROM pg_constraint WHERE confrelid = $$sms_outbox$$::regclass),'
  . ' (SELECT count(*) FROM orders JOIN sms_outbox ON id = sms)';
is(run_sql($node, $own, 'own'), 't|t|t|1', 'own: trigger, index, foreign key');
run_program('pg_dump', '-Fc', '-f', "$folder/own", 'own');
run_program('pg_restore', '-e', '-d', 'copy', "$folder/own");
is(run_sql($node, $own, 'copy'), 'f|f|t|1', 'own: the foreign key is back');
without_worker("DROP DATABASE $_") for qw(own copy);

# The whole cluster, into another one, whose databases have the same numbers.
my $other = new_node('other');
run_program('pg_dumpall', '-f', "$folder/all.sql");
$other->psql('template1', slurp_file("$folder/all.sql"), on_error_stop => 0);
is_back('pg_dumpall', 'original', $other);
$other->stop;

# Copies of the database.
$gateway->stop;
$gateway->start;
wait_for_status($node, '#hang', 'unknown', 'original');
for my $strategy (qw(wal_log file_copy))
{
	without_worker("CREATE DATABASE copy TEMPLATE original STRATEGY $strategy");
	alter_account($node, database => 'copy', paused => 'false');
	mark_in('copy');
	is_taken($gateway, 'queued', $queued, "a copy by $strategy is silent");
	is(run_sql($node, 'SELECT sms3300_adopt()', 'copy'), 5, 'a copy is adopted');
	wait_for_sql($node, 'copy', "SELECT count(*) FROM sms_outbox WHERE message = 'queued' AND status = 'sent'", 3);
	$queued += 3;
	is_taken($gateway, 'queued', $queued, 'an adopted copy sends');
	without_worker('DROP DATABASE copy');
}

# A database that is renamed stays what it was, and sends.
dump_original('before', '-Fc');
without_worker('ALTER DATABASE original RENAME TO renamed');
alter_account($node, database => 'renamed', paused => 'false');
wait_for_sql($node, 'renamed', "SELECT count(*) FROM sms_outbox WHERE message = 'queued' AND status = 'sent'", 3);
$queued += 3;
is_taken($gateway, 'queued', $queued, 'a renamed database sends what was queued before');

# The dump of before that comes back into its database, over what was sent since: everything,
# or the rows alone. Then they are no longer the database's own. The database itself is
# recreated last: after that, the dump is another database's anyway.
my %back = (
	'over itself' => sub {
		run_program('pg_restore', '-e', '--clean', '--if-exists', '-d', 'renamed', "$folder/before");
	},
	'rows over themselves' => sub {
		run_sql($node, 'TRUNCATE sms_outbox, sms_opt_out', 'renamed');
		run_program('pg_restore', '-e', '--data-only', '-d', 'renamed', "$folder/before");
	},
	'the database created again'  => sub {
		without_worker('DROP DATABASE renamed');
		run_sql($node, 'CREATE DATABASE renamed', 'template1');
		run_program('pg_restore', '-e', '-d', 'renamed', "$folder/before");
	});
for my $what (sort keys %back)
{
	$back{$what}->();
	alter_account($node, database => 'renamed', paused => 'false');
	is(mark_in('renamed'), $last + 1, "$what: the next number");
	is_taken($gateway, 'queued', $queued, "$what: nothing is sent again");
	is( run_sql($node, "SELECT string_agg(DISTINCT sms3300_explain(id), ' ') FROM sms_outbox WHERE status = 'queued'",
			'renamed'),
		"queued: it was restored or queued in another database and is not sent:"
		  . " sms3300_adopt() takes over all such messages",
		"$what: explained");
}
is(run_sql($node, 'SELECT sms3300_adopt()', 'renamed'), 5, 'adopted');
wait_for_sql($node, 'renamed', "SELECT count(*) FROM sms_outbox WHERE message = 'queued' AND status = 'sent'", 3);
is_taken($gateway, 'queued', $queued + 3, 'what was restored is sent again once it is adopted');

# A dump that is taken while messages are sent.
run_sql($node, 'CREATE DATABASE busy',    'template1');
create_account($node, 'busy', url => $gateway->url, line => '983000330000', max_in_flight => 10);
$gateway->mode('#delay 50');
my $before = $gateway->count->{taken};
run_sql($node, "INSERT INTO sms_outbox (mobile, message) SELECT '09123456789', 'busy ' || i FROM generate_series(1, 400) AS i",
	'busy');
$gateway->wait_for_taken($before + 50);
run_program('pg_dump', '-Fc', '-f', "$folder/busy", 'busy');
$gateway->mode('');
wait_for_end($node, 'busy');
run_sql($node, 'CREATE DATABASE copy', 'template1');
run_program('pg_restore', '-e', '-d', 'copy', "$folder/busy");
mark_in('copy');
my %status = map { split /\|/ } split /\n/,
  run_sql($node, 'SELECT status, count(*) FROM sms_outbox WHERE message LIKE $$busy%$$ GROUP BY 1', 'copy');
is($status{sent} + $status{sending} + $status{queued}, 400, 'while sending: every message is in the dump');
is($gateway->count->{taken}, $before + 401, 'while sending: nothing of it is sent');
run_sql($node, 'SELECT sms3300_adopt()', 'copy');
wait_for_end($node, 'copy');
my %times = (queued => 2, sending => 1, sent => 1);
my %wrong;
$wrong{ $_->{fields}{message} }++ for grep { $_->{fields}{message} =~ /^busy/ } $gateway->log;
$wrong{ $_->{message} } -= $_->{attempts} && $_->{status} eq 'sent' && $_->{origin} ne 0 ? 1 : 0
  for read_rows($node, "message LIKE 'busy%'", 'busy');
is( scalar(grep { $_ } values %wrong), $status{queued}, 'while sending: only what was queued is sent by both');
is( count_rows($node, "status = 'unknown'", 'copy'),
	$status{sending}, 'while sending: what was on the wire is unknown');
without_worker('DROP DATABASE copy');

# The owner of a database who is not a superuser dumps it if the extension's tables are that
# role's, too. Passwords are not in the dump, and all else is restored.
run_sql($node, 'CREATE ROLE keeper LOGIN; CREATE DATABASE kept OWNER keeper;', 'template1');
run_sql($node, 'CREATE DATABASE copy', 'template1');
create_account($node, 'kept', url => $gateway->url, line => '983000330000', paused => 'true');
queue($node, 'kept', database => 'kept');
$node->command_fails_like([ 'pg_dump', '-U', 'keeper', '-f', "$folder/kept", 'kept' ],
	qr/permission denied for table|would be affected by row-level security policy/, 'the owner of the database alone cannot dump the rows of others');
run_sql($node, <<'END', 'kept');
SELECT format('ALTER TABLE %s OWNER TO keeper', c.oid::regclass)
FROM pg_extension, unnest(extconfig) AS u JOIN pg_class AS c ON c.oid = u WHERE extname = 'sms3300' AND relkind = 'r'
\gexec
END
run_program('pg_dump', '-U', 'keeper', '-Fc', '-f', "$folder/kept", 'kept');
run_program('pg_restore', '-e', '-d', 'copy', "$folder/kept");
is(run_sql($node, 'SELECT srvname, umoptions FROM pg_user_mappings', 'copy'), 'sms3300|', 'a mapping is back without its password');
alter_account($node, database => 'copy', paused => undef);
run_sql($node, 'SELECT sms3300_adopt()', 'copy');
wait_for_sql($node, 'copy', "SELECT sms3300_explain(id) ~ 'the user mapping has no credentials' FROM sms_outbox");
run_sql($node, q{ALTER USER MAPPING FOR PUBLIC SERVER sms3300 OPTIONS (ADD username 'user', ADD password 'secret')}, 'copy');
wait_for_status($node, 'kept', 'sent', 'copy');

$node->stop;
done_testing();
