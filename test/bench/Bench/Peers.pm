package Bench::Peers;

# The same messages sent by other queues of PostgreSQL, and which share of the bare
# program's rate each reaches. CPU time is that of the whole server and of the program
# that sends.

use strict;
use warnings;

use Bench;
use IPC::Open2 qw(open2);

# Take all samples and print them.
sub measure
{
	in_database(peers => \&measure_in_database);
	return;
}

sub measure_in_database
{
	my $n = scaled(20000);
	print_table(
		"$n messages, 50 in flight, a gateway that answers at once",
		[ [ rate => 'a second' ], [ total_cpu => 'CPU us each' ] ],
		compare(
			[ 'bare libcurl program', sub { my $s = bare_sample($n, 50, 'instant'); return { %$s, total_cpu => $s->{cpu} } } ],
			[ sms3300 => sub { drain_sample($n, 50, 'instant') } ],
			map { my $queue = $_; [ $queue, sub { peer_sample($queue, $n, 50, 'instant') } ] } qw(pg-boss graphile-worker)));
	return;
}

# Have another queue send as many messages.
sub peer_sample
{
	my ($queue, $n, $in_flight, $path) = @_;
	sql('DROP SCHEMA IF EXISTS pgboss CASCADE', 'DROP SCHEMA IF EXISTS graphile_worker CASCADE');
	local $ENV{PGDATABASE} = value('SELECT current_database()');
	my $pid = open2(my $out, my $in, 'node', "$ENV{PEERS}/peer.js", $queue, "$ENV{GATEWAY}/$path", $in_flight, $n, form());
	(readline($out) // '') eq "ready\n" or die "$queue did not start\n";
	sql('CHECKPOINT');

	my $taken = requests_taken();
	my $cpu   = server_cpu_seconds();
	syswrite $in, "go\n";
	my ($seconds, $own_cpu) = split ' ', readline($out) // die "$queue ended\n";
	$cpu = server_cpu_seconds() - $cpu + $own_cpu;
	$taken = requests_taken() - $taken;
	die "nginx took $taken requests for $n messages of $queue\n" if $taken != $n;
	waitpid $pid, 0;

	my $right = value($queue eq 'pg-boss'
		? "SELECT count(*) FROM pgboss.job WHERE name = 'sms' AND state = 'completed'"
		: "SELECT $n - count(*) FROM graphile_worker._private_jobs");
	die "$right of $n jobs of $queue came to a right end\n" if $right != $n;
	return { rate => $n / $seconds, total_cpu => $cpu / $n * 1e6 };
}

1;
