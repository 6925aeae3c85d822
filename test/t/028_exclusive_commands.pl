
# Commands that need a database to themselves while its worker is connected: an idle worker
# leaves at once, a busy one after its current requests. It comes back afterwards.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
my $offset  = -s $node->logfile;

# Create a database with an account, and have an idle worker serve it.
sub create_served
{
	my ($name) = @_;
	run_sql($node, "CREATE DATABASE $name");
	create_account($node, $name, url => $gateway->url, line => '983000330000', timeout => '1 hour');
	queue_until($node, 'sent', "first of $name", database => $name);
	return;
}

# Run a command while a worker is connected, and check that it succeeds and that messages
# are sent from a database afterwards.
sub is_possible
{
	my ($command, $database) = @_;
	ok(eval { run_sql($node, $command, 'template1'); 1 }, $command) or diag $@;
	return if !defined $database;
	queue_until($node, 'sent', "after $command", database => $database);
	return is_taken($gateway, "after $command", 1, "$command: messages are sent after it");
}

# With an idle worker.
my $directory = $node->basedir . '/space';
mkdir $directory or die "could not create $directory: $!";
run_sql($node, "CREATE TABLESPACE space LOCATION '$directory'");
create_served('one');
is_possible('CREATE DATABASE copy TEMPLATE one', 'one');
is_possible('ALTER DATABASE one SET TABLESPACE space', 'one');
is_possible('ALTER DATABASE one RENAME TO two', 'two');
is_possible('DROP DATABASE two');

# A worker leaves after its current requests, and claims nothing more before that.
create_served('busy');
my $held = queue_until_taken($node, $gateway, '#hold', database => 'busy');
my $session = $node->background_psql('template1');
$session->query_until(qr/begun/, "\\echo begun\nALTER DATABASE busy RENAME TO renamed;\n");
wait_for_sql($node, 'template1', "SELECT count(*) FROM pg_stat_activity"
	  . " WHERE query LIKE 'ALTER DATABASE busy%' AND wait_event_type = 'Extension'", 1);
my $waiting = queue($node, 'waits for the command', database => 'busy');
is($gateway->release, 1, 'a request is under way');
$session->quit;
wait_for_status($node, [ $held, $waiting ], 'sent', 'renamed');
is(run_sql($node, "SELECT w.started_at < m.started_at FROM sms3300_stat_worker w, sms_outbox m"
	  . " WHERE datname = 'renamed' AND id = $waiting", 'renamed'),
	't', 'a busy worker claims nothing while a command waits');

# A command that gives up does not hold the messages up.
my $hanging = queue_until_taken($node, $gateway, '#hang', database => 'renamed');
my $pid = worker_pid($node, 'renamed');
is(run_as($node, scalar getpwuid($<), "SET statement_timeout = '1s';\nALTER DATABASE renamed RENAME TO other", 'template1'),
	'57014', 'a command can be cancelled while it waits');
queue_until($node, 'sent', 'after giving up', database => 'renamed');
is(worker_pid($node, 'renamed'), $pid, 'the worker goes on when the command has given up');

# Nor does one that may not.
run_sql($node, 'CREATE ROLE eve LOGIN CREATEDB');
for my $command ('DROP DATABASE renamed', 'ALTER DATABASE renamed RENAME TO hers',
	'ALTER DATABASE renamed SET TABLESPACE pg_default', 'CREATE DATABASE hers TEMPLATE renamed')
{
	is(run_as($node, 'eve', $command, 'template1'), '42501', "$command without the right");
	is(worker_pid($node, 'renamed'), $pid, 'the worker stays');
}

# By force nothing is waited for.
is_possible('DROP DATABASE renamed WITH (FORCE)');

$node->stop;
unlike(slurp_file($node->logfile, $offset), qr/PANIC|was terminated by signal|FATAL: .*does not exist/,
	'no process failed');
done_testing();
