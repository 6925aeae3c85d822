
# Many senders: several application nodes with one database, several databases with one
# gateway account, and clients that share sessions through pgbouncer.

use strict;
use warnings;

use IPC::Run qw(finish start);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => <<'END');
max_connections = 50
sms3300.worker_idle_timeout = 1h
END
my $folder  = PostgreSQL::Test::Utils::tempdir_short();
my %account = (url => $gateway->url, line => '983000330000');

# Return how often each text that matches was taken.
sub taken
{
	my ($pattern) = @_;
	my %times;
	$times{$_}++ for grep { $_ =~ $pattern } map { $_->{fields}{message} } $gateway->log;
	return \%times;
}

# Check that messages came to the gateway once each.
sub is_once
{
	my ($n, $pattern, $what) = @_;
	my $times = taken($pattern);
	is(scalar keys %$times, $n, "$what: each is sent");
	is(scalar(grep { $_ != 1 } values %$times), 0, "$what: none is sent twice");
	return;
}

# Run a script of pgbench in several sessions at once, some times each.
sub run_clients
{
	my ($connection, $clients, $times, $script, @option) = @_;
	my $file = "$folder/script";
	unlink $file;
	append_to_file($file, $script);
	return command_ok(
		[ 'pgbench', '-n', '-c', $clients, '-j', 2, '-t', $times, @option, '-f', $file, $connection ],
		"pgbench @option");
}

# Application nodes, each of which has its own role and its own pace, queue for one
# database. A key that two of them have is each one's own; within one it counts once.
my @nodes = map { "node$_" } 1 .. 3;
create_account($node, 'postgres', %account);
run_sql($node, "CREATE ROLE $_ LOGIN; GRANT USAGE ON FOREIGN SERVER sms3300 TO $_") for @nodes;
my @harness = map {
	my $file = "$folder/$_";
	append_to_file($file, <<"END");
SELECT sms3300_send('09123456789', '$_ ' || :client_id || ' ' || txid_current());
SELECT sms3300_send('09123456789', 'once for $_', dedup_key => 'once');
END
	start [ 'pgbench', '-n', '-c', 4, '-t', 25, '-f', $file, $node->connstr('postgres') . " user=$_" ],
	  '>', '/dev/null', '2>', "$file.err";
} @nodes;
ok(finish($_), 'an application node has queued') for @harness;
wait_for_end($node);
is_once(100, qr/^$_ /,        $_) for @nodes;
is_once(1,   qr/^once for $_/, "$_, with a key") for @nodes;
is(run_sql($node, "SELECT count(DISTINCT (status, sender)) FROM sms_outbox WHERE status = 'sent'"),
	3, 'each node sees to its own');

# Databases with the same account at the gateway. Its limits are each database's own.
for my $database (qw(one two three))
{
	run_sql($node, "CREATE DATABASE $database");
	create_account($node, $database, %account, max_in_flight => 4);
	run_sql($node, "INSERT INTO sms_outbox (mobile, message) SELECT '09123456789', '#hang $database' FROM generate_series(1, 6)",
		$database);
}
my $hanging = sub {
	join ' ', map { "$_:" . (taken(qr/^#hang/)->{"#hang $_"} // 0) } qw(one two three);
};
wait_until(sub { $hanging->() eq 'one:4 two:4 three:4' }, 'four requests of each database');
run_sql($node, "SELECT sms3300_cancel(id) FROM sms_outbox", $_) for qw(one two three);
is(run_sql($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'sms3300 worker'"),
	4, 'a worker for each database');
$gateway->stop;
$gateway->start;
for my $database (qw(one two three))
{
	wait_for_end($node, $database);
	is(run_sql($node, 'SELECT status, count(*) FROM sms_outbox GROUP BY 1 ORDER BY 1', $database),
		"unknown|4\ncancelled|2", "$database: what became of its own");
}

# pgbouncer, in transaction mode, with fewer sessions than clients.
my $program = (grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin')[0];
if (!defined $program)
{
	diag('pgbouncer is not installed: not tested');
	$node->stop;
	done_testing();
	exit;
}
my $port = PostgreSQL::Test::Cluster::get_free_port();
append_to_file("$folder/users", qq("app" "secret"\n));
append_to_file("$folder/pgbouncer.ini", <<"END");
[databases]
postgres = host=@{[ $node->host ]} port=@{[ $node->port ]}
[pgbouncer]
listen_addr =
listen_port = $port
unix_socket_dir = $folder
auth_type = trust
auth_file = $folder/users
pool_mode = transaction
default_pool_size = 3
max_client_conn = 100
ignore_startup_parameters = extra_float_digits
logfile = $PostgreSQL::Test::Utils::log_path/113_pgbouncer.log
END
run_sql($node, 'CREATE ROLE app LOGIN; GRANT USAGE ON FOREIGN SERVER sms3300 TO app');
my $bouncer = start [ $program, '-q', "$folder/pgbouncer.ini" ], '>', '/dev/null', '2>', '/dev/null';
my $pooled  = "host=$folder port=$port dbname=postgres user=app";
wait_until(sub { run_log([ 'psql', '-Xqc', 'SELECT 1', $pooled ]) }, 'pgbouncer');

# Each commit wakes the worker by itself, whosoever session it ran in; a key counts once;
# and a rollback sends nothing. The worker has nothing else to hear of the messages by.
my $before = $gateway->count->{taken};
run_clients($pooled, 10, 20, <<'END', '-M', $_) for qw(simple extended);
BEGIN;
SELECT sms3300_send('09123456789', 'pooled ' || txid_current());
SELECT sms3300_send('09123456789', 'pooled key ' || :client_id, dedup_key => :client_id::text);
END;
BEGIN;
SELECT sms3300_send('09123456789', 'rolled back');
ROLLBACK;
END
$gateway->wait_for_taken($before + 410);
wait_for_end($node);
is_once(400, qr/^pooled \d/,   'behind pgbouncer');
is_once(10,  qr/^pooled key/,  'behind pgbouncer, with a key');
is_once(0,   qr/^rolled back/, 'behind pgbouncer, rolled back');
cmp_ok(run_sql($node, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'"), '<=', 3,
	'the clients share three sessions');

# The account is chosen in the transaction, and nobody else's is touched by that.
my $other = new_gateway();
create_account($node, 'postgres', url => $other->url, line => '983000330000', account => 'other');
run_sql($node, 'GRANT USAGE ON FOREIGN SERVER other TO app');
run_clients($pooled, 10, 10, <<'END', '-M', 'extended');
BEGIN;
SET LOCAL sms3300.account = 'other';
SELECT sms3300_send('09123456789', 'chosen');
END;
SELECT sms3300_send('09123456789', 'default');
END
wait_for_end($node);
is(run_sql($node, "SELECT account, message, status, count(*) FROM sms_outbox WHERE message IN ('chosen', 'default')"
	  . ' GROUP BY 1, 2, 3 ORDER BY 1'),
	"other|chosen|sent|100\nsms3300|default|sent|100", 'SET LOCAL sms3300.account');

$bouncer->kill_kill;
$node->stop;
done_testing();
