package Bench::Many;

# What happens if an account asks for more requests in flight than the server may have
# files: the server was started with a soft limit of 1,024.

use strict;
use warnings;

use Bench;
use List::Util qw(max);

# Take all samples and print them.
sub measure
{
	in_database(many => \&measure_in_database);
	return;
}

sub measure_in_database
{
	my $n = scaled(50000);
	my ($files)   = read_file('/proc/' . worker_pid() . '/limits') =~ /^Max open files +(\d+)/m;
	my $in_flight = 0;
	my $sockets   = 0;

	my $pid   = worker_pid();
	my $watch = sub {
		$in_flight = max($in_flight, value('SELECT in_flight FROM _sms3300_stat_get_account(\'sms3300\')'));
		$sockets   = max($sockets, scalar grep { (readlink($_) // '') =~ /^socket/ } glob "/proc/$pid/fd/*");
	};
	my $sample = sub {
		set_account(paused => 'true');
		sql('TRUNCATE sms_outbox');
		return send_all($n, begin_messages($n, 5000, '50ms'), $watch);
	};
	$sample->();
	my ($bare, $own) = compare(
		[ 'bare libcurl program', sub { bare_sample($n, $in_flight, '50ms') } ],
		[ sms3300 => $sample ]);
	print_table(
		"$n messages, 5000 in flight asked for, a soft limit of $files files",
		[ [ rate => 'a second' ], [ cpu => 'CPU us each' ], [ memory => 'private MB' ] ],
		$bare, $own);
	print_figure('in flight at the most, as many as in the bare program', $in_flight);
	print_figure('sockets at the most', $sockets);
	print_figure('rate against the bare program with as many', ratio(rate => $own, $bare));
	return;
}

1;
