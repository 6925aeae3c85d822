# A client that queues messages on whichever node is primary, and notes what it was told.
#
#     Failover::Client->new(number => 1, …)->run;     # in a process of its own
#
# Odd clients ask Patroni's REST interface which node is primary before each message, as a
# proxy with health checks does; even ones give libpq all nodes and target_session_attrs, and
# stay where they are until that fails.
#
# A message whose fate a client does not know (the connection broke before COMMIT answered)
# may be queued. The first half of the clients leaves it at that. The others gave it a
# dedup_key, and queue it again until a primary says that it is there.
#
# A record has a line for each thing that a client learnt: when, what, the message.
#
#     try        it asks a node to queue it
#     committed  the node says that it is queued
#     doubt      nobody knows
#     refused    the node says that it is not

package Failover::Client;

use Mojo::Base -strict, -signatures;

use Failover::Cluster;
use HTTP::Tiny;
use IO::Handle;
use IO::Select;
use IPC::Open2  qw(open2);
use List::Util  qw(shuffle);
use Time::HiRes qw(sleep time);

use constant {
	# In seconds, how long a statement may take before the client gives up, and on average
	# between two messages.
	ANSWER => 8,
	PAUSE  => 1,

	# How many of the messages are for later, and at most how much, in seconds.
	LATER_SHARE => 0.4,
	LATER       => 45,
};

sub new ($class, %with)
{
	return bless { texts => 0, buffer => '', %with }, $class;
}

# Say whether a client's messages have a key.
sub has_keys ($number, $clients)
{
	return $number > $clients / 2;
}

# Queue messages until the time is over, and after it those again that are in doubt and have a key.
sub run ($self)
{
	open $self->{record}, '>', "$self->{folder}/client-$self->{number}.log" or die "could not create a record: $!\n";
	$self->{record}->autoflush(1);
	while (time < $self->{until})
	{
		sleep 2 * rand PAUSE;
		$self->queue(sprintf 'message %d.%d', $self->{number}, ++$self->{texts});
	}
	return;
}

# Queue a message: once, or with a key as often as it takes.
sub queue ($self, $text)
{
	my $keyed = has_keys($self->{number}, $self->{clients});
	my $later = rand 1 < LATER_SHARE ? sprintf '%.1f', rand LATER : 0;
	my $more  = ($later ? ", send_after => now() + '$later s'" : '') . ($keyed ? ", dedup_key => '$text'" : '');
	while (time < $self->{give_up})
	{
		if (!$self->connect)
		{
			return if !$keyed && time > $self->{until};
			sleep 1;
			next;
		}
		$self->note('try', $text);
		my $fate = $self->ask("SELECT sms3300_send('09123456789', '$text'$more);");
		$self->note($fate, $text);
		return if $fate eq 'committed' || !$keyed;
		sleep 1;
	}
	return;
}

# Note what was learnt of a message.
sub note ($self, $what, $text)
{
	$self->{record}->printf("%.3f\t%s\t%s\n", time, $what, $text);
	return;
}

# Be connected to a primary; false if none is to be found.
sub connect ($self)
{
	my $target;
	if ($self->{number} % 2)
	{
		$target = $self->{target} && $self->is_primary($self->{target}) ? $self->{target} : undef;
		($target) = grep { $self->is_primary($_) } shuffle(@Failover::Cluster::NODES) unless $target;
		$self->disconnect if !$target || $target ne ($self->{target} // '');
		$self->{target} = $target // return 0;
	}
	return 1 if $self->{psql};

	my @targets = map { Failover::Cluster::address($_) } $target // shuffle @Failover::Cluster::NODES;
	my $where = 'host=' . join(',', @targets)
	  . ' dbname=postgres user=app connect_timeout=3 tcp_user_timeout=8000 target_session_attrs=read-write';
	$self->{psql} = open2($self->{from}, $self->{to}, "exec $self->{bindir}/psql -X -A -t -q '$where' 2>&1");
	$self->{buffer} = '';
	return 1 if $self->ask('SELECT 1;') eq 'committed';
	$self->disconnect;
	return 0;
}

# Ask Patroni whether a node is primary.
sub is_primary ($self, $node)
{
	return HTTP::Tiny->new(timeout => 2)->get('http://' . Failover::Cluster::address($node) . ':8008/primary')->{success};
}

# End psql. The server may go on with what it was asked.
sub disconnect ($self)
{
	my $psql = delete $self->{psql} // return;
	close $_ for delete @$self{qw(to from)};
	kill KILL => $psql;
	waitpid $psql, 0;
	return;
}

# Have psql run a statement, and say what is known of it afterwards. A commit that was
# told not to wait for a standby any more warns of it.
sub ask ($self, $sql)
{
	local $SIG{PIPE} = 'IGNORE';
	$self->{to}->autoflush(1);
	print { $self->{to} } "$sql\n\\echo done :SQLSTATE\n";
	my $deadline = time + ANSWER;
	my $select   = IO::Select->new($self->{from});
	while ($self->{buffer} !~ /^done (\S*)\n/m)
	{
		my $left = $deadline - time;
		next if $left > 0 && $select->can_read($left) && sysread $self->{from}, $self->{buffer}, 65_536, length $self->{buffer};
		$self->disconnect;
		return 'doubt';
	}
	my $state = $self->{buffer} =~ s/^done (\S*)\n//m ? $1 : '';
	my $said  = delete $self->{buffer};
	$self->{buffer} = '';
	return 'committed' if $state eq '00000' && $said !~ /WARNING|FATAL|server closed/;
	$self->disconnect;
	return $state eq '25006' ? 'refused' : 'doubt';
}

1;
