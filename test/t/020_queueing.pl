
# All ways to queue messages. Each committed message is sent once, and a message that is
# rolled back is not sent.

use strict;
use warnings;
use utf8;

use Encode qw(decode);
use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main');
my $taken   = 0;
my $last_id = 0;
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');

# Wait until all is sent, and compare what the gateway has taken since the last time
# with the rows queued since: $n messages, one request each, and each row with the
# reply to its own.
sub is_sent
{
	my ($n, $what) = @_;
	wait_for_end($node);
	my @log  = @{ $gateway->control("_log?since=$taken") };
	my @seen = map { "$_->{answer}{message_id}|$_->{fields}{message}" } @log;
	my $rows = decode('UTF-8', run_sql($node, <<"END"));
SELECT message_id, message FROM sms_outbox WHERE id > $last_id AND status = 'sent'
END
	is(scalar @log, $n, "$what: taken");
	is_deeply([ sort @seen ], [ sort split /\n/, $rows ], "$what: sent");
	$taken += @log;
	$last_id = run_sql($node, 'SELECT max(id) FROM sms_outbox');
	return;
}

# Send a message by itself and return when it is sent: whatever was committed before
# has been sent by then as well, if it ever will be.
sub send_marker
{
	my ($name) = @_;
	run_sql($node, "SELECT sms3300_send('09120000000', " . quote($name) . ")");
	return is_sent(1, $name);
}

# Functions and statements.
run_sql($node, "SELECT sms3300_send('09123456789', 'by function')");
is_sent(1, 'sms3300_send');
run_sql($node, "INSERT INTO sms_outbox (mobile, message) VALUES ('09123456789', 'by INSERT')");
is_sent(1, 'INSERT');
run_sql($node, <<'END');
INSERT INTO sms_outbox (mobile, message)
SELECT '0912' || to_char(n, 'FM0000000'), 'number ' || n FROM generate_series(1, 10000) n;
END
is_sent(10000, 'INSERT ... SELECT');
run_sql($node, <<"END");
COPY sms_outbox (mobile, message) FROM STDIN;
+98 912 345 67 89\tfirst by COPY
۰۹۱۲۳۴۵۶۷۸۹\tsecond by COPY
\\.
END
is_sent(2, 'COPY');

# A trigger of an application.
run_sql($node, <<'END');
CREATE TABLE orders (id int, mobile text, status text DEFAULT 'new');
CREATE FUNCTION order_text() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM sms3300_send(NEW.mobile, 'Order ' || NEW.id || ' is ' || NEW.status);
	RETURN NULL;
END $$;
CREATE TRIGGER order_text AFTER UPDATE ON orders
	FOR EACH ROW WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION order_text();
INSERT INTO orders SELECT n, '09121111111' FROM generate_series(1, 5) n;
UPDATE orders SET status = 'shipped' WHERE id > 2;
UPDATE orders SET mobile = '09122222222';
END
is_sent(3, 'a trigger');

# A transaction that sends a thousand times, one by one.
run_sql($node, <<'END');
BEGIN;
SELECT count(sms3300_send('09123456789', 'call ' || n)) FROM generate_series(1, 1000) n;
COMMIT;
END
is_sent(1000, 'many calls');

# Rollbacks.
run_sql($node, <<'END');
BEGIN;
SELECT sms3300_send('09123456789', 'rolled back');
INSERT INTO sms_outbox (mobile, message) VALUES ('09123456789', 'rolled back too');
ROLLBACK;
END
send_marker('after a rollback');
run_sql($node, <<'END');
BEGIN;
SAVEPOINT s;
SELECT sms3300_send('09123456789', 'rolled back to a savepoint');
ROLLBACK TO s;
SELECT sms3300_send('09123456789', 'not rolled back');
COMMIT;
DO $$
BEGIN
	PERFORM sms3300_send('09123456789', 'undone by an error');
	PERFORM 1 / 0;
EXCEPTION WHEN division_by_zero THEN NULL;
END $$;
END
is_sent(1, 'a rolled-back savepoint');
send_marker('after a rolled-back savepoint');

# A row that is refused takes its statement with it, as in any table.
my ($status) = $node->psql('postgres', <<'END');
INSERT INTO sms_outbox (mobile, message) VALUES ('09123456789', 'good'), ('0912', 'bad');
END
isnt($status, 0, 'a bad number is refused');
send_marker('after a refused row');

# A dedup_key: the same id, and nothing is queued.
my $once = "SELECT sms3300_send('09123456789', 'once', dedup_key => 'key')";
my $id   = run_sql($node, $once);
is_sent(1, 'a dedup_key');
is(run_sql($node, $once), $id, 'a dedup_key that is used again returns the same id');
is(run_sql($node, "BEGIN; $once; $once; COMMIT"), "$id\n$id", 'a dedup_key used twice in a transaction returns the same id');
is(run_sql($node, <<'END'), '', 'ON CONFLICT DO NOTHING');
INSERT INTO sms_outbox (mobile, message, dedup_key) VALUES ('09123456789', 'once', 'key')
ON CONFLICT DO NOTHING RETURNING id;
END
my ($stdout, $stderr);
$node->psql('postgres', <<'END', stdout => \$stdout, stderr => \$stderr);
\set VERBOSITY sqlstate
INSERT INTO sms_outbox (mobile, message, dedup_key) VALUES ('09123456789', 'once', 'key');
END
like($stderr, qr/23505/, 'a plain INSERT fails');
is(run_sql($node, "SELECT sms3300_send('09123456789', 'other', dedup_key => 'key', metadata => '1')"),
	$id, 'the same id for another text');
is(run_sql($node, "SELECT message, metadata FROM sms_outbox WHERE id = $id"),
	'once|', 'a dedup_key used again leaves the first message as it was');
send_marker('after uses of a dedup_key');

# Two sessions with the same key: the second waits for the first, and then has its
# id or, if that was rolled back, queues its own.
for my $end ('COMMIT', 'ROLLBACK')
{
	my $send  = "SELECT sms3300_send('09123456789', 'race, $end', dedup_key => 'race, $end')";
	my $first = $node->background_psql('postgres');
	my $other = $node->background_psql('postgres');
	my $first_id = $first->query_safe("BEGIN; $send");
	$other->query_until(qr/asking/, "\\echo asking\n$send AS id \\gset\n");
	wait_for_sql($node, 'postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'transactionid'");
	$first->query_safe($end);
	my $found = $other->query_safe('\echo :id');
	($end eq 'COMMIT' ? \&is : \&isnt)->($found, $first_id, "the same key at once, $end: the id");
	$first->quit;
	$other->quit;
	is_sent(1, "the same key at once, $end");
}

# A row that is suppressed by an application's trigger is an error.
run_sql($node, <<'END');
CREATE FUNCTION drop_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER a BEFORE INSERT ON sms_outbox
	FOR EACH ROW WHEN (NEW.message = 'dropped') EXECUTE FUNCTION drop_it();
END
for my $key ('', ", dedup_key => 'dropped'")
{
	$node->psql('postgres', <<"END", stdout => \$stdout, stderr => \$stderr);
\\set VERBOSITY sqlstate
SET statement_timeout = '@{[ $PostgreSQL::Test::Utils::timeout_default ]}s';
SELECT sms3300_send('09123456789', 'dropped'$key);
END
	like($stderr, qr/09000/, "a suppressed row is an error$key");
}
send_marker('after suppressed rows');

$node->stop;
done_testing();
