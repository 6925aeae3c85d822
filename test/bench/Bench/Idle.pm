package Bench::Idle;

# What the worker and the launcher do that have nothing to do. Autovacuum is off
# meanwhile: its transactions would count as well.

use strict;
use warnings;

use Bench;
use Time::HiRes qw(sleep);

# Take all samples and print them.
sub measure
{
	sql('ALTER SYSTEM SET autovacuum = off', 'SELECT pg_reload_conf()');
	in_database(
		idle => sub {
			my $name = value('SELECT current_database()');
			drain_sample(scaled(1000), 50, 'instant');

			# Whatever was reported late is reported now.
			connection()->disconnect;
			on_connection(connect_to('postgres'), sub { measure_database($name) });
		});
	sql('ALTER SYSTEM RESET autovacuum', 'SELECT pg_reload_conf()');
	return;
}

sub measure_database
{
	my ($database) = @_;
	my $seconds = scaled(30);
	my %pid = map { @$_ } @{ connection()->selectall_arrayref(<<~"SQL") };
		SELECT backend_type, pid FROM pg_stat_activity
		WHERE backend_type = 'sms3300 launcher' OR backend_type = 'sms3300 worker' AND datname = '$database'
		SQL

	# The alarm of a time-out that was not needed, which PostgreSQL leaves set, is over then:
	# it tells nobody that it is.
	sleep 12;

	my $transactions = transactions($database);
	my %before       = map { $_ => switches($pid{$_}) } keys %pid;
	sleep $seconds;
	my %after = map { $_ => switches($pid{$_}) } keys %pid;
	$transactions = transactions($database) - $transactions;

	print "\nNothing to do for $seconds seconds\n";
	print_figure('transactions in the database', $transactions, most => 0);
	print_figure("voluntary context switches of the $_", $after{$_} - $before{$_}, most => 0)
	  for sort keys %pid;
	return;
}

# Return how many transactions a database has had.
sub transactions
{
	my ($database) = @_;
	return value('SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = ?', $database);
}

# Return how often a process has waited.
sub switches
{
	my ($pid) = @_;
	my ($n) = read_file("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s+(\d+)/m;
	return $n;
}

1;
