# Random SQL in databases of several encodings. Whatever the arguments of functions,
# columns and options are, no process crashes, each error has a specific SQLSTATE, and
# messages are still sent afterwards.
#
# RANDOM_STATEMENTS is the number of statements in each database. RANDOM_SEED repeats a
# run.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $statements = $ENV{RANDOM_STATEMENTS} // 800;
my $seed       = $ENV{RANDOM_SEED}       // 1;
my @encodings  = qw(UTF8 SQL_ASCII WIN1256 EUC_JP LATIN1);

my $gateway = new_gateway();
my $node    = new_node('main', conf => <<'END');
log_line_prefix = '%m [%p] %b %e '
log_min_messages = log
log_statement = none
log_min_error_statement = panic
statement_timeout = 5s
END
my @urls = ($gateway->url, $gateway->url, 'http://127.0.0.1:1/', 'http://[::1', 'ftp://x/');

# Values of fields and options. Each is an SQL expression, and some are invalid.
my @texts = (
	q(NULL), q(''), q(' '), q('09123456789'), q('+98 (0) 912 345 6789'), q('983000330000'),
	q('021 91000000'), q('Hello'), q('%s%n%'), q('a=b'), q('\\'), q(E'\n\t\r'), q('"'), q(''''),
	q('{"a": 1}'), q('no_such'), q('hold'), q('resend'), q('15, 100-110'), q('9-1'), q('30s'),
	q('-1 day'), q('infinity'), q('1e400'), q('178000000 years'), q('0.2'), q('1e6'), q('NaN'),
	q('true'), q('/'), q('/dev/null'), q('99999999999999999999'), q(repeat('9', 1000)),
	q(repeat(E'\n', 70000)), q(repeat('x', 1000000)), q(current_setting('sms3300.account')));
my @integers = (
	q(NULL), 0, 1, 2, 3, 9, 10, -1, 32767, 32768, 2147483647, '(-2147483648)', 2147483648,
	q('x'), q('1.5'));
my @ids   = (q(NULL), 0, -1, '9223372036854775807', '9223372036854775808', 1 .. 20);
my @times = (
	q(NULL), q(now()), q(now() - interval '1 hour'), q(now() + interval '1 second'),
	q('infinity'), q('-infinity'), q('4713-01-01 BC'), q('294276-12-31 23:59:59'), q('yesterday'),
	q('x'));
my @json = (
	q(NULL), q('{}'), q('null'), q('[]'), q('{"a": "\u0000"}'), q('"\ud83d"'), q('x'),
	q((repeat('[', 5000) || repeat(']', 5000))::jsonb), q((repeat('[', 100000))::jsonb));
my @accounts = (
	q(NULL), q('sms3300'), q('a1'), q('a2'), q('a3'), q('none'), q(''), q(repeat('a', 100)));

# The type of the caller's columns, and of arguments.
my %type = (
	mobile      => \&text,
	message     => \&text,
	line        => \&text,
	line2       => \&text,
	type        => sub { one_of(@integers) },
	template    => sub { one_of(@integers) },
	account     => sub { one_of(@accounts) },
	priority    => sub { one_of(@integers) },
	send_after  => sub { one_of(@times) },
	send_before => sub { one_of(@times) },
	dedup_key   => \&text,
	metadata    => sub { one_of(@json) });

# Only superusers write these.
my %internal = (
	sender      => sub { one_of(@accounts) },
	status      => sub { one_of(map { "'$_'" } qw(queued sending sent failed unknown x)) },
	attempts    => sub { one_of(@integers) },
	due_at      => sub { one_of(@times) },
	started_at  => sub { one_of(@times) },
	finished_at => sub { one_of(@times) },
	http_status => sub { one_of(@integers) },
	api_status  => sub { one_of(@integers) },
	message_id  => sub { one_of(@ids) },
	sent_line   => \&text,
	response    => sub { one_of(@json) },
	error       => \&text,
	events      => sub { one_of(@json) },
	origin      => sub { one_of(@ids) },
	parts       => sub { one_of(@integers) },
	dedup_released => sub { one_of(qw(NULL true false)) },
	delivery => sub { one_of(qw(NULL 'waiting' 'delivered' 'x')) },
	delivery_code => sub { one_of(@integers) },
	delivery_at   => sub { one_of(@times) });

my @server_options = qw(line line2 type template max_in_flight rate timeout connect_timeout
  validity max_parts max_attempts on_unknown transient_codes account_codes refused_codes paused retention
  redact_after ca_file username no_such);
my @mapping_options = qw(username password password_file url no_such);

# The kinds of statements, each repeated by its weight.
my @kinds = (
	\&call_pure, \&call_pure, \&call_pure, \&send, \&send, \&send, \&send_now, \&insert, \&insert,
	\&insert, \&update, \&call_by_id, \&call_by_id, \&call_other, \&validate, \&server, \&server,
	\&mapping, \&role);

sub one_of { return $_[ rand @_ ] }

# A text, which may be no text at all in the database's encoding.
sub text
{
	return one_of(@texts) if rand() < 0.7;
	my @pieces = map { one_of(
		chr(32 + int rand 95) =~ s/['\\]/_/r,
		'912', '\\xd8\\xb3', '\\xf0\\x9f\\x98\\x80', '\\xe2\\x82\\xac',
		sprintf('\\x%02x', 1 + int rand 255)) } 0 .. rand 30;
	return q(E') . join('', @pieces) . q(');
}

# A valid value, most of the time.
sub mostly
{
	my ($valid, $other) = @_;
	return rand() < 0.7 ? $valid : $other->();
}

# Values for some columns: a hash of the name and the SQL.
sub fields
{
	my ($likely, @names) = @_;
	my %field = map { rand() < $likely ? ($_ => ($type{$_} // $internal{$_})->()) : () } @names;
	$field{mobile}  = mostly(q('09123456789'), \&text);
	$field{message} = mostly(q('Hello'),       \&text);
	$field{line} = mostly(q('983000330000'), \&text) if $field{line} || rand() < 0.5;
	return %field;
}

sub arguments
{
	my %field = @_;
	return join ', ', map { "$_ => $field{$_}" } sort keys %field;
}

sub call_pure
{
	my $function = one_of(qw(sms3300_mobile sms3300_mobile_or_null sms3300_is_mobile sms3300_segments sms3300_preview));
	return "SELECT $function(" . text() . ')';
}

sub send
{
	return 'SELECT sms3300_send(' . arguments(fields(0.2, keys %type)) . ')';
}

sub send_now
{
	my @names = grep { !/priority|send_|dedup|metadata/ } keys %type;
	return 'SELECT sms3300_send_now(' . arguments(fields(0.2, @names)) . ')';
}

sub insert
{
	my %field = fields(0.2, keys %type, rand() < 0.1 ? keys %internal : ());
	my $returning = one_of('', ' RETURNING *', ' ON CONFLICT DO NOTHING');
	return 'INSERT INTO sms_outbox (' . join(', ', sort keys %field) . ') SELECT '
	  . join(', ', map { $field{$_} } sort keys %field)
	  . ' FROM generate_series(1, ' . one_of(0, 1, 1, 1, 3) . ")$returning";
}

sub update
{
	my $column = one_of(keys %type, keys %internal);
	my $value = ($type{$column} // $internal{$column})->();
	return "UPDATE sms_outbox SET $column = $value WHERE id = " . one_of(@ids);
}

sub call_by_id
{
	my $function = one_of(qw(sms3300_cancel sms3300_resend sms3300_explain));
	return "SELECT $function(" . one_of(one_of(@ids), '(SELECT max(id) FROM sms_outbox)') . ')';
}

sub call_other
{
	return one_of(
		'SELECT sms3300_adopt()',
		'SELECT sms3300_stat_reset()',
		'SELECT _sms3300_outbox_insert()',
		'SELECT _sms3300_outbox_update()',
		'SELECT * FROM sms3300_stat_worker',
		'SELECT * FROM sms3300_stat_account',
		'SELECT _sms3300_stat_get_worker(' . one_of(@integers) . ')',
		'SELECT _sms3300_stat_get_account(' . one_of(@accounts) . ')',
		'SELECT * FROM sms_outbox',
		'DELETE FROM sms_outbox WHERE id = ' . one_of(@ids),
		'SET sms3300.account = ' . one_of(qw(DEFAULT a1 '' none)),
		'CREATE TRIGGER other AFTER UPDATE ON sms_outbox EXECUTE FUNCTION sms3300_outbox_'
		  . one_of(qw(insert update)) . '()',
		'DROP TRIGGER IF EXISTS other ON sms_outbox');
}

sub validate
{
	my $catalog = one_of("'pg_foreign_server'::regclass", "'pg_user_mapping'::regclass",
		"'pg_foreign_data_wrapper'::regclass", one_of(@integers));
	my @options = map {
		one_of(text(), 'NULL', "'" . one_of(@server_options, @mapping_options) . "=' || " . text())
	} 0 .. rand 4;
	return "SELECT _sms3300_fdw_validator(ARRAY[" . join(', ', @options) . "]::text[], $catalog)";
}

# An option's value has to be a constant; \gexec runs what this prints. The gateway of
# the default must never be asked.
sub options
{
	my ($actions, @names) = @_;
	my %option = map { (one_of(@names) => undef) } 0 .. rand 3;
	return join ', ', map { one_of(@$actions) . qq("$_" %L) } sort keys %option;
}

sub definition
{
	my ($format) = @_;
	my @values = map { "coalesce(" . text() . ", '')" } $format =~ /%L/g;
	return "SELECT format(\$_\$$format\$_\$, " . join(', ', @values) . ') \gexec';
}

sub server
{
	my $name = one_of(qw(a1 a2 a3));
	my $url  = quote(one_of(@urls));
	return definition(one_of(
		"CREATE SERVER $name FOREIGN DATA WRAPPER sms3300 OPTIONS (url $url, "
		  . options([''], @server_options) . ')',
		"ALTER SERVER $name OPTIONS (" . options([ 'ADD ', 'SET ' ], @server_options) . ')',
		"ALTER SERVER $name OPTIONS (SET url $url, DROP "
		  . one_of(@server_options) . ', ADD no_such %L)',
		"ALTER SERVER $name OPTIONS (DROP " . one_of(@server_options) . ') --%L',
		rand() < 0.2 ? "DROP SERVER $name CASCADE --%L" : "ALTER SERVER $name VERSION %L"));
}

sub mapping
{
	my $server = one_of(qw(sms3300 a1 a2 a3));
	my $user   = one_of(qw(PUBLIC app CURRENT_USER));
	return definition(one_of(
		"CREATE USER MAPPING FOR $user SERVER $server OPTIONS (username 'u', password 'p') --%L",
		"CREATE USER MAPPING FOR $user SERVER $server OPTIONS ("
		  . options([''], @mapping_options) . ')',
		"ALTER USER MAPPING FOR $user SERVER $server OPTIONS ("
		  . options([ 'ADD ', 'SET ' ], @mapping_options) . ')',
		"DROP USER MAPPING FOR app SERVER $server --%L"));
}

sub role
{
	return one_of('SET ROLE app', 'RESET ROLE', 'RESET ROLE');
}

# Run the statements in a database. Returns the SQLSTATEs of errors, with their counts.
sub run_random
{
	my ($database) = @_;
	my $file = "$PostgreSQL::Test::Utils::log_path/random_$database.sql";
	my $script = join '', map { my $sql = one_of(@kinds)->(); $sql =~ /\\gexec$/ ? "$sql\n" : "$sql;\n" }
	  1 .. $statements;
	append_to_file($file, "\\set VERBOSITY verbose\n$script");

	my ($out, $errors);
	my $ended = IPC::Run::run [ 'psql', '-X', '-q', '-A', '-t', '-b', '-o', '/dev/null', '-f', $file,
		'-d', $node->connstr($database) ], '>', \$out, '2>', \$errors;
	ok($ended, "$database: the connection lasted");

	my %count;
	$count{$_}++ for $errors =~ /ERROR:  (\w{5}): /g;
	my @internal = $errors =~ /(ERROR:  XX.*(?:\n(?!psql:).*){0,6})/g;
	is(join("\n", @internal), '', "$database: no error is an internal one");
	return %count;
}

srand $seed;
run_sql($node, 'CREATE ROLE app');
my %errors;
for my $encoding (@encodings)
{
	my $database = lc $encoding;
	run_sql($node, "CREATE DATABASE $database ENCODING $encoding TEMPLATE template0");
	create_account($node, $database, url => $gateway->url, line => '983000330000');
	run_sql($node, 'GRANT USAGE ON FOREIGN SERVER sms3300 TO app', $database);

	my %count = run_random($database);
	$errors{$_} += $count{$_} for keys %count;
	note("$database: ", join ', ', map { "$_ $count{$_}" } sort keys %count);

	# Retention may have deleted them.
	wait_for_sql($node, $database, q{SELECT n_tup_ins > 0 FROM pg_stat_user_tables WHERE relname = 'sms_outbox'}, 't');
	pass("$database: some statements queued messages");
}

# Else the statements were not what they should be.
cmp_ok($errors{$_} // 0, '>', 0, "some errors were $_") for qw(22023 22021 23502 42501 HV00D);

for my $database (map { lc } @encodings)
{
	create_account($node, $database, url => $gateway->url, line => '983000330000', account => 'last');
	run_sql($node, <<'END', $database);
DROP TRIGGER IF EXISTS other ON sms_outbox;
SELECT sms3300_send('09123456789', 'last', account => 'last', priority => 9);
END
	wait_for_sql($node, $database, "SELECT status FROM sms_outbox WHERE account = 'last'", 'sent');
	pass("$database: messages are sent as before");
}

my $log = slurp_file($node->logfile);
unlike($log, qr/TRAP|PANIC|terminated by signal/, 'no process crashed');
unlike($log, qr/ sms3300 (?:worker|launcher) XX/, 'no worker had an internal error');

$node->stop;
done_testing();
