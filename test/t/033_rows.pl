
# Claims and results are written row by row: wherever the rows have moved, with every
# index right, with what a user's triggers do, and with constraints and generated columns.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "autovacuum = off\nsms3300.worker_idle_timeout = 1h\nsms3300.poll_interval = 1h\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000', paused => 'false', max_in_flight => 50);

# Check that messages with a text were sent, and taken once each.
sub is_sent
{
	my ($n, $message, $what) = @_;
	wait_for_end($node);
	return is(
		scalar($gateway->taken($message)) . ' '
		  . run_sql($node, "SELECT count(DISTINCT message_id) FROM sms_outbox WHERE message = '$message'"
			  . " AND status = 'sent' AND http_status = 200 AND response->>'status' = '-1' AND finished_at IS NOT NULL"),
		"$n $n", $what);
}

queue($node, 'plain', n => 500);
is_sent(500, 'plain', 'messages are sent');

# A trigger for what the worker does not write does not run.
run_sql($node, <<'END');
CREATE TABLE fired (what text, n bigint);
CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO public.fired VALUES (TG_NAME, 1); RETURN NEW; END $$;
CREATE TRIGGER elsewhere BEFORE UPDATE OF message ON sms_outbox FOR EACH ROW EXECUTE FUNCTION fire();
CREATE TRIGGER gone BEFORE UPDATE ON sms_outbox FOR EACH ROW EXECUTE FUNCTION fire();
ALTER TABLE sms_outbox DISABLE TRIGGER gone;
END
queue($node, 'elsewhere', n => 50);
is_sent(50, 'elsewhere', 'messages are sent');
is(run_sql($node, 'SELECT count(*) FROM fired'), 0, 'no trigger runs that is for other columns, or disabled');

# Rows move while their requests are on the wire: to where others were, and from
# behind what is the table's end then.
queue_until_taken($node, $gateway, '#hold first', n => 40);
run_sql($node, "DELETE FROM sms_outbox WHERE message NOT LIKE '#%'");
run_sql($node, 'VACUUM FULL sms_outbox');
queue($node, 'between', n => 100);
wait_for_sql($node, 'postgres', "SELECT count(*) = 100 FROM sms_outbox WHERE message = 'between' AND status = 'sent'");
$gateway->release;
is_sent(40, '#hold first', 'rows that have moved take their results');

queue($node, 'before', n => 2000);
is_sent(2000, 'before', 'many messages are sent');
queue_until_taken($node, $gateway, '#hold last', n => 40);
run_sql($node, "DELETE FROM sms_outbox WHERE message NOT LIKE '#%'");
run_sql($node, 'VACUUM FULL sms_outbox');
$gateway->release;
is_sent(40, '#hold last', 'results are recorded where the table has become shorter');

# Rows of one claim move to where others of it were: the new versions that it wrote are
# beside those of messages for later, which go.
run_sql($node, 'TRUNCATE sms_outbox');
alter_account($node, paused => 'true');
run_sql($node, "SELECT sms3300_send('09123456789', 'later', send_after => now() + interval '1 day') FROM generate_series(1, 8)");
run_sql($node, "SELECT sms3300_send('0912000000' || i, '#hold swapped') FROM generate_series(1, 8) AS i");
run_sql($node, "DELETE FROM sms_outbox WHERE message = 'later' AND id > (SELECT min(id) + 2 FROM sms_outbox)");
run_sql($node, 'VACUUM sms_outbox');
my $taken = $gateway->count->{taken};
alter_account($node, paused => 'false');
$gateway->wait_for_taken($taken + 8);
run_sql($node, "CREATE TABLE places AS SELECT ctid AS place, id FROM sms_outbox");
run_sql($node, "DELETE FROM sms_outbox WHERE message = 'later'");
run_sql($node, 'VACUUM FULL sms_outbox');
cmp_ok(
	run_sql($node, 'SELECT count(*) FROM sms_outbox AS o JOIN places AS p ON p.place = o.ctid AND p.id <> o.id'
		  . " JOIN sms_outbox AS other ON other.id = p.id WHERE other.started_at = o.started_at"),
	'>', 0, 'rows are where others of the same claim were');
$gateway->release;
wait_for_end($node);
is( run_sql($node, "SELECT string_agg(mobile || ' ' || message_id, ', ' ORDER BY mobile) FROM sms_outbox"),
	join(', ', sort map { "98$1 $_->{answer}{message_id}" if $_->{fields}{mobile} =~ /(9.{9})$/ }
		  grep { $_->{fields}{message} eq '#hold swapped' } $gateway->log),
	'each takes its own result');

# Queued rows move after the worker has seen where they are.
alter_account($node, max_in_flight => 1);
alter_account($node, paused => 'true');
queue($node, '#delay 20 changed', n => 30);
$taken = $gateway->count->{taken};
alter_account($node, paused => 'false');
$gateway->wait_for_taken($taken + 1);
run_sql($node, "UPDATE sms_outbox SET metadata = '{}' WHERE status = 'queued'");
is_sent(30, '#delay 20 changed', 'rows that were changed meanwhile are found');
alter_account($node, max_in_flight => 50);

unlike(slurp_file($node->logfile), qr/a transaction on sms_outbox failed/, 'nothing of that is an error');

# A foreign key locks only the key of a row.
run_sql($node, 'CREATE TABLE orders (message bigint REFERENCES sms_outbox)');
alter_account($node, paused => 'true');
queue($node, 'referred to', n => 20);
my $user = $node->background_psql('postgres');
$user->query_safe("BEGIN; INSERT INTO orders SELECT id FROM sms_outbox WHERE message = 'referred to'");
alter_account($node, paused => 'false');
is_sent(20, 'referred to', 'messages are sent that a transaction under way refers to');
$user->query_safe('COMMIT');
$user->quit;
run_sql($node, 'DROP TABLE orders');

# Constraints hold. A result that violates one is not recorded until the constraint is dropped.
run_sql($node, 'ALTER TABLE sms_outbox ADD CONSTRAINT never CHECK (message_id IS NULL) NOT VALID');
my $offset = -s $node->logfile;
queue($node, 'never', n => 3);
wait_for_log($node, qr/violates check constraint "never"/, $offset);
run_sql($node, 'ALTER TABLE sms_outbox DROP CONSTRAINT never');
is_sent(3, 'never', 'a result waits until a constraint allows it');
run_sql($node, "ALTER TABLE sms_outbox ADD CONSTRAINT here CHECK (tableoid = 'sms_outbox'::regclass)");
queue($node, 'here', n => 3);
is_sent(3, 'here', 'a constraint knows which table it is for');

# Every index has every row, those of users too.
run_sql($node, <<'END');
CREATE EXTENSION amcheck;
CREATE INDEX mine_1 ON sms_outbox (message_id);
CREATE INDEX mine_2 ON sms_outbox (id) WHERE status = 'sent';
CREATE INDEX mine_3 ON sms_outbox ((response->>'status'), sent_line);
CREATE INDEX mine_4 ON sms_outbox USING brin (finished_at);
CREATE INDEX mine_5 ON sms_outbox USING gin (response);
END
queue($node, 'indexed', n => 300);
queue($node, '#status 3', n => 5);
is_sent(300, 'indexed', 'messages are sent');
is( run_sql($node, <<'END'), 11, 'the indexes are right');
SELECT count(public.bt_index_check(indexrelid, true)) FROM pg_index
JOIN pg_class AS c ON c.oid = indexrelid JOIN pg_am AS a ON a.oid = relam
WHERE indrelid = 'sms_outbox'::regclass AND amname = 'btree'
END
my @counts = map { run_sql($node, <<END) } qw(off on);
SET enable_seqscan = $_;
SET enable_bitmapscan = ${\($_ eq 'on' ? 'off' : 'on')};
SELECT count(*) FROM sms_outbox WHERE response \@> '{"status": 3}' AND finished_at > '2000-01-01'
END
is("@counts", '5 5', 'indexes of another kind are right');

# Triggers run for what is written: for the claim, the result or both.
my %other = (
	row    => [ 40, 'AFTER UPDATE ON sms_outbox FOR EACH ROW' ],
	events => [ 20, 'AFTER UPDATE OF events ON sms_outbox FOR EACH ROW' ],
	of     => [ 40, 'BEFORE UPDATE OF status ON sms_outbox FOR EACH ROW' ],
	when   => [ 20, q{AFTER UPDATE ON sms_outbox FOR EACH ROW WHEN (OLD.status = 'sending' AND NEW.status = 'sent')} ]);
foreach my $name (sort keys %other)
{
	my ($times, $trigger) = @{ $other{$name} };
	run_sql($node, qq{CREATE TRIGGER "$name" $trigger EXECUTE FUNCTION fire()});
	queue($node, "trigger $name", n => 20);
	is_sent(20, "trigger $name", "$name: messages are sent");
	is(run_sql($node, "SELECT sum(n) FROM fired WHERE what = '$name'"), $times, "$name: it runs for each row");
	run_sql($node, qq{DROP TRIGGER "$name" ON sms_outbox});
}
run_sql($node, qq{CREATE TRIGGER "$_" $_ UPDATE ON sms_outbox EXECUTE FUNCTION fire()}) for qw(BEFORE AFTER);
queue($node, 'trigger statement', n => 20);
is_sent(20, 'trigger statement', 'messages are sent');
my ($first, $last) = split /\|/, run_sql($node,
	q{SELECT count(*) FILTER (WHERE what = 'BEFORE'), count(*) FILTER (WHERE what = 'AFTER') FROM fired});
cmp_ok($first, '>=', 2, 'statement triggers run');
is($last, $first, '... before and after');
run_sql($node, qq{DROP TRIGGER "$_" ON sms_outbox}) for qw(BEFORE AFTER);
run_sql($node, 'ALTER TABLE sms_outbox ADD done boolean GENERATED ALWAYS AS (finished_at IS NOT NULL) STORED');
queue($node, 'generated', n => 20);
is_sent(20, 'generated', 'generated: messages are sent');
is(run_sql($node, 'SELECT count(*) FROM sms_outbox WHERE done <> (finished_at IS NOT NULL)'), 0,
	'generated: the column is right');

# What was in a column that was dropped is not kept.
run_sql($node, <<'END');
CREATE EXTENSION pageinspect;
ALTER TABLE sms_outbox ADD mine text;
END
alter_account($node, paused => 'true');
queue($node, 'dropped', n => 5);
run_sql($node, q{UPDATE sms_outbox SET mine = 'to be forgotten' WHERE message = 'dropped'});
my $kept = <<'END';
SELECT count(*) FROM sms_outbox AS o
CROSS JOIN LATERAL heap_page_items(get_raw_page('sms_outbox', (o.ctid::text::point)[0]::integer)) AS i
WHERE o.message = 'dropped' AND i.lp = (o.ctid::text::point)[1]
	AND position('to be forgotten'::bytea IN i.t_data) > 0
END
run_sql($node, 'ALTER TABLE sms_outbox DROP mine');
is(run_sql($node, $kept), 5, 'a dropped column is in the rows still');
alter_account($node, paused => 'false');
is_sent(5, 'dropped', 'messages are sent');
is(run_sql($node, $kept), 0, '... and no longer after that');

$node->stop;
done_testing();
