# What the TAP tests share: servers with the extension, accounts, gateways, waiting.
#
#     my $gateway = new_gateway();
#     my $node    = new_node('main', conf => "fsync = on\n");
#     create_account($node, 'postgres', url => $gateway->url, line => '983000330000');
#     run_sql($node, "SELECT sms3300_send('09123456789', 'hello')");
#     wait_for_sql($node, 'postgres', 'SELECT status FROM sms_outbox', 'sent');

package SMS3300;

use strict;
use warnings;

use Cwd            qw(abs_path);
use Encode         qw(decode encode);
use Exporter       qw(import);
use File::Basename qw(basename dirname);
use JSON::PP       qw(decode_json);
use List::Util     qw(max);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SMS3300::Gateway;

our @EXPORT = qw(
  create_account
  new_gateway
  new_node
  quote
  read_contents
  read_document
  read_rows
  run_as
  run_sql
  scaled_timeout
  sql_blocks
  wait_for_end
  wait_for_sql
);

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

# Write options as SQL does.
sub option_list
{
	my ($option) = @_;
	return '' unless %$option;
	return 'OPTIONS ('
	  . join(', ', map { "$_ " . quote($option->{$_}) } sort keys %$option) . ')';
}

# Return a time-out that is to pass, or not to: so many seconds, or more where a test
# itself is given more than a minute to wait, since everything is slow there.
sub scaled_timeout
{
	my ($seconds) = @_;
	return $seconds * max(1, $PostgreSQL::Test::Utils::timeout_default / 60) . ' s';
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
	return $node->safe_psql($database // 'postgres', encode('UTF-8', $sql));
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

# Wait until a query returns what is expected ('t' by default); die if it does not.
sub wait_for_sql
{
	my ($node, $database, $query, $expected) = @_;
	return if $node->poll_query_until($database, $query, $expected // 't');
	my $rows = $node->safe_psql($database,
		"SELECT id, status, attempts, due_at, http_status, api_status, error FROM sms_outbox LIMIT 20");
	die "timed out waiting for: $query\nThe outbox has:\n$rows\n";
}

# Wait until every message of a database has a final status.
sub wait_for_end
{
	my ($node, $database) = @_;
	wait_for_sql($node, $database // 'postgres',
		"SELECT count(*) = 0 FROM sms_outbox WHERE status IN ('queued', 'sending')");
	return;
}

1;
