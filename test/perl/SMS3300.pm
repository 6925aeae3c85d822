# What the TAP tests share: servers with the extension, accounts, gateways, messages, waiting.
# A test file looks like this; its name says what it shows, and so does each test's own:
#
#     # A message is sent once, and a bad recipient's message is rejected.
#
#     use strict;
#     use warnings;
#
#     use SMS3300;
#     use Test::More;
#
#     my $gateway = new_gateway();
#     my $node    = new_node('main', conf => "fsync = on\n");
#     create_account($node, 'postgres', url => $gateway->url, line => '983000330000');
#
#     queue_until($node, 'sent', 'hello');
#     is_taken($gateway, 'hello', 1, 'a message is sent once');
#
#     my $bad = queue($node, '#status 1', send_after => \'now() + interval \'1 s\'');
#     wait_for_status($node, $bad, 'rejected');
#     my ($row) = read_rows($node, "id = $bad");
#     is($row->{attempts}, 1, 'a rejected message is not tried again');
#
#     done_testing();
#
# Servers and accounts:
#
#     new_gateway(OPTION => VALUE...)            a gateway: see SMS3300::Gateway
#     new_node($name, OPTION => VALUE...)        a server
#     create_account($node, $database, OPTION => VALUE...)
#     alter_account($node, OPTION => VALUE...)   undef drops an option
#     set_setting($node, $name, $value)          until each new session has it
#     worker_pid($node, $database)               '' if no worker serves it
#     wait_for_workers($node, $n, $database)     in all databases, unless one is given
#
# Messages. They are queued with INSERT; a test of sms3300_send calls it. To name messages
# ($which), give an id, a list of ids in brackets, or the text that they have:
#
#     queue($node, $message, OPTION => VALUE...)        returns their ids
#     queue_until_taken($node, $gateway, $message, ...)  the same, and until they are taken
#     queue_until($node, $status, $message, ...)         the same, and until that status
#     mark($node, ...)                           one of a text of its own, until it is sent
#     wait_for_status($node, $which, $status, $database)      all have it
#     wait_for_statuses($node, $which, 'sent 2, unknown 1', $database)
#     wait_for_end($node, $database)             none is queued or being sent
#     statuses($node, $which, $database)         such as 'sent 2, unknown 1'
#     count_rows($node, $condition, $database)
#     read_rows($node, $condition, $database)    as hashes
#     lock_by($node, $sql, @messages)            a session that has locked something, for
#                                                what waits; unlock($session) ends it
#     is_taken($gateway, $message, $times, $name)  tests how often the gateway took a text
#
# SQL, and waiting for other things. A wait that takes too long tells where in the test,
# and shows the rows waited for, what sms3300_explain says of them, and the statistics:
#
#     run_sql($node, $sql, $database)            dies if it fails
#     run_as($node, $role, $sql, $database)      returns the SQLSTATE if it fails
#     wait_for_sql($node, $database, $query, $expected)   't' by default
#     wait_for_log($node, $pattern, $offset)     returns where to look on
#     wait_until($condition, $what)              a function that returns something true

package SMS3300;

use strict;
use warnings;

use Cwd            qw(abs_path);
use Encode         qw(decode encode);
use Exporter       qw(import);
use File::Basename qw(basename dirname);
use JSON::PP       qw(decode_json);
use Scalar::Util   qw(weaken);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use SMS3300::Gateway;
use SMS3300::Wait qw(test_lines wait_until);

our @EXPORT = qw(
  alter_account
  count_rows
  create_account
  is_taken
  lock_by
  mark
  new_gateway
  new_node
  queue
  queue_until
  queue_until_taken
  quote
  read_contents
  read_document
  read_rows
  run_as
  run_sql
  scaled_timeout
  set_setting
  sql_block
  sql_blocks
  statuses
  unlock
  wait_for_end
  wait_for_log
  wait_for_sql
  wait_for_status
  wait_for_statuses
  wait_for_workers
  wait_until
  worker_pid
);

# All servers; and the server, the database and the condition of the rows that are waited
# for, where they are known.
my @nodes;
our @watched;
$SMS3300::Wait::report = \&report;

# The top of the source tree.
my $root = abs_path(dirname(__FILE__) . '/../..');

# Start a gateway; %option are its own. Its log is kept beside the servers' logs.
sub new_gateway
{
	my (%option) = @_;
	my $test = basename($0, '.pl');
	return SMS3300::Gateway->new("$PostgreSQL::Test::Utils::log_path/${test}_gateway", %option);
}

# Start a server that preloads the library. %option: conf is more of the
# configuration (tests run with fsync off otherwise), init a list of what goes to
# the node's own init, install_path where another version of the server is.
sub new_node
{
	my ($name, %option) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name, install_path => $option{install_path});
	$node->init(
		extra => [ '--encoding=UTF8', '--locale=C' ],
		@{ $option{init} // [] });
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'sms3300'\n");
	$node->append_conf('postgresql.conf', $option{conf}) if defined $option{conf};
	$node->start;
	push @nodes, $node;
	weaken($nodes[-1]);
	return $node;
}

# Create an account in a database, and the extension if it is not there. Of %option,
# account is its name (sms3300), username, password and password_file go to the
# mapping for all, and the rest to the server.
sub create_account
{
	my ($node, $database, %option) = @_;
	my $account = delete $option{account} // 'sms3300';
	my %mapping = (username => 'user', password => 'secret');
	for my $name (qw(username password password_file))
	{
		$mapping{$name} = delete $option{$name} if exists $option{$name};
	}
	delete $mapping{password} if defined $mapping{password_file};

	my ($server, $user) = map { option_list($_) } \%option, \%mapping;
	run_sql($node, <<"END", $database);
CREATE EXTENSION IF NOT EXISTS sms3300;
CREATE SERVER "$account" FOREIGN DATA WRAPPER sms3300 $server;
CREATE USER MAPPING FOR PUBLIC SERVER "$account" $user;
END
	return;
}

# Alter an account: each option gets a value, whether it had one or not; undef drops it. Of
# %option, account is the account (sms3300) and database its database (postgres).
sub alter_account
{
	my ($node, %option) = @_;
	my $account  = delete $option{account} // 'sms3300';
	my $database = delete $option{database};
	my $wanted   = join ', ', map { "('$_', " . quote($option{$_}) . ')' } sort keys %option;
	run_sql($node, <<"END", $database);
SELECT format('ALTER SERVER %I OPTIONS (%s)', srvname, string_agg(
	CASE WHEN value IS NULL THEN 'DROP ' || name
		WHEN option_name IS NULL THEN format('ADD %s %L', name, value)
		ELSE format('SET %s %L', name, value) END, ', '))
FROM pg_foreign_server CROSS JOIN (VALUES $wanted) AS w (name, value)
	LEFT JOIN LATERAL pg_options_to_table(srvoptions) ON option_name = name
WHERE srvname = '$account' AND NOT (value IS NULL AND option_name IS NULL)
GROUP BY srvname
\\gexec
END
	return;
}

# Change a setting of the server, which is written as in ALTER SYSTEM, and wait until new
# sessions have it; undef resets it.
sub set_setting
{
	my ($node, $name, $value) = @_;
	my $change = defined $value ? "SET $name = " . quote($value) : "RESET $name";
	my $before = run_sql($node, "ALTER SYSTEM $change; SELECT pg_conf_load_time()", 'template1');
	run_sql($node, 'SELECT pg_reload_conf()', 'template1');
	wait_for_sql($node, 'template1', "SELECT pg_conf_load_time() > '$before'");
	return;
}

# Return the pid of the worker of a database, or of the only one.
sub worker_pid
{
	my ($node, $database) = @_;
	return run_sql($node, 'SELECT pid ' . workers($database), 'template1');
}

# Wait until so many workers serve a database, or all of them.
sub wait_for_workers
{
	my ($node, $n, $database) = @_;
	wait_for_sql($node, 'template1', 'SELECT count(*) ' . workers($database), $n);
	return;
}

# Return the end of a query for workers.
sub workers
{
	my ($database) = @_;
	return "FROM pg_stat_activity WHERE backend_type = 'sms3300 worker'"
	  . (defined $database ? ' AND datname = ' . quote($database) : '');
}

# Write options as SQL does.
sub option_list
{
	my ($option) = @_;
	return '' unless %$option;
	return 'OPTIONS ('
	  . join(', ', map { "$_ " . quote($option->{$_}) } sort keys %$option) . ')';
}

# Return a time-out that is to pass, or not to: so many seconds, or more where a test
# itself is given more than three minutes to wait, since everything is slow there.
sub scaled_timeout
{
	my ($seconds) = @_;
	my $patience = $PostgreSQL::Test::Utils::timeout_default;
	return $seconds * ($patience > 180 ? $patience / 60 : 1) . ' s';
}

# Quote a text for SQL; undef is NULL.
sub quote
{
	my ($text) = @_;
	return 'NULL' unless defined $text;
	return "'" . $text =~ s/'/''/gr . "'";
}

# Run SQL, which may hold any character, and return what it prints; die if it fails.
sub run_sql
{
	my ($node, $sql, $database) = @_;
	my ($status, $out, $error) =
	  $node->psql($database // 'postgres', encode('UTF-8', $sql), on_error_stop => 1);
	die test_lines() . ": $error\n" if $status != 0;
	return $out;
}

# Run SQL as a role, by a session of its own; returns what it prints, or the SQLSTATE.
sub run_as
{
	my ($node, $role, $sql, $database) = @_;
	my ($status, $stdout, $stderr) = $node->psql($database // 'postgres',
		"\\set VERBOSITY sqlstate\n" . encode('UTF-8', $sql),
		extra_params => [ '-U', $role ], on_error_stop => 1);
	return $status == 0 ? $stdout : $stderr =~ s/.*ERROR:  //sr;
}

# Queue a message, or several in one statement, and return their ids, or the first one's.
# $message is a text, a list of texts in brackets, or SQL: \ "'text ' || n". Of %option, n
# is how many of each (1), database is where, role is who, and the rest are columns, whose
# values are texts or SQL, too.
sub queue
{
	my ($node, $message, %option) = @_;
	my $database = delete $option{database};
	my $role     = delete $option{role};
	my $n        = delete $option{n} // 1;
	my %column   = (mobile => '09123456789', %option);
	my @names    = sort keys %column;
	my $names    = join ', ', 'message', @names;
	my $set_role = defined $role ? "SET ROLE $role;" : '';

	my $messages = join ', ', map { as_sql($_) } ref $message eq 'ARRAY' ? @$message : $message;
	my $values   = join ', ', 'unnest(ARRAY[' . $messages . '])', map { as_sql($column{$_}) } @names;
	my @ids = split /\n/, run_sql($node,
		"$set_role INSERT INTO sms_outbox ($names) SELECT $values FROM generate_series(1, $n) AS n RETURNING id",
		$database);
	return wantarray ? @ids : $ids[0];
}

# Write a value for SQL: a text is quoted, a reference is to SQL.
sub as_sql
{
	my ($value) = @_;
	return ref $value ? $$value : quote($value);
}

# Queue messages as queue() does, and wait until the gateway has taken as many.
sub queue_until_taken
{
	my ($node, $gateway, $message, %option) = @_;
	my $taken = $gateway->count->{taken};
	my @ids   = queue($node, $message, %option);
	local @watched = ($node, $option{database}, chosen(\@ids));
	$gateway->wait_for_taken($taken + @ids);
	return wantarray ? @ids : $ids[0];
}

# Queue messages as queue() does, and wait until all of them have a status.
sub queue_until
{
	my ($node, $status, $message, %option) = @_;
	my @ids = queue($node, $message, %option);
	wait_for_status($node, \@ids, $status, $option{database});
	return wantarray ? @ids : $ids[0];
}

# Send a message of a text of its own, and return its id: what was due before it is taken,
# and the worker works. %option is queue()'s.
my $marks = 0;

sub mark
{
	my ($node, %option) = @_;
	return scalar queue_until($node, 'sent', 'mark ' . ++$marks, %option);
}

# Write the condition of messages that are named by an id, a list of ids, or their text.
sub chosen
{
	my ($which) = @_;
	return 'id IN (' . join(', ', @$which) . ')' if ref $which;
	return "id = $which" if $which =~ /\A\d+\z/;
	return 'message = ' . quote($which);
}

# Write the query that returns the statuses of messages, and how many have each.
sub statuses_query
{
	my ($which) = @_;
	return "SELECT string_agg(status || ' ' || n, ', ' ORDER BY status) FROM"
	  . " (SELECT status, count(*) AS n FROM sms_outbox WHERE ${\ chosen($which)} GROUP BY 1) AS s";
}

# Return the statuses of messages, and how many have each.
sub statuses
{
	my ($node, $which, $database) = @_;
	return run_sql($node, statuses_query($which), $database);
}

# Wait until messages have these statuses, so many each.
sub wait_for_statuses
{
	my ($node, $which, $expected, $database) = @_;
	local @watched = ($node, $database, chosen($which));
	wait_for_sql($node, $database, statuses_query($which), $expected);
	return;
}

# Wait until all of the messages, at least one, have a status.
sub wait_for_status
{
	my ($node, $which, $status, $database) = @_;
	local @watched = ($node, $database, chosen($which));
	wait_for_sql($node, $database,
		"SELECT string_agg(DISTINCT status::text, ' ') FROM sms_outbox WHERE ${\ chosen($which)}", $status);
	return;
}

# Return how many rows the outbox has, those of a condition or all.
sub count_rows
{
	my ($node, $where, $database) = @_;
	return run_sql($node, 'SELECT count(*) FROM sms_outbox WHERE ' . ($where // 'true'), $database);
}

# Test how many times a gateway has taken a text.
sub is_taken
{
	my ($gateway, $message, $times, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(scalar $gateway->taken($message), $times, $name // "$message: taken $times times");
}

# Read rows of the outbox, those of a condition or all, as a list of hashes.
sub read_rows
{
	my ($node, $where, $database) = @_;
	my $rows = 'SELECT to_json(o) FROM sms_outbox o WHERE ' . ($where // 'true') . ' ORDER BY id';
	return map { decode_json($_) } split /\n/, run_sql($node, $rows, $database);
}

# Return all that a dump or an upgrade is to bring back: rows, where the numbers are,
# accounts and grants.
sub read_contents
{
	my ($node, $database) = @_;
	return run_sql($node, <<'END', $database);
SELECT to_jsonb(o) FROM sms_outbox AS o ORDER BY id;
SELECT last_value, is_called FROM sms_outbox_id_seq;
SELECT srvname, srvoptions, srvacl FROM pg_foreign_server ORDER BY 1;
SELECT srvname, usename, ARRAY(SELECT unnest(umoptions) ORDER BY 1) FROM pg_user_mappings ORDER BY 1, 2;
END
}

# Return the text of a document of the source tree.
sub read_document
{
	my ($document) = @_;
	return decode('UTF-8', slurp_file("$root/$document"));
}

# Return the blocks of SQL in a document of the source tree; or those that are said to be
# for somewhere else.
sub sql_blocks
{
	my ($document, $where) = @_;
	my $kind = defined $where ? "sql $where" : 'sql';
	return read_document($document) =~ /^```\Q$kind\E\n(.*?)^```/msg;
}

# Return the block of SQL in a document that has a text in it; there has to be just one.
sub sql_block
{
	my ($document, $part) = @_;
	my ($block, @more) = grep { index($_, $part) >= 0 } sql_blocks($document);
	die "$document does not have exactly one block of SQL with: $part\n" if !defined $block || @more;
	return $block;
}

# Lock something in a session of its own while messages wait that are due, and return it,
# its pid and their ids. "%id" in the SQL is the first of them.
sub lock_by
{
	my ($node, $sql, @messages) = @_;
	alter_account($node, paused => 'true');
	my @ids = queue($node, \@messages);
	my $session = $node->background_psql('postgres', on_error_stop => 1);
	my $pid = $session->query_safe('SELECT pg_backend_pid()') =~ s/\s//gr;
	$session->query_safe('BEGIN; ' . $sql =~ s/%id/join ', ', @ids/er);
	alter_account($node, paused => undef);
	return ($session, $pid, @ids);
}

# End what lock_by() began.
sub unlock
{
	my ($session) = @_;
	$session->query_safe('COMMIT');
	$session->quit;
	return;
}

# Wait until a query returns what is expected, and nothing goes wrong. As long as it returns
# other values, such as a falling number, the wait does not take too long.
sub wait_for_sql
{
	my ($node, $database, $query, $expected) = @_;
	$database //= 'postgres';
	$expected //= 't';
	my ($out, $error);
	local @watched = @watched ? @watched : ($node, $database, condition_of($query));
	wait_until(
		sub {
			$node->psql($database, encode('UTF-8', $query), stdout => \$out, stderr => \$error);
			return $out eq $expected && $error eq '';
		},
		sub { "\"$expected\", but got \"$out\" $error from:\n$query" },
		sub { $out });
	return;
}

# Wait until every message of a database has a final status.
sub wait_for_end
{
	my ($node, $database) = @_;
	wait_for_sql($node, $database,
		"SELECT count(*) FROM sms_outbox WHERE status IN ('queued', 'sending')", 0);
	return;
}

# Wait until the server's log, from an offset on, matches a pattern; return where it ends.
sub wait_for_log
{
	my ($node, $pattern, $offset) = @_;
	$offset //= 0;
	my $log;
	local @watched = ($node, 'postgres', undef) unless @watched;
	wait_until(
		sub { ($log = slurp_file($node->logfile, $offset)) =~ $pattern },
		"the server's log to match $pattern");
	return $offset + length $log;
}

# Return the condition of the outbox's rows that a query looks for, if it is about some of
# them whatever their status is.
sub condition_of
{
	my ($query) = @_;
	my ($condition) = $query =~ /\bFROM\s+sms_outbox\s+WHERE\s+([^()]*?)\s*\z/;
	return defined $condition && $condition !~ /status|ORDER/ ? $condition : undef;
}

# Return what may explain why a wait took too long: of the server that is watched, or of
# all, the rows that are watched, or those that have no final status, and the statistics.
sub report
{
	my ($watched, $database, $condition) = @watched;
	$condition //= "status IN ('queued', 'sending')";
	my @queries = (
		"SELECT 'sms_outbox: ' || jsonb_strip_nulls(to_jsonb(o))::text || E'\\n    ' || sms3300_explain(id)"
		  . " FROM sms_outbox AS o WHERE $condition ORDER BY id LIMIT 10",
		map { "SELECT '$_: ' || jsonb_strip_nulls(to_jsonb(v))::text FROM $_ AS v" }
		  qw(sms3300_stat_account sms3300_stat_worker));
	my $report = '';
	for my $node ($watched // grep { defined } @nodes)
	{
		$report .= 'on the server ' . $node->name . ":\n";
		for my $query (@queries)
		{
			my (undef, @output) = $node->psql($database // 'postgres',
				encode('UTF-8', "SET statement_timeout = '10 s'; $query"));
			$report .= "$_\n" for grep { $_ ne '' } @output;
		}
	}
	return $report;
}

1;
