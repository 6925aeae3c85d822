
# The password appears only in its user mapping or file, whatever happens to a message and
# whatever the server logs. Numbers and texts do not appear in the worker's log lines, its
# statements or the process list either.

use strict;
use warnings;
use utf8;

use Encode     qw(decode encode);
use JSON::PP   qw(encode_json);
use Mojo::Util qw(url_escape);
use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

# A password that is written differently in each place.
my $secret  = q(Zr"7&x' +é<w\\9%q);
my $line    = '983000330000';
my $number  = '09123456789';
my $text    = 'Text of nobody';
my $gateway = new_gateway();
my $node    = new_node('main', conf => <<'END');
shared_preload_libraries = 'sms3300, pg_stat_statements, auto_explain'
log_line_prefix = '%m [%p] %b: '
log_min_messages = debug5
log_statement = all
log_min_error_statement = debug5
log_min_duration_statement = 0
log_parameter_max_length = -1
log_parameter_max_length_on_error = -1
log_error_verbosity = verbose
debug_print_parse = on
debug_print_rewritten = on
debug_print_plan = on
track_activities = on
pg_stat_statements.track = all
auto_explain.log_min_duration = 0
auto_explain.log_nested_statements = on
auto_explain.log_verbose = on
auto_explain.log_level = log
END

# All that a secret is looked for as.
sub spellings
{
	my ($password) = @_;
	my $json = substr encode_json([$password]), 2, -2;
	my $html = $password =~ s/&/&amp;/gr =~ s/</&lt;/gr =~ s/"/&quot;/gr =~ s/'/&#39;/gr;
	my $url  = url_escape(encode('UTF-8', $password));
	return (
		encode('UTF-8', $password), $json, encode('UTF-8', $html), $url,
		$url =~ s/(%..)/lc $1/ger, $url =~ s/%20/+/gr, $json =~ s/\xC3\xA9/\\u00e9/r);
}

# Expect that a secret is not in a text of bytes, as a literal neither.
sub hidden
{
	my ($bytes, $what) = @_;
	is_deeply([ grep { index($bytes, $_) >= 0 } spellings($secret), encode('UTF-8', quote($secret)) ], [], $what);
	return;
}

# The content of the table.
sub table
{
	return encode('UTF-8', run_sql($node, 'SELECT sms_outbox FROM sms_outbox'));
}

# Run SQL without its statements in the log, as a DBA has to set a mapping.
sub run_unlogged
{
	my ($sql, %option) = @_;
	return $node->psql('postgres', encode('UTF-8', <<"END"), %option);
SET log_statement = none;
SET log_min_duration_statement = -1;
SET log_min_messages = warning;
SET pg_stat_statements.track_utility = off;
SET debug_print_parse = off;
SET debug_print_rewritten = off;
SET debug_print_plan = off;
SET log_min_error_statement = error;
$sql;
END
}

run_sql($node, 'CREATE EXTENSION sms3300; CREATE EXTENSION pg_stat_statements');
run_sql($node, 'CREATE SERVER sms3300 FOREIGN DATA WRAPPER sms3300 OPTIONS (line \'983000330000\', url '
	  . quote($gateway->url) . ')');
run_sql($node, 'CREATE ROLE plain LOGIN; GRANT USAGE ON FOREIGN SERVER sms3300 TO plain');
my $given = '(username \'user\', password ' . quote($secret) . ')';
is((run_unlogged("CREATE USER MAPPING FOR PUBLIC SERVER sms3300 OPTIONS $given"))[0], 0, 'a mapping');

# A mapping that is refused leaves its statement out of the log, here by default settings.
for my $options ("(usrname 'user', password " . quote($secret) . ')',
	'(username \'user\', password_file ' . quote($secret) . ')',
	'(password ' . quote($secret) . ')')
{
	my ($status, undef, $stderr) =
	  run_unlogged("CREATE USER MAPPING FOR plain SERVER sms3300 OPTIONS $options");
	isnt($status, 0, 'a mapping that is refused');
}
isnt((run_unlogged('CREATE SERVER other FOREIGN DATA WRAPPER sms3300 OPTIONS ' . $given))[0], 0,
	'a server that is refused');
isnt((run_unlogged('DO $$ BEGIN CREATE USER MAPPING FOR plain SERVER sms3300 OPTIONS (password '
		  . quote($secret) . '); END $$'))[0], 0, 'a mapping that is refused in a function');
hidden(slurp_file($node->logfile), 'the password is not in the log');

# Replies that repeat it in every way, and whatever else happens to messages.
my @written = map { decode('UTF-8', $_) } spellings($secret);
my @modes   = (
	'#json ' . decode('UTF-8', encode_json({ status => 27, msg => $secret, more => [@written] })),
	"#json {\"status\": 18, \"broken off\": @written",
	"#http 401 body=username=user&password=$written[3]&mobile=1",
	"#http 500 body=<p>@written</p>",
	map { "#$_" } qw(reset close hang half garbage empty html endless ok));
run_sql($node, 'ALTER SERVER sms3300 OPTIONS (ADD timeout \'1 s\')');
for my $mode (@modes)
{
	$gateway->mode($mode);
	my ($status, $stdout, $stderr) =
	  $node->psql('postgres', "SELECT sms3300_send_now('$number', '$text')");
	hidden("$stdout$stderr", 'send_now: ' . substr $mode, 0, 12);

	# A change of the account opens it, if the last message has stopped it.
	run_sql($node, 'ALTER SERVER sms3300 OPTIONS (SET timeout \'1 s\')');
	my $id = run_sql($node, "SELECT sms3300_send('$number', '$text')");
	wait_for_sql($node, 'postgres',
		"SELECT status = 'sent' OR events <> '[]' FROM sms_outbox WHERE id = $id");
	run_sql($node, "UPDATE sms_outbox SET status = 'cancelled', due_at = NULL"
		  . " WHERE id = $id AND status = 'queued'");
}
hidden(table(), 'not in the table');
my ($first, @more) = map { $_->{response} } read_rows($node);
is($first->{msg}, '***', 'a mask stands in its place');
is_deeply($first->{more}, [ ('***') x @written ], 'the password is masked however it is written');

# A trigger that fails, no connection, a bad URL, and a send_now that is cancelled.
run_sql($node, <<'END');
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END';
CREATE TRIGGER fail BEFORE UPDATE ON sms_outbox FOR EACH ROW EXECUTE FUNCTION fail();
END
$gateway->mode('');
run_sql($node, 'ALTER SERVER sms3300 OPTIONS (SET timeout \'1 h\')');
run_sql($node, "SELECT sms3300_send('$number', '$text')");
wait_for_sql($node, 'postgres', 'SELECT status FROM sms_outbox ORDER BY id DESC LIMIT 1', 'sent');
run_sql($node, 'DROP TRIGGER fail ON sms_outbox');
run_sql($node, q{ALTER TABLE sms_outbox ADD CONSTRAINT unsent CHECK (status <> 'sent') NOT VALID});
my $unsent = run_sql($node, "SELECT sms3300_send('$number', '$text')");
wait_for_sql($node, 'postgres', q{SELECT last_error LIKE '%violates check%' FROM sms3300_stat_worker});
unlike(run_sql($node, 'SELECT last_error FROM sms3300_stat_worker'), qr/$text|9123456789/,
	'the view of workers shows no number and no text');
run_sql($node, 'ALTER TABLE sms_outbox DROP CONSTRAINT unsent');
wait_for_status($node, $unsent, 'sent');
isnt((run_unlogged('ALTER SERVER sms3300 OPTIONS (SET url \'http://user:' . url_escape($secret)
		  . '@sms.example/\')'))[0], 0, 'a URL with the password');
$gateway->mode('#hang');
my $taken = $gateway->count->{taken};
$node->psql('postgres', "SET statement_timeout = '@{[ scaled_timeout(0.5) ]}'; SELECT sms3300_send_now('$number', '$text')");
run_sql($node, "SELECT sms3300_send('$number', '$text')");
$gateway->wait_for_taken($taken + 2);
my $processes = join '', map { eval { slurp_file($_) } // '' } glob '/proc/[0-9]*/cmdline';
hidden($processes, 'not in the process list');
unlike($processes =~ s/[^\0]*sms3300_send.*?\0//gr, qr/$text|$number/, 'pg_stat_activity has no number and no text');
my $activity = "SELECT backend_type, query FROM pg_stat_activity WHERE backend_type LIKE 'sms3300%'";
unlike(run_sql($node, $activity), qr/$text|9123456789/, 'the worker shows no number and no text');
hidden(encode('UTF-8', run_sql($node, 'SELECT a FROM pg_stat_activity AS a')), 'not in pg_stat_activity');
$gateway->stop;
wait_for_end($node);
$node->psql('postgres', "SELECT sms3300_send_now('$number', '$text')");

hidden(table(), 'not in the table, still');
hidden(encode('UTF-8', run_sql($node, 'SELECT s FROM pg_stat_statements AS s')), 'not in pg_stat_statements');
my @catalogs = split /\n/, run_sql($node, <<'END');
SELECT oid::regclass FROM pg_class
WHERE relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
	AND relkind IN ('r', 'v') AND has_table_privilege('plain', oid, 'SELECT')
END
my (undef, $seen) = run_unlogged(join("\n", 'SET ROLE plain;', map { "SELECT t FROM $_ AS t;" } @catalogs),
	on_error_stop => 0);
like($seen, qr/sms_outbox.*983000330000/s, 'what a role reads in the catalogs ...');
hidden($seen, 'what others see does not have the password');
my $log = slurp_file($node->logfile);
hidden($log, 'not in the log');
my @lines = $log =~ /^[^\t\n]*\] sms3300 worker: .*(?:\n\t.*)*/mg;
is(scalar(grep { /violates check constraint/ } @lines) > 0, 1, 'the worker logs a row that cannot be written');
is_deeply([ grep { /$text|9123456789/ } @lines ], [], 'no line of the log has a number or a text');

$node->stop;
done_testing();
