package Bench::Bulk;

# What concerns many messages at once: sms3300_cancel_many beside an UPDATE of the same rows,
# and results of which some fail in a user's trigger.

use strict;
use warnings;

use Bench;

# Take all samples and print them.
sub measure
{
	in_database(bulk => \&measure_in_database);
	return;
}

sub measure_in_database
{
	measure_failing(scaled(20000));
	measure_cancelling(scaled(100000));
	return;
}

# Measure what it costs that a trigger fails for one result in a hundred.
sub measure_failing
{
	my ($n) = @_;
	sql(<<~'SQL', 'CREATE TRIGGER fail BEFORE UPDATE ON sms_outbox FOR EACH ROW EXECUTE FUNCTION fail()');
		CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF NEW.status = 'sent' AND NEW.metadata ? 'fail' THEN
				RAISE EXCEPTION 'it fails';
			END IF;
			RETURN NEW;
		END $$
		SQL
	my ($right, $failing) = compare(
		[ 'none fails'    => sub { trigger_sample($n, 0) } ],
		[ '1 in 100 fails' => sub { trigger_sample($n, 100) } ]);
	print_table("$n messages, 50 in flight, with a trigger",
		[ [ rate => 'a second' ], [ cpu => 'CPU us each' ] ], $right, $failing);
	print_figure('rate with results that fail against that without', ratio(rate => $failing, $right), least => 0.7);
	sql('DROP TRIGGER fail ON sms_outbox');
	return;
}

# Send messages of which one in so many, if any, has a result that fails.
sub trigger_sample
{
	my ($n, $one_in) = @_;
	set_account(paused => 'true');
	sql('TRUNCATE sms_outbox');
	my $after = begin_messages($n, 50, 'instant');
	sql("UPDATE sms_outbox SET metadata = '{\"fail\": true}' WHERE id % $one_in = 0", 'VACUUM sms_outbox') if $one_in;
	return send_all($n, $after);
}

# Measure sms3300_cancel_many.
sub measure_cancelling
{
	my ($n) = @_;
	set_account(paused => 'true');
	my ($plain, $own) = compare(
		[ UPDATE => sub {
			cancel_sample($n, "UPDATE sms_outbox SET status = 'cancelled', due_at = NULL,"
				  . " finished_at = clock_timestamp() WHERE status = 'queued'") } ],
		[ sms3300_cancel_many => sub {
			cancel_sample($n, "SELECT sms3300_cancel_many(ARRAY(SELECT id FROM sms_outbox WHERE status = 'queued'))") } ]);
	print_table("cancelling $n messages", [ [ seconds => 'seconds' ] ], $plain, $own);
	print_figure('time of sms3300_cancel_many against an UPDATE', ratio(seconds => $own, $plain), most => 3);
	return;
}

# Cancel queued messages with one statement.
sub cancel_sample
{
	my ($n, $statement) = @_;
	sql('TRUNCATE sms_outbox',
		"INSERT INTO sms_outbox (mobile, message) SELECT '09123456789', 'to cancel' FROM generate_series(1, $n)",
		'VACUUM ANALYZE sms_outbox', 'CHECKPOINT');
	my $start = now();
	sql($statement);
	my $seconds = now() - $start;
	my $cancelled = value("SELECT count(*) FROM sms_outbox WHERE status = 'cancelled'");
	die "$cancelled of $n messages were cancelled\n" if $cancelled != $n;
	return { seconds => $seconds };
}

1;
