package Bench::Latency;

# How long it takes from COMMIT until the first byte of the request is at the gateway, and
# until another session sees the status on the row. COMMIT takes its own time, for the
# disk, and nobody can know of the message sooner: what is wanted counts from its return.
# Measured is that with a worker that had something to send 0.3 s ago and still has the
# connection, with one that sleeps, and with none, so that the launcher has to start it.
# The gateway is a listener in here, so that the time is taken where it is least disturbed.

use strict;
use warnings;

use Bench;
use DBD::Pg qw(PG_ASYNC);
use IO::Select;
use IO::Socket::INET;
use Socket      qw(IPPROTO_TCP TCP_NODELAY);
use Time::HiRes qw(sleep);

use constant REPLY =>
  '{"data": {"message_id": 1000, "line": 983000330000}, "status": -1, "msg": "success"}';

# What is measured: [name, seconds of pause, whether the worker stays, p50 and p95 that
# are wanted, in ms].
my @cases = (
	[ 'every 0.3 s',   0.3, 1, 1.5, 4 ],
	[ 'asleep',        1.2, 1, 1.5, 4 ],
	[ 'no worker yet', 0,   0, 60 ]);

my ($listener, $waiting, %received, $observer);

# Take all samples and print them.
sub measure
{
	in_database(latency => \&measure_in_database);
	return;
}

sub measure_in_database
{
	$listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 10)
	  or die "could not listen: $@\n";
	$waiting  = IO::Select->new($listener);
	$observer = connect_to(value('SELECT current_database()'));
	set_account(url => 'http://127.0.0.1:' . $listener->sockport . '/');

	my $n       = scaled(20);
	my @samples = map { [] } @cases;
	for (1 .. $option{rounds})
	{
		for my $i (0 .. $#cases)
		{
			my (undef, $pause, $stays) = @{ $cases[$i] };
			set_idle_timeout($stays ? '1d' : '0');
			sample(0) if $stays;
			push @{ $samples[$i] }, map { wait_for_leave() if !$stays; sample($pause) } 1 .. $n;
		}
	}
	set_idle_timeout('1d');
	$observer->disconnect;

	my @figures = (
		[ commit => 'COMMIT returns' ], [ first_byte => 'first byte after that' ],
		[ status => 'status on the row, too' ]);
	printf "\nMilliseconds, samples each: %d\n%-16s%s\n", $n * $option{rounds}, '',
	  join '', map { sprintf '%27s', $_->[1] } @figures;
	printf "%-16s%s\n", '', join '', map { sprintf '%9s', $_ } (qw(p50 p95 p99)) x @figures;
	for my $i (0 .. $#cases)
	{
		printf "%-16s", $cases[$i][0];
		for my $key (map { $_->[0] } @figures)
		{
			my @ms = map { $_->{$key} * 1000 } @{ $samples[$i] };
			printf '%9s', number(percentile($_, @ms)) for 0.5, 0.95, 0.99;
		}
		print "\n";
	}
	for my $i (0 .. $#cases)
	{
		my ($name, undef, undef, $p50, $p95) = @{ $cases[$i] };
		my @ms = map { $_->{first_byte} * 1000 } @{ $samples[$i] };
		print_figure("first byte, $name, p50", percentile(0.5,  @ms), most => $p50);
		print_figure("first byte, $name, p95", percentile(0.95, @ms), most => $p95) if $p95;
	}
	return;
}

# Pause for some seconds, send a message, and return the seconds until COMMIT returned,
# and from then on until the request was here, and until its status could be seen.
sub sample
{
	my ($pause) = @_;
	serve_until(now() + $pause);
	sql('BEGIN');
	my $id = value("SELECT sms3300_send('09123456789', 'hello')");

	my $start = now();
	connection()->do('COMMIT', { pg_async => PG_ASYNC });
	my ($first_byte, $commit) = serve_until($start + 30, 1);
	defined $first_byte or die "no request came in 30 s\n";
	my $status;
	do
	{
		sleep 0.0001 if defined $status;
		($status) = $observer->selectrow_array("SELECT status FROM sms_outbox WHERE id = $id");
	} while ($status eq 'sending' && now() < $start + 30);
	my $end = now();
	$status eq 'sent' or die "message $id is $status\n";
	return { commit => $commit - $start, first_byte => $first_byte - $commit, status => $end - $commit };
}

# Answer requests until a time, or until one was answered, and the COMMIT that is under
# way has returned; return when the first byte came, and when COMMIT returned.
sub serve_until
{
	my ($deadline, $committing) = @_;
	my ($first, $commit, $answered);
	open my $server, '<&', connection()->{pg_socket} or die "could not look at the session's socket: $!\n";
	$waiting->add($server) if $committing;
	while ((my $left = $deadline - now()) > 0)
	{
		for my $socket ($waiting->can_read($left))
		{
			if ($socket == $server)
			{
				$commit = now();
				$waiting->remove($server);
				connection()->pg_result;
			}
			elsif ($socket == $listener)
			{
				my $client = $listener->accept;
				setsockopt $client, IPPROTO_TCP, TCP_NODELAY, 1;
				$waiting->add($client);
			}
			elsif (!sysread $socket, my $bytes, 65536)
			{
				$waiting->remove($socket);
				delete $received{$socket};
				close $socket;
			}
			else
			{
				$first //= now();
				$received{$socket} .= $bytes;
				$answered = 1 if answer($socket);
			}
		}
		last if $answered && $commit;
	}
	return ($first, $commit);
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
	sql("ALTER SYSTEM SET sms3300.worker_idle_timeout = '$value'", 'SELECT pg_reload_conf()');
	wait_until('the setting', sub { value('SHOW sms3300.worker_idle_timeout') eq $value });
	return;
}

# Wait until the database has no worker.
sub wait_for_leave
{
	wait_until('the worker to leave', sub { serve_until(now() + 0.02); !worker_pid() });
	return;
}

1;
