package Bench::Snapshot;

# Whether sending slows down while another session holds an old snapshot, so that nothing that
# was updated can be cleaned up.

use strict;
use warnings;

use Bench;

# Take all samples and print them.
sub measure
{
	in_database(snapshot => \&measure_in_database);
	return;
}

sub measure_in_database
{
	my $n = scaled(500000);
	drain_sample(scaled(20000), 50, 'instant');
	my ($without, $with) = ([ 'no old snapshot' ], [ 'an old snapshot is held' ]);
	for (1 .. $option{rounds})
	{
		push @$without, sample($n, 0);
		push @$with,    sample($n, 1);
	}
	print_table(
		"$n messages, 50 in flight, a gateway that answers at once",
		[ [ first => 'a second, first tenth' ], [ last => 'a second, last tenth' ],
			[ first_cpu => 'CPU us each, first tenth' ], [ last_cpu => 'CPU us each, last tenth' ] ],
		$without, $with);
	for ([ 'without', $without ], [ 'with', $with, least => 0.80 ])
	{
		my ($name, $results, @target) = @$_;
		my (undef, @samples) = @$results;
		print_figure("rate of the last tenth against the first, $name an old snapshot",
			median(map { $_->{last} / $_->{first} } @samples), @target);
		print_figure("CPU time a message likewise", median(map { $_->{last_cpu} / $_->{first_cpu} } @samples));
	}
	return;
}

# Have messages sent, with or without an old snapshot, and return the rates.
sub sample
{
	my ($n, $hold) = @_;
	set_account(paused => 'true');
	sql('TRUNCATE sms_outbox');
	my $after  = begin_messages($n, 50, 'instant');
	my $holder = connect_to(value('SELECT current_database()'));
	$holder->do($_) for 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT count(*) FROM pg_class';
	$holder->do('COMMIT') if !$hold;

	# How many were sent, and the worker's CPU time then, at each look.
	my $pid     = worker_pid();
	my $counter = 'SELECT sent FROM _sms3300_stat_get_account(\'sms3300\')';
	my $before  = value($counter);
	my @looks   = ([ 0, cpu_seconds($pid) ]);
	send_all($n, $after, sub { push @looks, [ value($counter) - $before, cpu_seconds($pid) ] });
	push @looks, [ $n, cpu_seconds($pid) ];
	$holder->disconnect;
	my ($first) = grep { $_->[0] >= $n / 10 } @looks;
	my ($last)  = grep { $_->[0] >= $n * 9 / 10 } @looks[ 0 .. $#looks - 1 ];

	# The seconds from each tenth's start to its end.
	my @seconds = map { $_->[0] } @{ connection()->selectall_arrayref(<<~"SQL") };
		SELECT extract(epoch FROM last - coalesce(lag(last) OVER (ORDER BY tenth), first))
		FROM (SELECT tenth, min(started_at) AS first, max(finished_at) AS last
			FROM (SELECT started_at, finished_at, ntile(10) OVER (ORDER BY finished_at) AS tenth
				FROM sms_outbox WHERE id > $after) AS m
			GROUP BY tenth) AS t
		ORDER BY tenth
		SQL
	return {
		first     => $n / 10 / $seconds[0],
		last      => $n / 10 / $seconds[-1],
		first_cpu => cpu_each($looks[0], $first),
		last_cpu  => cpu_each($last // $first, $looks[-1]),
	};
}

# Return the CPU time a message between two looks.
sub cpu_each
{
	my ($from, $to) = @_;
	return ($to->[1] - $from->[1]) / ($to->[0] - $from->[0]) * 1e6;
}

1;
