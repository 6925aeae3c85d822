
# The examples of doc/delivery.md, as they are there: programs that listen, and a trigger that
# writes back to another table. A program whose library cannot be had is left out.

use strict;
use warnings;

use IPC::Run qw(run start);
use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main');
create_account($node, 'postgres', url => $gateway->url, line => '983000330000', notify => 'sms');

local $ENV{PGHOST}     = $node->host;
local $ENV{PGPORT}     = $node->port;
local $ENV{PGDATABASE} = 'postgres';
local $ENV{PGUSER}     = run_sql($node, 'SELECT current_user');

# Write the only example in a language to a file.
sub example
{
	my ($language) = @_;
	my ($code, @more) = read_document('doc/delivery.md') =~ /^```\Q$language\E\n(.*?)^```/msg;
	die "doc/delivery.md does not have exactly one example in $language\n" if !defined $code || @more;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/listen.$language";
	append_to_file($file, $code);
	return $file;
}

# Test that a program prints what was finished before it listens, and what is finished then.
sub hears
{
	my ($name, @command) = @_;
	my $before  = mark($node);
	my $output  = '';
	my $program = start(\@command, '<', \undef, '>', \$output, '2>&1');
	my $pump    = sub { $program->pump_nb; return $output };
	wait_until(sub { $pump->() =~ /^before $before sent$/m }, "$name to print what was before", $pump);
	my @ids = (mark($node), queue_until($node, 'rejected', '#status 1'));
	wait_until(sub { $pump->() =~ /^$ids[1] rejected$/m }, "$name to print what it hears", $pump);
	like($output, qr/^$ids[0] sent$/m, "$name hears what is finished");
	$program->kill_kill;
	return;
}

SKIP:
{
	my ($python) = grep { run([ $_, '-c', 'import psycopg' ], '>', \my $out, '2>', \my $error) }
	  grep { -x } qw(/usr/bin/python3 /usr/local/bin/python3);
	skip 'no psycopg', 1 unless defined $python;
	hears('psycopg', $python, example('python'));
}

SKIP:
{
	my $modules = "$PostgreSQL::Test::Utils::tmp_check/npm";
	skip 'no node-pg', 1
	  unless eval {
		run([ qw(npm install --silent --no-audit --no-fund --ignore-scripts --prefix), $modules, 'pg@8' ],
			'>', \my $out, '2>&1');
	  };
	local $ENV{NODE_PATH} = "$modules/node_modules";
	hears('node-pg', 'node', example('js'));
}

# The trigger: an order is told of together with its message, and only of success.
run_sql($node, 'CREATE TABLE orders (id int PRIMARY KEY, status text);'
	  . " INSERT INTO orders VALUES (17, 'shipped'), (18, 'shipped')");
run_sql($node, sql_block_of_owner('tell_order'));
queue_until($node, 'sent', 'hello', metadata => '{"order": 17}');
queue_until($node, 'rejected', '#status 1', metadata => '{"order": 18}');
is(run_sql($node, 'SELECT * FROM orders ORDER BY id'), "17|customer told\n18|shipped",
	'the trigger writes back to the order');

# Return the block for the table's owner that has a text in it.
sub sql_block_of_owner
{
	my ($part) = @_;
	my ($block) = grep { index($_, $part) >= 0 } sql_blocks('doc/delivery.md', 'owner');
	return $block;
}

done_testing();
