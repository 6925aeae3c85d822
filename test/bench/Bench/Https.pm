package Bench::Https;

# http and https side by side: throughput beside the bare program, a burst after a pause,
# single messages, a worker's memory, and what an unrelated DROP DATABASE waits while
# connections are made. The system's authorities are trusted, or those in ca_file.

use strict;
use warnings;

use Bench;
use List::Util  qw(max);
use Time::HiRes qw(sleep);

# What is compared: [name, scheme, whether ca_file is set].
my @ways = ([ 'http', 'http', 0 ], [ 'https', 'https', 0 ], [ 'https, ca_file', 'https', 1 ]);

# Take all samples and print them.
sub measure
{
	in_database(https => \&measure_in_database);
	return;
}

sub measure_in_database
{
	measure_throughput();
	measure_bursts(1);
	measure_bursts(scaled(60), 2);
	measure_singles();
	measure_memory();
	measure_barriers();
	return;
}

# Send over http or https, with or without ca_file. With it, the gateway has another port: libcurl
# looks at each idle connection to a server before it opens one, also at those that other
# certificates were trusted for, which an account with ca_file cannot use.
sub over
{
	my ($way, $code) = @_;
	my (undef, $scheme, $ca_file) = @$way;
	sql("ALTER SERVER sms3300 OPTIONS (ADD ca_file '$ENV{CA_FILE}')") if $ca_file;
	my @result = on_gateway($scheme, $ca_file, $code);
	sql('ALTER SERVER sms3300 OPTIONS (DROP ca_file)') if $ca_file;
	return wantarray ? @result : $result[0];
}

# Measure messages a second, and CPU time of each.
sub measure_throughput
{
	my $n       = scaled(20000);
	my @results = compare(
		map {
			my $way = $_;
			(
				$way->[2] ? () : [ "bare, $way->[0]" => sub { over($way, sub { bare_sample($n, 50, 'instant') }) } ],
				[ "sms3300, $way->[0]" => sub { over($way, sub { drain_sample($n, 50, 'instant') }) } ]);
		} @ways);
	print_table(
		"$n messages, 50 in flight, a gateway that answers at once",
		[ [ rate => 'a second' ], [ cpu => 'CPU us each' ], [ memory => 'private MB' ] ], @results);
	my ($bare_http, $http, $bare_https, $https, $ca_file) = @results;
	for ([ http => $http, $bare_http ], [ https => $https, $bare_https ], [ 'https, ca_file' => $ca_file, $bare_https ])
	{
		my ($name, $own, $bare) = @$_;
		print_figure("$name: rate against the bare program", ratio(rate => $own, $bare), least => 0.45);
		print_figure("$name: CPU time of a message against the bare program", ratio(cpu => $own, $bare), most => 2.0);
	}
	return;
}

# Queue messages that are sent at once, and return the seconds until all are done.
sub burst
{
	my ($n)   = @_;
	my $start = now();
	my $after = value('SELECT coalesce(max(id), 0) FROM sms_outbox');
	lay_down($n);
	until (value("SELECT count(*) FROM sms_outbox WHERE id > $after AND finished_at IS NOT NULL") >= $n)
	{
		sleep 0.0005;
	}
	return now() - $start;
}

# Have the account send at once by a way, and call back when it does.
sub while_sending
{
	my ($way, $in_flight, $code) = @_;
	return over(
		$way,
		sub {
			begin_messages(1, $in_flight, 'instant');
			set_account(paused => 'false');
			burst(1);
			return $code->();
		});
}

# Measure bursts of 32 messages after a pause of some seconds.
sub measure_bursts
{
	my ($pause, $rounds) = @_;
	local $option{rounds} = $rounds if $rounds && $option{rounds} > $rounds;
	my @results = compare(
		map {
			my $way = $_;
			[
				$way->[0] => sub {
					while_sending($way, 32, sub { burst(32); sleep $pause; return { ms => burst(32) * 1000 } });
				}
			]
		} @ways);
	print_table("32 messages after a pause of $pause s", [ [ ms => 'milliseconds' ] ], @results);
	print_figure("$_->[0]: time against http", ratio(ms => $_, $results[0]), most => 5) for @results[ 1 .. $#results ];
	return;
}

# Measure the CPU time of messages that come one every second, once the worker has learnt
# how long it may keep the connection, and where each has its own.
sub measure_singles
{
	my $n = scaled(10);
	my @samples;
	for my $kept (1, 0)
	{
		sql("ALTER SERVER sms3300 OPTIONS (ADD keep_idle '0')") if !$kept;
		for my $way (@ways)
		{
			my $name = $way->[0] . ($kept ? ', kept' : ', not kept');
			while_sending(
				$way, 32,
				sub {
					sleep 1, burst(1) for 1 .. ($kept ? 6 : 1);
					my $pid = worker_pid();
					my ($cpu, $seconds) = (running_seconds($pid), 0);
					sleep(1), $seconds += burst(1) for 1 .. $n;
					$cpu = running_seconds($pid) - $cpu;
					push @samples, [ $name, { cpu => $cpu / $n * 1e3, ms => $seconds / $n * 1e3 } ];
				});
		}
		sql('ALTER SERVER sms3300 OPTIONS (DROP keep_idle)') if !$kept;
	}
	print "\nOne message every second, $n of them\n";
	for (@samples)
	{
		my ($name, $sample) = @$_;
		print_figure("$name: CPU ms of a message", $sample->{cpu},
			$name =~ /^https/ ? (most => $name =~ /not/ ? 2 : 0.5) : ());
		print_figure("$name: ms until it is done", $sample->{ms});
	}
	return;
}

# Measure the worker's private memory with 100 requests in flight.
sub measure_memory
{
	print "\nMemory with 100 requests in flight\n";
	for my $way (@ways)
	{
		my $memory = 0;
		over(
			$way,
			sub {
				my $pid   = worker_pid();
				my $n     = scaled(10000);
				my $after = begin_messages($n, 100, '50ms');
				send_all($n, $after, sub { $memory = max($memory, private_memory($pid)) });
			});
		print_figure("$way->[0]: private MB", $memory, most => 24);
	}
	return;
}

# Measure how long an unrelated DROP DATABASE takes while 100 connections are made.
sub measure_barriers
{
	print "\nDROP DATABASE of another database while 100 connections are made, the longest\n";
	for my $way (@ways)
	{
		my $longest = 0;
		for (1 .. $option{rounds})
		{
			sql('CREATE DATABASE unrelated');
			over(
				$way,
				sub {
					sql("ALTER SERVER sms3300 OPTIONS (ADD keep_idle '0')");
					my $after = begin_messages(100, 100, '50ms');
					set_account(paused => 'false');
					my $start = now();
					sql('DROP DATABASE unrelated');
					$longest = max($longest, now() - $start);
					wait_until('the messages',
						sub { value("SELECT count(*) = 100 FROM sms_outbox WHERE id > $after AND status = 'sent'") });
					sql('ALTER SERVER sms3300 OPTIONS (DROP keep_idle)');
				});
		}
		print_figure("$way->[0]: seconds", $longest, most => 0.3);
	}
	return;
}

1;
