# Whatever a table's owner has done to sms_outbox, claims and results change their own
# columns and no others, as an UPDATE would: random DDL and data, and each row, index,
# generated column and trigger is checked against what the gateway answered.
#
# RANDOM_ROUNDS is how often, RANDOM_SEED makes the rounds the same again.

use strict;
use warnings;

use List::Util qw(shuffle);
use SMS3300;
use Test::More;

my $rounds = $ENV{RANDOM_ROUNDS} // 6;
my $seed   = $ENV{RANDOM_SEED}   // 1;
my $n      = 60;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000', paused => 'true',
	max_in_flight => 20);
run_sql($node, <<'END');
CREATE EXTENSION amcheck;
CREATE TABLE seen (name text, id bigint, status sms_status);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO public.seen VALUES (TG_NAME, NEW.id, NEW.status); RETURN NEW; END $$;
CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.marked = coalesce(NEW.marked, '') || left(NEW.status::text, 3); RETURN NEW; END $$;
END

# What may be done to the table, and undone: DDL, and tests of what has to hold then.
my @ddl = (
	[ 'ADD added integer DEFAULT 7', 'DROP added', 'added = 7' ],
	[ q{ADD gone text DEFAULT repeat('x', 100); ALTER TABLE sms_outbox DROP gone}, undef, 'true' ],
	[ 'ADD done boolean GENERATED ALWAYS AS (finished_at IS NOT NULL) STORED', 'DROP done', 'done' ],
	[ 'ADD twice integer GENERATED ALWAYS AS (attempts * 2) STORED', 'DROP twice', 'twice = 2' ],
	[ q{ADD CONSTRAINT mine CHECK (tableoid = 'sms_outbox'::regclass AND attempts < 100)}, 'DROP CONSTRAINT mine', 'true' ],
	[ 'ALTER metadata SET STORAGE EXTERNAL', 'ALTER metadata SET STORAGE EXTENDED', 'true' ],
	[ 'SET (fillfactor = 100)', 'SET (fillfactor = 50)', 'true' ],
	[ 'REPLICA IDENTITY FULL', 'REPLICA IDENTITY DEFAULT', 'true' ]);
my @objects = (
	[ 'CREATE INDEX mine_1 ON sms_outbox (message_id)', 'DROP INDEX mine_1', 'true' ],
	[ 'CREATE INDEX mine_2 ON sms_outbox (id) WHERE finished_at IS NOT NULL', 'DROP INDEX mine_2', 'true' ],
	[ q{CREATE INDEX mine_3 ON sms_outbox ((response->>'status'), status)}, 'DROP INDEX mine_3', 'true' ],
	[ 'CREATE INDEX mine_4 ON sms_outbox USING gin (response)', 'DROP INDEX mine_4', 'true' ],
	[ 'CREATE INDEX mine_5 ON sms_outbox USING brin (finished_at)', 'DROP INDEX mine_5', 'true' ],
	[ 'CREATE TABLE orders (message bigint REFERENCES sms_outbox)', 'DROP TABLE orders', 'true' ],
	[ 'CREATE TRIGGER seen_after AFTER UPDATE ON sms_outbox FOR EACH ROW EXECUTE FUNCTION see()',
		'DROP TRIGGER seen_after ON sms_outbox', seen('seen_after') ],
	[ 'CREATE TRIGGER seen_before BEFORE UPDATE OF started_at, finished_at ON sms_outbox FOR EACH ROW EXECUTE FUNCTION see()',
		'DROP TRIGGER seen_before ON sms_outbox', seen('seen_before') ],
	[ 'CREATE CONSTRAINT TRIGGER seen_deferred AFTER UPDATE ON sms_outbox DEFERRABLE INITIALLY DEFERRED'
		  . ' FOR EACH ROW EXECUTE FUNCTION see()', 'DROP TRIGGER seen_deferred ON sms_outbox', seen('seen_deferred') ],
	[ 'ALTER TABLE sms_outbox ADD marked text;'
		  . ' CREATE TRIGGER marked BEFORE UPDATE ON sms_outbox FOR EACH ROW EXECUTE FUNCTION mark()',
		'DROP TRIGGER marked ON sms_outbox; ALTER TABLE sms_outbox DROP marked',
		q{marked = 'sen' || left(status::text, 3)} ]);
my @storage = ('VACUUM FULL sms_outbox', 'CLUSTER sms_outbox USING sms_outbox_pkey', 'REINDEX TABLE sms_outbox',
	q{UPDATE sms_outbox SET metadata = metadata || '{"more": true}'}, 'VACUUM (FREEZE) sms_outbox', 'ANALYZE sms_outbox');

# Return the test that a trigger has seen both updates of a row.
sub seen
{
	my ($name) = @_;
	return "(SELECT array_agg(s.status) FROM seen AS s WHERE s.id = o.id AND s.name = '$name')"
	  . q{ = ARRAY['sending', o.status]};
}

# What is written, and what a trigger or the server derives from that.
my $written = q{ARRAY['status', 'attempts', 'due_at', 'started_at', 'finished_at', 'http_status', 'api_status',
	'message_id', 'sent_line', 'response', 'error', 'events', 'done', 'twice', 'marked']};

# What the rows have to be, by the text that told the gateway how to answer.
my $right = <<"END";
SELECT count(*) FROM sms_outbox AS o JOIN former AS f USING (id) JOIN taken AS t USING (mobile)
WHERE to_jsonb(o) - $written = f.row - $written
	AND o.attempts = 1 AND o.due_at IS NULL AND o.started_at <= o.finished_at
	AND CASE split_part(o.message, ' ', 1)
	WHEN '#status' THEN
		(o.status, o.http_status, o.api_status, o.response->>'status')
			= ('rejected', 200, split_part(o.message, ' ', 2)::integer, split_part(o.message, ' ', 2))
		AND o.message_id IS NULL AND o.sent_line IS NULL
		AND o.events - 0 = '[]' AND o.events->0 \@> jsonb_build_object('attempt', 1, 'error', o.error,
			'http_status', 200, 'api_status', o.api_status) AND (o.events->0->>'at')::timestamptz = o.finished_at
	WHEN '#http' THEN
		(o.status, o.http_status) = ('rejected', 400) AND o.api_status IS NULL AND o.message_id IS NULL
		AND o.events->0 \@> jsonb_build_object('attempt', 1, 'error', o.error, 'http_status', 400, 'api_status', NULL)
	WHEN '#close' THEN
		o.status = 'unknown' AND num_nulls(o.http_status, o.api_status, o.message_id, o.sent_line, o.response) = 5
		AND o.events->0 \@> jsonb_build_object('attempt', 1, 'error', o.error, 'http_status', NULL, 'api_status', NULL)
	ELSE
		(o.status, o.http_status, o.api_status, o.message_id, o.sent_line, o.response->>'status', o.events)
			= ('sent', 200, -1, t.message_id, '983000330000', '-1', '[]') AND o.error IS NULL
	END
END

# Queue messages of random texts and outcomes, each to a number of its own.
sub queue_random
{
	my @rows;
	for my $i (1 .. $n)
	{
		my $message = ('#status 27', '#status 1', '#http 400', '#close', 'plain', 'plain', 'plain')[ rand 7 ];
		my $metadata = ('NULL', q{'{"a": 1}'},
			q{jsonb_build_object('toasted', (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 300)))})[ rand 3 ];
		push @rows, sprintf q{('98912%07d', '%s %s', %s, %d)}, $i, $message, 'x' x rand 500, $metadata, rand 10;
	}
	return run_sql($node, 'INSERT INTO sms_outbox (mobile, message, metadata, priority) VALUES ' . join ', ', @rows);
}

# Load what the gateway took and how it answered.
sub load_taken
{
	my ($since) = @_;
	my @log = $gateway->log;
	my @rows = map { sprintf q{('%s', %s)}, $_->{fields}{mobile}, $_->{answer}{message_id} // 'NULL' } @log[ $since .. $#log ];
	run_sql($node, 'DROP TABLE IF EXISTS taken; CREATE TABLE taken (mobile text, message_id bigint);'
		  . ' INSERT INTO taken VALUES ' . join ', ', @rows);
	return scalar @rows;
}

srand $seed;
for my $round (1 .. $rounds)
{
	my @chosen = map { [ "ALTER TABLE sms_outbox $_->[0]", defined $_->[1] ? "ALTER TABLE sms_outbox $_->[1]" : '', $_->[2] ] }
	  (shuffle @ddl)[ 0 .. 3 ];
	@chosen = shuffle @chosen, (shuffle @objects)[ 0 .. 4 ];
	my ($early, $late) = @storage[ rand @storage, rand @storage ];
	diag(join "\n", "round $round of seed $seed:", (map { $_->[0] } @chosen), $early, $late);

	my $since = () = $gateway->log;
	my $half = int rand @chosen;
	run_sql($node, $_->[0]) for @chosen[ 0 .. $half - 1 ];
	queue_random();
	run_sql($node, $early);
	run_sql($node, $_->[0]) for @chosen[ $half .. $#chosen ];
	run_sql($node, $late);
	run_sql($node, 'TRUNCATE seen; CREATE TABLE former AS SELECT id, to_jsonb(o) AS row FROM sms_outbox AS o');
	run_sql($node, q{ALTER SERVER sms3300 OPTIONS (SET paused 'false')});
	wait_for_end($node);
	is(load_taken($since), $n, "round $round: each message is sent once");
	is(run_sql($node, $right), $n, "round $round: each row is right");
	is(run_sql($node, "SELECT count(*) FROM sms_outbox AS o WHERE ($_->[2]) IS NOT TRUE"), 0, "round $round: $_->[0]")
	  for @chosen;
	is(run_sql($node, <<'END'), 't', "round $round: the indexes are right");
SELECT bool_and(bt_index_check(indexrelid, true) IS NOT NULL) FROM pg_index
JOIN pg_class AS c ON c.oid = indexrelid JOIN pg_am AS a ON a.oid = relam
WHERE indrelid = 'sms_outbox'::regclass AND amname = 'btree'
END
	my @counts = map { run_sql($node, <<END) } qw(off on);
SET enable_seqscan = $_;
SELECT count(*) FROM sms_outbox WHERE response \@> '{"status": -1}' AND finished_at > '2000-01-01'
END
	is($counts[0], $counts[1], "round $round: also those of another kind");
	run_sql($node, q{ALTER SERVER sms3300 OPTIONS (SET paused 'true')});
	run_sql($node, $_->[1]) for grep { $_->[1] } reverse @chosen;
	run_sql($node, 'DELETE FROM sms_outbox; DROP TABLE former');
}

$node->stop;
done_testing();
