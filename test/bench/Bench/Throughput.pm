package Bench::Throughput;

# How many messages a second are sent, and for how much CPU time, beside the two things
# that limit it: a bare program that only does the requests, and plain SQL that only does
# what has to be written.

use strict;
use warnings;

use Bench;

# Take all samples and print them.
sub measure
{
	in_database(throughput => \&measure_in_database);
	return;
}

sub measure_in_database
{
	my $n = scaled(20000);
	make_equal_table();
	make_procedure();

	for ([ instant => 50, 'at once', 0.40 ], [ '50ms' => 100, 'after 50 ms', 0.97 ])
	{
		my ($path, $in_flight, $when, $target) = @$_;
		my ($bare, $own, $sql) = compare(
			[ 'bare libcurl program',     sub { bare_sample($n, $in_flight, $path) } ],
			[ sms3300                  => sub { drain_sample($n, $in_flight, $path) } ],
			[ 'claim and result in SQL',  sub { sql_sample($n, $in_flight) } ]);
		print_table(
			"$n messages, $in_flight in flight, a gateway that answers $when",
			[ [ rate => 'a second' ], [ cpu => 'CPU us each' ], [ memory => 'private MB' ] ],
			$bare, $own, $sql);
		print_figure('rate against the bare program', ratio(rate => $own, $bare), least => $target);
		print_figure('CPU time a message against the bare program', ratio(cpu => $own, $bare), most => 1.8);
		print_figure('rate against both in series', median(map {
			$own->[$_]{rate} * (1 / $bare->[$_]{rate} + 1 / $sql->[$_]{rate}) } 1 .. $#$own))
		  if $path eq 'instant';
	}
	return;
}

# Make a procedure that does what the worker has to do in the table, and nothing else:
# fetch candidates in windows, claim them in batches, and write a result for each, in
# the transaction of the next claim.
sub make_procedure
{
	sql(<<~'SQL');
		CREATE PROCEDURE claim_and_record(batch integer) LANGUAGE plpgsql AS $$
		DECLARE
			own bigint := origin FROM equal_outbox LIMIT 1;
			reply jsonb := '{"data": {"message_id": 1, "line": 983000330000, "connection": 1}, "status": -1, "msg": "success"}';
			candidates bigint[];
			claimed bigint[];
		BEGIN
			LOOP
				candidates := ARRAY(SELECT id FROM equal_outbox
					WHERE origin = own AND account = 'sms3300' AND priority = 0
					AND due_at <= clock_timestamp() AND status = 'queued'
					ORDER BY due_at, id LIMIT 1000);
				EXIT WHEN candidates = '{}';
				FOR i IN 1 .. cardinality(candidates) BY batch LOOP
					UPDATE equal_outbox SET status = 'sending', attempts = attempts + 1,
						started_at = clock_timestamp()
						WHERE id = ANY (candidates[i : i + batch - 1]) AND status = 'queued';
					COMMIT;
					UPDATE equal_outbox SET status = 'sent', due_at = NULL,
						finished_at = clock_timestamp(), http_status = 200, api_status = -1,
						message_id = id, sent_line = '983000330000', response = reply
						WHERE id = ANY (candidates[i : i + batch - 1]) AND status = 'sending';
				END LOOP;
			END LOOP;
		END $$
		SQL
	return;
}

# Have the procedure do as many rows.
sub sql_sample
{
	my ($n, $batch) = @_;
	my $pid = connection()->{pg_pid};
	set_account(paused => 'true');
	sql('TRUNCATE sms_outbox, equal_outbox');
	lay_down($n);
	sql('INSERT INTO equal_outbox OVERRIDING SYSTEM VALUE TABLE sms_outbox', 'TRUNCATE sms_outbox',
		'SET plan_cache_mode = force_generic_plan', 'SET enable_seqscan = off',
		'SET enable_bitmapscan = off', 'SET jit = off', 'CHECKPOINT');

	my $start = now();
	my $cpu   = cpu_seconds($pid);
	sql("CALL claim_and_record($batch)");
	$cpu = cpu_seconds($pid) - $cpu;
	my $seconds = now() - $start;

	sql('RESET ALL', 'SET client_min_messages = warning');
	my $right = value("SELECT count(*) FROM equal_outbox WHERE status = 'sent' AND attempts = 1 AND message_id = id");
	die "$right of $n rows were written right\n" if $right != $n;
	return { rate => $n / $seconds, cpu => $cpu / $n * 1e6 };
}

1;
