package Bench::Queueing;

# What queueing costs, beside inserts into an equal table without our triggers, by a role
# that row-level security applies to. The account is paused: its worker looks when it is
# woken, but sends nothing meanwhile.

use strict;
use warnings;

use Bench;

use constant CLIENTS => 8;

# Take all samples and print them.
sub measure
{
	in_database(queueing => \&measure_in_database);
	return;
}

sub measure_in_database
{
	my $n       = scaled(100000);
	my $seconds = scaled(10);
	make_equal_table();
	sql('CREATE ROLE queueing LOGIN', 'GRANT USAGE ON FOREIGN SERVER sms3300 TO queueing',
		'GRANT SELECT, INSERT ON equal_outbox TO queueing');
	set_account(paused => 'true');

	my $mobile = "'98912' || to_char(i % 10000000, 'FM0000000')";
	my $text   = encoded_text();
	my $origin = value('SELECT origin FROM sms_outbox LIMIT 1');
	my $insert = 'INSERT INTO equal_outbox (mobile, message, account, send_before, sender, due_at, origin)';
	my $rest   = "'sms3300', now() + interval '1 day', current_user, now(), $origin";

	my ($plain, $own) = compare(
		[ 'an equal table' => sub {
			insert_sample(equal_outbox => $n, "$insert SELECT $mobile, $text, $rest FROM generate_series(1, $n) AS i") } ],
		[ sms_outbox => sub {
			insert_sample(sms_outbox => $n,
				"INSERT INTO sms_outbox (mobile, message) SELECT $mobile, $text FROM generate_series(1, $n) AS i") } ]);
	print_table("INSERT ... SELECT of $n rows", [ [ rate => 'a second' ] ], $plain, $own);
	print_figure("speed against an equal table without triggers", ratio(rate => $own, $plain), least => 0.50);

	($plain, $own) = compare(
		[ 'INSERT, an equal table' => sub {
			pgbench_sample(equal_outbox => $seconds, "$insert VALUES ('989123456789', $text, $rest) RETURNING id") } ],
		[ sms3300_send => sub {
			pgbench_sample(sms_outbox => $seconds, "SELECT sms3300_send('989123456789', $text)") } ]);
	print_table("pgbench, @{[ CLIENTS ]} clients, $seconds seconds", [ [ rate => 'a second' ] ], $plain, $own);
	print_figure('rate against a plain INSERT', ratio(rate => $own, $plain), least => 0.75);

	sql('DROP OWNED BY queueing', 'DROP ROLE queueing');
	return;
}

# Insert rows into an empty table with one statement.
sub insert_sample
{
	my ($table, $n, $statement) = @_;
	sql("TRUNCATE $table", 'CHECKPOINT', 'SET ROLE queueing');
	my $start = now();
	sql($statement);
	my $seconds = now() - $start;
	sql('RESET ROLE');
	check_rows($table, $n);
	return { rate => $n / $seconds };
}

# Have pgbench run a statement that inserts a row for some seconds.
sub pgbench_sample
{
	my ($table, $seconds, $statement) = @_;
	my $script = "$ENV{WORK}/pgbench.sql";
	open my $file, '>', $script or die "could not write $script: $!\n";
	print $file "$statement;\n";
	close $file;

	sql("TRUNCATE $table", 'CHECKPOINT');
	open my $pipe, '-|', 'pgbench', '-n', '-M', 'prepared', '-c', CLIENTS, '-j', 2, '-T', $seconds,
	  '-U', 'queueing', '-f', $script, value('SELECT current_database()')
	  or die "could not start pgbench: $!\n";
	my $output = join '', <$pipe>;
	close $pipe or die "pgbench failed\n";
	my ($n)    = $output =~ /actually processed: (\d+)/;
	my ($rate) = $output =~ /tps = ([\d.]+)/;
	check_rows($table, $n);
	return { rate => $rate };
}

# See that a table has as many rows, and that they are as they should be.
sub check_rows
{
	my ($table, $n) = @_;
	my $right = value("SELECT count(*) FROM $table WHERE status = 'queued' AND sender = 'queueing'"
		  . " AND mobile ~ '^98912[0-9]{7}\$' AND account = 'sms3300' AND due_at = send_after"
		  . " AND send_before = send_after + interval '1 day'");
	die "$right of $n rows were queued right\n" if $right != $n;
	return;
}

1;
