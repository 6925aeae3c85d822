
# What the README and the documents beside it tell people to type works, in their order;
# the README's queries answer what they say they answer, and its reference has everything.

use strict;
use warnings;

use Encode qw(encode);
use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main');
run_sql($node, 'CREATE ROLE app LOGIN');

# Return the SQL blocks of a document, with an account that sends to the test gateway.
sub blocks
{
	my ($document) = @_;
	my @blocks = sql_blocks($document);
	s/(CREATE SERVER .*? DATA WRAPPER sms3300 OPTIONS \()/$1url '${\ $gateway->url }', / for @blocks;
	return @blocks;
}

# Run the SQL blocks of a document in a new database that has what they speak of, the
# message 123 included.
sub runs
{
	my ($document, $more) = @_;
	my $database = basename_of($document);
	run_sql($node, "CREATE DATABASE $database");
	run_sql($node, <<'END', $database);
CREATE TABLE customers (id int PRIMARY KEY, name text, mobile text);
INSERT INTO customers VALUES (1, 'a', '09123456789'), (2, 'b', '021 3300 3300');
CREATE TABLE orders (id int PRIMARY KEY, mobile text, status text);
END
	create_account($node, $database, url => $gateway->url, line => '983000330000')
	  unless $document =~ /README/;
	my $failed = 0;
	for my $block (blocks($document))
	{
		my ($code, undef, $error) =
		  $node->psql($database, encode('UTF-8', $block), on_error_stop => 1);
		next if $code == 0;
		$failed++;
		diag("$document: $error\n" . encode('UTF-8', $block));
	}
	is($failed, 0, "$document: every statement runs");
	return $database;
}

# Return the name of a document as one of a database.
sub basename_of
{
	my ($document) = @_;
	return lc($document) =~ s/\W+/_/gr;
}

# Return what a block of the README prints in a database: the one that has a text.
sub answer
{
	my ($database, $part) = @_;
	my ($block, @more) = grep { index($_, $part) >= 0 } blocks('README.md');
	die "not one block of the README has: $part\n" if !defined $block || @more;
	return run_sql($node, $block, $database);
}

# Databases that doc/scaling.md has.
for my $database (qw(sms1 sms2))
{
	run_sql($node, "CREATE DATABASE $database");
	create_account($node, $database, url => $gateway->url, line => '983000330000');
	run_sql($node, 'GRANT USAGE ON FOREIGN SERVER sms3300 TO app', $database);
}
runs($_) for 'README.fa.md', 'doc/operations.md', 'doc/scaling.md';
run_sql($node, 'ALTER SYSTEM RESET ALL; SELECT pg_reload_conf()');
my $database = runs('README.md');
wait_for_end($node, $database);

# Why was message 123 not delivered?
run_sql($node, "ALTER SEQUENCE sms_outbox_id_seq RESTART 123;"
	  . " SELECT sms3300_send('09123456789', '#status 27 opted out')", $database);
wait_for_end($node, $database);
like(answer($database, 'sms3300_explain(123)'),
	qr/^rejected at .*: the gateway answered status 27: opted out; .* sms3300_resend\(123\) queues it again$/,
	'why it was not delivered');

# How many unknowns today, and what do I do?
is(answer($database, 'unknown_today'), '', 'none is unknown');
run_sql($node, "SELECT sms3300_send('09123456789', '#http 500') FROM generate_series(1, 2)",
	$database);
wait_for_end($node, $database);
like(answer($database, 'unknown_today'),
	qr/^2\|(\d+)\|989123456789\|.*sms3300_resend\(\1\).*\n2\|(\d+)\|.*sms3300_resend\(\2\)[^\n]*$/,
	'how many are unknown today, and what to do');

# Is the gateway slow?
run_sql($node, "SELECT sms3300_stat_reset(); SELECT sms3300_send('09123456789', '#delay 700')",
	$database);
wait_for_end($node, $database);
$node->poll_query_until($database, 'SELECT sum(requests) > 0 FROM sms3300_stat_account');
my @figures = split /\|/, answer($database, 'request_time_mean');
is($figures[1], 1, 'how many requests');
cmp_ok($figures[$_], '>=', 600, 'how slow the gateway is') for 2 .. 5;

# What is stuck, and is it sending?
run_sql($node, "ALTER SERVER sms3300 OPTIONS (ADD paused 'true');"
	  . " SELECT sms3300_send('09123456789', 'stuck', send_after => now() - interval '1 hour')",
	$database);
like(answer($database, "interval '1 minute'"), qr/^\d+\|queued: its account sms3300 is paused/,
	'what is stuck, and why');
like(answer($database, 'next_probe_at, queued'), qr/^sms3300\|paused\|[^|]+\|\|1\|20/,
	'whether it is sending');

# The reference, a row of a table for each: options, settings with their defaults, columns
# of the views, and functions that are not only for views and triggers.
my $readme = read_document('README.md');
my %column = map { $_ => 1 } map { /`(\w+)`/g } $readme =~ /^\| (`[^|]*) \|/mg;
for my $what (qw(request_time wait_time))
{
	$column{"$what$_"} = 1 for $readme =~ /^\| `${what}_sum`,([^|]*)/m ? $1 =~ /`(\w+)`/g : ();
}
my @options = map { split /, / } map {
	my (undef, undef, $error) = $node->psql($database, "$_ OPTIONS (nonsense '')");
	$error =~ /^HINT:.*: (.*)\.$/m
} 'ALTER SERVER sms3300', 'ALTER USER MAPPING FOR PUBLIC SERVER sms3300';
cmp_ok(scalar @options, '>', 20, 'options are known');
is_deeply([ grep { $readme !~ /^(?:\||User mapping:)[^|]*`$_`/m } @options ], [], 'all options are there');
my $columns = run_sql($node, "SELECT attname FROM pg_attribute WHERE attnum > 0 AND attrelid IN"
	  . " ('sms3300_stat_account'::regclass, 'sms3300_stat_worker'::regclass, 'sms_report'::regclass)",
	$database);
is_deeply([ grep { !$column{$_} } split /\n/, $columns ], [], 'all columns of the views are there');
my $functions = run_sql($node, "SELECT proname FROM pg_proc WHERE proname ~ '^sms3300_' AND proname"
	  . " !~ '_(stat_get_.*|validator|outbox_insert|outbox_update|report)\$'", $database);
is_deeply([ grep { $readme !~ /^\| `$_\(/m } split /\n/, $functions ], [], 'all functions are there');
my $settings = run_sql($node, "SELECT name, CASE unit WHEN 'ms' THEN boot_val::int / 1000 || 's' ELSE boot_val END"
	  . " FROM pg_settings WHERE name LIKE 'sms3300.%'", $database);
for my $setting (split /\n/, $settings)
{
	my ($name, $default) = split /\|/, $setting;
	like($readme, qr/^\| `\Q$name\E` \| `?\Q$default\E`? \|/m, "$name is there");
}

$node->stop;
done_testing();
