#!/usr/bin/perl

# How long it takes from COMMIT until the first byte of the request is at the gateway:
# with a worker that sleeps, with one that had something to send 0.3 s ago and still has
# the connection, and with none, so that the launcher has to start it.
#
#     perl test/bench/latency.pl [SAMPLES]
#
# The server is the one that psql connects to, as a superuser; it has to be on this
# machine and to preload the library. A database, sms3300_latency, is made and dropped,
# and sms3300.worker_idle_timeout is changed meanwhile. The gateway is a listener in
# here, which is all that it can do: the time is taken where it is least disturbed.

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use IPC::Open2  qw(open2);
use Socket      qw(IPPROTO_TCP TCP_NODELAY);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

use constant {
	DATABASE => 'sms3300_latency',
	REPLY    => '{"data": {"message_id": 1, "line": 983000330000}, "status": -1, "msg": "success"}',
};

my $samples  = shift // 50;
my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 10)
  or die "could not listen: $@\n";
my $waiting = IO::Select->new($listener);
my %received;

my $server = start_psql('postgres');
ask($server, 'CREATE DATABASE ' . DATABASE);
my $sender = start_psql(DATABASE);
eval { measure() };
my $failure = $@;
stop_psql($sender);
ask($server, 'ALTER SYSTEM RESET sms3300.worker_idle_timeout', 'SELECT pg_reload_conf()',
	'DROP DATABASE ' . DATABASE . ' WITH (FORCE)');
stop_psql($server);
die $failure if $failure;

# Take all samples and print them.
sub measure
{
	my $url = 'http://127.0.0.1:' . $listener->sockport . '/';
	ask($sender,
		'CREATE EXTENSION sms3300',
		"CREATE SERVER sms3300 FOREIGN DATA WRAPPER sms3300 OPTIONS (url '$url', line '983000330000')",
		"CREATE USER MAPPING FOR PUBLIC SERVER sms3300 OPTIONS (username 'user', password 'secret')");

	printf "%-24s%8s%8s%8s%8s  ms\n", "$samples samples each", qw(p50 p95 p99 max);
	set_idle_timeout('1h');
	take_sample(0);
	report('every 0.3 s', map { take_sample(0.3) } 1 .. $samples);
	report('asleep',      map { take_sample(1.2) } 1 .. $samples);

	set_idle_timeout('0');
	report('no worker yet', map { wait_for_leave(); take_sample(0) } 1 .. $samples);
	return;
}

# Pause for some seconds, send a message, and return the seconds until it was here.
sub take_sample
{
	my ($pause) = @_;
	serve_until(clock_gettime(CLOCK_MONOTONIC) + $pause);
	ask($sender, 'BEGIN', "SELECT sms3300_send('09123456789', 'hello')");

	my $start = clock_gettime(CLOCK_MONOTONIC);
	begin_sql($sender, 'COMMIT');
	my $arrival = serve_until($start + 30) or die "no request came in 30 s\n";
	finish_sql($sender);
	return $arrival - $start;
}

# Print the percentiles of some samples.
sub report
{
	my ($name, @seconds) = @_;
	@seconds = sort { $a <=> $b } @seconds;
	my @at = map { $seconds[ int($_ * $#seconds + 0.5) ] * 1000 } 0.5, 0.95, 0.99, 1;
	printf "%-24s%8.2f%8.2f%8.2f%8.2f\n", $name, @at;
	return;
}

# Answer requests until a time, or until one was answered; return when its first byte
# came.
sub serve_until
{
	my ($deadline) = @_;
	my $first;
	while ((my $left = $deadline - clock_gettime(CLOCK_MONOTONIC)) > 0)
	{
		for my $socket ($waiting->can_read($left))
		{
			if ($socket == $listener)
			{
				my $client = $listener->accept;
				setsockopt $client, IPPROTO_TCP, TCP_NODELAY, 1;
				$waiting->add($client);
				next;
			}
			if (!sysread $socket, my $bytes, 65536)
			{
				$waiting->remove($socket);
				delete $received{$socket};
				close $socket;
				next;
			}
			else
			{
				$first //= clock_gettime(CLOCK_MONOTONIC);
				$received{$socket} .= $bytes;
			}
			return $first if answer($socket);
		}
	}
	return;
}

# Answer the request on a connection if it is whole.
sub answer
{
	my ($socket) = @_;
	my ($head, $body) = split /\r\n\r\n/, $received{$socket}, 2;
	return unless defined $body && $head =~ /^Content-Length: (\d+)/mi && length $body >= $1;
	$received{$socket} = '';
	syswrite $socket,
	  "HTTP/1.1 200 OK\r\nContent-Length: " . length(REPLY) . "\r\n\r\n" . REPLY;
	return 1;
}

# Set how long a worker stays that has nothing to do, and wait until that holds.
sub set_idle_timeout
{
	my ($value) = @_;
	ask($server, "ALTER SYSTEM SET sms3300.worker_idle_timeout = '$value'",
		'SELECT pg_reload_conf()');
	select undef, undef, undef, 0.1
	  until ask($server, 'SHOW sms3300.worker_idle_timeout') eq $value;
	return;
}

# Wait until the database has no worker.
sub wait_for_leave
{
	my $workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'sms3300 worker'"
	  . " AND datname = '@{[ DATABASE ]}'";
	serve_until(clock_gettime(CLOCK_MONOTONIC) + 0.02) while ask($server, $workers);
	return;
}

# Start a psql that takes statements from a pipe.
sub start_psql
{
	my ($database) = @_;
	my $pid = open2(my $out, my $in, 'psql', qw(-XqAt -v ON_ERROR_STOP=1 -d), $database);
	return { pid => $pid, out => $out, in => $in };
}

# End a psql.
sub stop_psql
{
	my ($psql) = @_;
	close $psql->{in};
	waitpid $psql->{pid}, 0;
	return;
}

# Send a statement to a psql, without waiting.
sub begin_sql
{
	my ($psql, $sql) = @_;
	syswrite $psql->{in}, "$sql;\n\\echo done\n";
	return;
}

# Wait until a psql has done it, and return the last line that it printed.
sub finish_sql
{
	my ($psql) = @_;
	my $last;
	while (defined(my $line = readline $psql->{out}))
	{
		chomp $line;
		return $last if $line eq 'done';
		$last = $line;
	}
	die "psql ended\n";
}

# Have a psql run statements, and return the last line that it printed.
sub ask
{
	my ($psql, @statements) = @_;
	begin_sql($psql, join ";\n", @statements);
	return finish_sql($psql);
}
