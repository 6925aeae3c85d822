# The statements of doc/campaigns.md, run by a role with no other privileges: in order for
# a few customers, for 100,000 customers, and in two sessions at once in the worst order.

use strict;
use warnings;
use utf8;

use Encode         qw(decode encode);
use File::Basename qw(dirname);
use IPC::Run       ();
use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "max_prepared_transactions = 2\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');
run_sql($node, <<'END');
CREATE ROLE marketing LOGIN;
GRANT USAGE ON FOREIGN SERVER sms3300 TO marketing;
CREATE TABLE customers (id bigint PRIMARY KEY, name text, mobile text);
GRANT SELECT ON customers TO marketing;
GRANT CREATE ON SCHEMA public TO marketing;
END

my @statements = statements(dirname(__FILE__) . '/../../doc/campaigns.md');
is(scalar @statements, 7, 'the statements of the document');
my ($create, $cost, $send, $result, $missed, $cancel, $resend) = @statements;

# Read the statements of a document, its blocks of SQL.
sub statements
{
	my ($path) = @_;
	return decode('UTF-8', slurp_file($path)) =~ /^```sql\n(.*?)^```$/gms;
}

# Run SQL as the role that campaigns, and return what it prints.
sub as_marketing
{
	my ($sql) = @_;
	return decode('UTF-8', run_sql($node, "SET ROLE marketing;\n$sql"));
}

# Start again with other customers.
sub new_customers
{
	my ($rows) = @_;
	run_sql($node, "DELETE FROM sms_outbox; DELETE FROM customers; INSERT INTO customers $rows");
	return;
}

# Have the account send, or not.
sub set_paused
{
	my ($paused) = @_;
	run_sql($node, "ALTER SERVER sms3300 OPTIONS ($paused)");
	return;
}

#
# A few customers, in the document's order
#

set_paused("ADD paused 'true'");
new_customers(<<'END');
VALUES (1, 'سارا', '09120000001'),
	(2, 'علی', '+98 912 000 0002'),
	(3, 'Ali', '۰۹۱۲۰۰۰۰۰۰۲'),
	(4, NULL, '9120000004'),
	(5, 'مینا', '0912 000'),
	(6, 'رضا', NULL),
	(7, repeat('سارا ', 30), '09120000007'),
	(8, '#status 27 refused', '09120000008'),
	(9, 'حسن', '')
END

as_marketing($create);
is(as_marketing($cost), "UCS-2|1|4|4\nUCS-2|3|1|3", 'what it costs: each number once');
is(count_rows($node), 0, 'nothing sent by that');

is(as_marketing($send), "5|مینا|0912 000\n6|رضا|\n9|حسن|", 'who cannot be reached');
is( as_marketing('SELECT mobile, message FROM sms_outbox WHERE length(message) < 30 ORDER BY mobile'),
	"989120000001|سارا عزیز، نوروز مبارک!\n"
	  . "989120000002|علی عزیز، نوروز مبارک!\n"
	  . "989120000004| عزیز، نوروز مبارک!",
	'the others, in person');
is(count_rows($node, "sender = 'marketing' AND status = 'queued'"), 5, 'all queued');

as_marketing($send);
is(count_rows($node), 5, 'once more: nothing is added');
run_sql($node, "UPDATE customers SET mobile = '09120000005' WHERE id = 5");
is(as_marketing($send), "6|رضا|\n9|حسن|", 'a number was corrected');
is(count_rows($node), 6, 'one is added');

# Another campaign is not touched by what follows.
as_marketing(q(INSERT INTO sms_outbox (mobile, message, metadata)
	VALUES ('09120000001', 'another', '{"campaign": "another"}')));
is(as_marketing($cancel), 6, 'stopped');
is(as_marketing($result), 'cancelled|6', 'all cancelled');
is(count_rows($node, "message = 'another' AND status = 'queued'"), 1, 'only the new message is queued');
is(as_marketing($resend), 6, 'goes on');

set_paused('DROP paused');
wait_for_end($node);
is(as_marketing($result), "sent|5\nrejected|1", 'what became of it');
like(as_marketing($missed), qr/\A8\|#status 27 refused\|rejected\|27\|.+\z/, 'who did not get it, and why');
is($gateway->count->{taken}, 7, 'each message makes one request');
is(as_marketing($cancel), 0, 'nothing left to cancel');

#
# 100,000 customers
#

set_paused("ADD paused 'true'");
new_customers(<<'END');
SELECT i, 'مشتری ' || i,
	CASE WHEN i % 1000 = 0 THEN NULL
		WHEN i % 100 = 0 THEN '0912 ' || i
		WHEN i % 2 = 0 THEN '+98 912 ' || lpad(i::text, 7, '0')
		ELSE '0912' || lpad(i::text, 7, '0') END
FROM generate_series(1, 100000) AS i
END
is(scalar(split /\n/, as_marketing($send)), 1000, '100,000: the bad ones are listed');
is(count_rows($node), 99_000, 'the good ones are queued');
as_marketing($send);
is(count_rows($node), 99_000, 'once');

#
# Two sessions at once
#

# Start a session of that role that runs SQL.
sub start_session
{
	my ($sql) = @_;
	my %session = (out => '', error => '');
	my $database = $node->connstr('postgres') . ' user=marketing application_name=campaign';
	$session{run} = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $database, '-c', encode('UTF-8', $sql) ],
		'>', \$session{out}, '2>', \$session{error},
		IPC::Run::timeout($ENV{PG_TEST_TIMEOUT_DEFAULT} || 180));
	return \%session;
}

# Run SQL in sessions of their own that wait for a transaction, $holder, or for each
# other, until $end is its end; return what they print, errors included.
sub run_meanwhile
{
	my ($holder, $end, @sql) = @_;
	run_sql($node, "BEGIN; $holder; PREPARE TRANSACTION 'holder'");

	my @sessions;
	for my $sql (@sql)
	{
		push @sessions, start_session($sql);
		wait_for_sql($node, 'postgres', 'SELECT count(*) = ' . @sessions . <<'END');
 FROM pg_stat_activity WHERE application_name = 'campaign' AND wait_event_type = 'Lock'
END
	}
	run_sql($node, "$end PREPARED 'holder'");
	$_->{run}->finish for @sessions;
	return map { "$_->{out}$_->{error}" =~ s/\n\z//r } @sessions;
}

# One session takes the numbers upwards, another one downwards, until they meet at one
# that a third has just queued. If they took them so, they would then block each other.
run_sql($node, <<'END');
CREATE SCHEMA downwards;
CREATE VIEW downwards.nowruz AS SELECT * FROM public.nowruz ORDER BY mobile DESC;
GRANT USAGE ON SCHEMA downwards TO marketing;
GRANT SELECT ON downwards.nowruz TO marketing;
END
my $middle = <<'END';
SET LOCAL ROLE marketing;
INSERT INTO sms_outbox (mobile, message, dedup_key)
	VALUES ('09120000050', 'by hand', 'nowruz-1405 989120000050')
END
for my $end ('COMMIT', 'ROLLBACK')
{
	new_customers("SELECT i, 'مشتری', 9120000000 + i FROM generate_series(1, 100) AS i");
	my @printed = run_meanwhile($middle, $end, $send, "SET search_path = downwards, public; $send");
	is_deeply(\@printed, [ '', '' ], "at once, $end: no error, no deadlock");
	is(run_sql($node, 'SELECT count(*), count(DISTINCT mobile), count(DISTINCT dedup_key) FROM sms_outbox'),
		'100|100|100', "at once, $end: one row each");
	is(count_rows($node, "message = 'by hand'"), $end eq 'COMMIT' ? 1 : 0, "at once, $end: whose");
}

# sms3300_send waits for the session that has the key, and returns the id of the row that stays.
my $by_key = "SET client_min_messages = warning; SELECT sms3300_send('09120000001', 'mine', dedup_key => 'k')";
my $insert = "SET LOCAL ROLE marketing;
	INSERT INTO sms_outbox (mobile, message, dedup_key) VALUES ('09120000001', 'other', 'k')";
my $delete = 'DELETE FROM sms_outbox';
for my $case (
	[ $insert, 'COMMIT',   'other' ],
	[ $insert, 'ROLLBACK', 'mine' ],
	[ $delete, 'COMMIT',   'mine' ],
	[ $delete, 'ROLLBACK', 'other' ])
{
	my ($holder, $end, $message) = @$case;
	my $name = ($holder =~ /(INSERT|DELETE)/)[0] . " and $end";
	run_sql($node, 'DELETE FROM sms_outbox');
	run_sql($node, "BEGIN; $insert; COMMIT") if $holder eq $delete;

	my @ids = run_meanwhile($holder, $end, $by_key, $by_key);
	is($ids[0], $ids[1], "$name: both have the same id");
	is(run_sql($node, 'SELECT id, message FROM sms_outbox'), "$ids[0]|$message", "$name: that of the one row");
}

$node->stop;
done_testing();
