package Bench::Memory;

# A worker's private memory with a long queue and many requests in flight.

use strict;
use warnings;

use Bench;
use List::Util qw(max);

# Take all samples and print them.
sub measure
{
	in_database(memory => \&measure_in_database);
	return;
}

sub measure_in_database
{
	my $queued    = scaled(1000000);
	my $watched   = scaled(20000);
	my $in_flight = 0;
	my $memory    = 0;
	my $pid       = worker_pid();
	my $sent      = value('SELECT sent FROM _sms3300_stat_get_account(\'sms3300\')');

	begin_messages($queued, 100, '50ms');
	set_account(paused => 'false');
	wait_until(
		'the first messages',
		sub {
			$memory = max($memory, private_memory($pid));
			my ($sent_now, $in_flight_now) =
			  value('SELECT sent, in_flight FROM _sms3300_stat_get_account(\'sms3300\')');
			$in_flight = max($in_flight, $in_flight_now);
			return $sent_now >= $sent + $watched;
		});
	set_account(paused => 'true');
	die "no more than $in_flight messages were in flight\n" if $in_flight < 100;

	print "\nMemory with $queued queued, looked at while $watched of them were sent\n";
	print_figure("private memory in MB, $in_flight in flight", $memory, most => 16);
	return;
}

1;
