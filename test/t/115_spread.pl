
# The table of doc/scaling.md that distributes messages over several databases, by its own
# statements. Each database gets the rows of its recipients and sends them.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
my @databases = qw(sms1 sms2);
run_sql($node, 'CREATE ROLE app LOGIN');
for my $database (@databases)
{
	run_sql($node, "CREATE DATABASE $database");
	create_account($node, $database, url => $gateway->url, line => '983000330000', max_in_flight => 4);
	run_sql($node, 'GRANT USAGE ON FOREIGN SERVER sms3300 TO app', $database);
}
my ($tables, $use) = grep { /sms_spread/ } sql_blocks('doc/scaling.md');
run_sql($node, "CREATE EXTENSION sms3300; $tables");

# Wait until each database has sent all that it has.
sub wait_for_all
{
	wait_for_end($node, $_) for @databases;
	return;
}

# Messages for many, which are queued twice: the keys meet, since a recipient's messages
# come to the same database.
run_sql($node, 'CREATE TABLE customers (id int PRIMARY KEY, mobile text);'
	  . " INSERT INTO customers SELECT i, '98912' || to_char(i, 'FM0000000') FROM generate_series(1, 500) AS i");
for my $sign ('', '+')
{
	run_sql($node, "UPDATE customers SET mobile = '$sign' || mobile; $use");
	wait_for_all();
	is(run_sql($node, 'SELECT status, count(*), count(DISTINCT mobile) FROM sms_results GROUP BY 1'),
		'sent|500|500', "${sign}98: each has been sent");
}
is($gateway->count->{taken}, 500, 'once');
is(run_sql($node, 'SELECT count(*) FROM sms_results GROUP BY database ORDER BY database'), "268\n232",
	'each database has its part');

# An error of the other database is passed on.
my (undef, undef, $error) = $node->psql('postgres', "INSERT INTO sms_spread (mobile, message) VALUES ('0912', 'x')");
like($error, qr/ERROR:  invalid mobile number/, 'a bad number');

# A transaction that is rolled back, or fails before it commits, sends nothing.
my ($in_1, $in_2) = split /\n/, run_sql($node, 'SELECT min(mobile) FROM sms_results GROUP BY database ORDER BY database');
my $insert = "INSERT INTO sms_spread (mobile, message) VALUES ('$in_1', '%s'), ('$in_2', '%s')";
run_sql($node, 'BEGIN; ' . sprintf($insert, ('rolled back') x 2) . '; ROLLBACK');
$node->psql('postgres', 'BEGIN; ' . sprintf($insert, ('failed') x 2) . '; SELECT 1 / 0; COMMIT');

# But there is a commit in each database, and one may fail where another was made.
run_sql($node, <<'SQL', $_) for @databases;
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'too late'; END $$;
CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON sms_outbox DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW WHEN (NEW.message = 'fails') EXECUTE FUNCTION fail();
SQL
for my $texts ([ 'fails', 'succeeds' ], [ 'succeeds', 'fails' ])
{
	(undef, undef, $error) = $node->psql('postgres', sprintf $insert, @$texts);
	like($error, qr/too late/, 'the commit fails in one database');
}
wait_for_all();
is_taken($gateway, 'succeeds', 1, 'where it fails in the second, what the first has is sent');
is_taken($gateway, $_, 0, "$_: nothing is sent") for 'rolled back', 'failed', 'fails';

$node->stop;
done_testing();
