#!/usr/bin/perl

# Breaks a cluster of Patroni while clients queue messages, and counts what came of them.
# run.sh starts it, on the host of the clients.

use Mojo::Base -strict, -signatures;

use FindBin;
use lib $FindBin::Bin;

use Failover::Client;
use Failover::Cluster;
use Failover::Count;
use Getopt::Long qw(GetOptions);
use List::Util   qw(shuffle sum0);
use Mojo::JSON   qw(decode_json);
use POSIX        qw(_exit strftime);
use Time::HiRes  qw(sleep time);

use constant {
	CLIENTS => 4,

	# In seconds: how long a fault lasts, at least and at most. Some end before the lease does,
	# and some do not. Then the pause to the next one, at most.
	SHORTEST => 5,
	LONGEST  => 50,
	PAUSE    => 10,

	# How often the primary is hit, and not just any node; and how often it has both standbys
	# again by then.
	PRIMARY  => 0.85,
	COMPLETE => 0.7,

	# In seconds, how long to wait for a primary to hit, and for messages to be final.
	NEXT_PRIMARY => 60,
	FINAL        => 400,
};

# What can go wrong: its name, what it is, the sub that does it to a node, and the one that
# ends it.
my @FAULTS = (
	[ 'alone', 'cut off from all', sub ($node) { cut_both($node, others($node)) } ],
	[ 'peers', 'cut off from the other nodes', sub ($node) { cut_both($node, peers($node)) } ],
	[ 'etcd', 'cut off from etcd', sub ($node) { cut_both($node, @Failover::Cluster::ETCD) } ],
	[ 'minority', 'cut off from the other nodes and etcd; gateway and clients reach it',
		sub ($node) { cut_both($node, peers($node), @Failover::Cluster::ETCD) } ],
	[ 'gateway', 'cut off from the gateway', sub ($node) { cut_both($node, 'gateway') } ],
	[ 'outgoing', 'what it sends is lost', sub ($node) { cut_one_way($node, [$node], [ others($node) ]) } ],
	[ 'incoming', 'what is sent to it is lost', sub ($node) { cut_one_way($node, [ others($node) ], [$node]) } ],
	[ 'kill-postgres', 'kill -9 of the postmaster', \&kill_postgres ],
	[ 'kill-patroni', 'kill -9 of Patroni; PostgreSQL goes on', \&kill_patroni ],
	[ 'kill-node', 'kill -9 of all of it', \&kill_node ],
	[ 'freeze-node', 'all of it is stopped, and goes on later', \&freeze_node ],
	[ 'freeze-patroni', 'Patroni is stopped, and goes on later; PostgreSQL goes on', \&freeze_patroni ],
	[ 'switchover', 'patronictl switchover', \&switch_over ],
);

my %option = (minutes => 5, synchronous => 'off', api => 2);
my ($cluster, $started, @clients, @made);

exit main();

# Read the command line, break things, mend them and tell what came of it.
sub main
{
	GetOptions(\%option, qw(prefix=s folder=s bindir=s minutes=f seed=i synchronous=s api=i faults=s)) && !@ARGV
	  or return 2;
	die "--synchronous is off, on or strict\n" unless $option{synchronous} =~ /\A(?:off|on|strict)\z/;
	die "--api is 2 or 3\n"                    unless $option{api} =~ /\A[23]\z/;
	my @faults = chosen_faults();
	$option{seed} //= int rand 1_000_000;
	STDOUT->autoflush(1);
	say "seed $option{seed}, synchronous $option{synchronous}, etcd's interface $option{api}";
	$SIG{INT} = $SIG{TERM} = sub { exit 2 };

	$cluster = Failover::Cluster->new(%option{qw(prefix folder bindir synchronous api)});
	$cluster->start;
	$started = time;
	my $until = $started + 60 * $option{minutes};
	start_client($_, $until) for 1 .. CLIENTS;
	break_things($until, @faults);
	my $mended = mend_things();
	return report() && $mended ? 0 : 1;
}

# Return the faults asked for.
sub chosen_faults
{
	my %wanted = map { ($_ => 1) } split /,/, $option{faults} // join ',', map { $_->[0] } @FAULTS;
	my @faults = grep { delete $wanted{ $_->[0] } } @FAULTS;
	die "no such fault: $_\n" for sort keys %wanted;
	return @faults;
}

# Start a client in a process of its own, with random numbers of its own.
sub start_client ($number, $until)
{
	my $pid = fork // die "could not fork: $!\n";
	if (!$pid)
	{
		$SIG{INT} = $SIG{TERM} = 'DEFAULT';
		srand $option{seed} + $number;
		eval {
			Failover::Client->new(%option{qw(folder bindir)}, number => $number, clients => CLIENTS,
				until => $until, give_up => $until + FINAL)->run;
			1;
		} and _exit(0);
		warn $@;
		_exit(1);
	}
	push @clients, $pid;
	return;
}

# ---------------------------------------------------------------------------
# The faults
# ---------------------------------------------------------------------------

# Make one fault after the other until time is over. Each comes once before the list begins again.
sub break_things ($until, @faults)
{
	srand $option{seed};
	my @next;
	while (time < $until)
	{
		@next = shuffle @faults unless @next;
		my ($name, undef, $make) = @{ shift @next };

		# The numbers are drawn in any case, so that a seed means the same whatever happens.
		my ($pause, $seconds, $aim, $other, $wait) =
		  (rand PAUSE, SHORTEST + rand(LONGEST - SHORTEST), rand 1, rand @Failover::Cluster::NODES, rand 1);
		sleep $pause;
		Failover::Cluster::wait_until(sub { $cluster->is_complete }, NEXT_PRIMARY)
		  if $wait < COMPLETE || $name eq 'switchover';
		my $leader = Failover::Cluster::wait_until(sub { $cluster->leader }, NEXT_PRIMARY);
		my $node = $leader && $aim < PRIMARY ? $leader : $Failover::Cluster::NODES[$other];
		my %fault = (name => $name, node => $node, leader => $leader, began => time);
		my $end = $make->($node);
		if (!$end)
		{
			say sprintf '%s  %-14s %s  not made', strftime('%H:%M:%S', gmtime $fault{began}), $name, $node;
			next;
		}
		if (ref $end)
		{
			sleep $seconds;
			$end->();
		}
		$fault{ended} = time;
		push @made, \%fault;
		say sprintf '%s  %-14s %s%s  %.0f s', strftime('%H:%M:%S', gmtime $fault{began}), $name, $node,
		  $node eq ($leader // '') ? ' (primary)' : '', $fault{ended} - $fault{began};
	}
	return;
}

# Return all hosts, or all nodes, but one.
sub others ($node) { return Failover::Cluster::others($node) }
sub peers  ($node) { return grep { $_ ne $node } @Failover::Cluster::NODES }

# Lose what a node and other hosts send each other; like the subs below, return what ends it:
# a sub, or 1 if it ends by itself; false if it was not made.
sub cut_both ($node, @hosts)
{
	$cluster->cut($node, @hosts);
	$cluster->cut($_, $node) for @hosts;
	return sub
	{
		$cluster->join_again($node, @hosts);
		$cluster->join_again($_, $node) for @hosts;
	};
}

# Lose what some hosts send to others.
sub cut_one_way ($node, $from, $to)
{
	$cluster->cut($_, @$to) for @$from;
	return sub { $cluster->join_again($_, @$to) for @$from };
}

# Kill the postmaster; its processes end by themselves, and Patroni sees to it.
sub kill_postgres ($node)
{
	my $postmaster = $cluster->postmaster($node) or return;
	return kill KILL => $postmaster;
}

# Kill Patroni, and start it again later.
sub kill_patroni ($node)
{
	$cluster->kill_in('KILL', $node, \&Failover::Cluster::is_patroni);
	return sub { $cluster->start_patroni($node) };
}

# Kill all of a node, and start it again later.
sub kill_node ($node)
{
	$cluster->kill_in('KILL', $node);
	return sub { $cluster->start_patroni($node) };
}

# Freeze all of a node, as a virtual machine that is not run.
sub freeze_node ($node)
{
	$cluster->kill_in('STOP', $node);
	return sub { $cluster->kill_in('CONT', $node) };
}

# Freeze Patroni alone.
sub freeze_patroni ($node)
{
	$cluster->kill_in('STOP', $node, \&Failover::Cluster::is_patroni);
	return sub { $cluster->kill_in('CONT', $node, \&Failover::Cluster::is_patroni) };
}

# Have another node become primary, in good order. The node is the one that patronictl runs on;
# its status is 0 even where Patroni refuses.
sub switch_over ($node)
{
	my @command = $cluster->on_host($node, 'timeout', '60', '/usr/bin/patronictl', '-c', "$option{folder}/$node/patroni.yml",
		qw(switchover sms --force));
	my $pid = open(my $out, '-|') // die "could not fork: $!\n";
	if (!$pid)
	{
		open STDERR, '>&', \*STDOUT;
		exec { $command[0] } @command or _exit(127);
	}
	my $printed = join '', <$out>;
	my $ended_well = close $out;
	open my $log, '>>', "$option{folder}/commands.log" or die "could not keep what patronictl says: $!\n";
	print {$log} $printed;
	close $log;
	return $ended_well && $printed =~ /Successfully switched over/;
}

# End all faults, and wait until all messages are final; returns whether that came true, and no
# client had died.
sub mend_things
{
	my $mended = $cluster->mend or say 'the cluster did not become complete again';
	my $died = grep { waitpid($_, 0) != $_ || $? != 0 } @clients and say 'a client died';
	$cluster->sql_on_leader("SELECT sms3300_retry('sms3300')");
	my $final = Failover::Cluster::wait_until(
		sub { ($cluster->sql_on_leader("SELECT count(*) FROM sms_outbox WHERE status IN ('queued', 'sending')") // 1) eq '0' },
		FINAL) or say 'messages are not final';
	return $mended && !$died && $final;
}

# ---------------------------------------------------------------------------
# The report
# ---------------------------------------------------------------------------

# Return the lines of a file that was written meanwhile.
sub lines_of ($file)
{
	open my $in, '<', "$option{folder}/$file" or return;
	chomp(my @lines = <$in>);
	return @lines;
}

# Return when each node became primary, and when the server that did so ended, by the logs. One
# that was killed has ended when the next one starts.
sub reigns
{
	my @reigns = ([ 0, $Failover::Cluster::NODES[0], 'inf' ]);
	for my $node (@Failover::Cluster::NODES)
	{
		my $reign = $node eq $reigns[0][1] ? $reigns[0] : undef;
		for my $line (lines_of("$node.log"))
		{
			my ($at, $what) = $line =~ /\A([0-9.]+) \[\d+\] LOG: +(.*)/ or next;
			if ($reign && $what =~ /\A(?:database system is shut down|starting PostgreSQL)/ && $at > $started)
			{
				$reign->[2] = $at;
				$reign = undef;
			}
			push @reigns, $reign = [ $at, $node, 'inf' ]
			  if !$reign && $what =~ /\Adatabase system is ready to accept connections/;
		}
	}
	return sort { $a->[0] <=> $b->[0] } @reigns;
}

# Return the rows of the primary.
sub rows
{
	my $rows = $cluster->sql_on_leader(<<'END') // die "the table cannot be read\n";
SELECT jsonb_build_object('text', message, 'status', status, 'message_id', message_id,
	'created_at', extract(epoch FROM created_at), 'events', events)
FROM sms_outbox
END
	open my $out, '>', "$option{folder}/rows.jsonl" or die "could not keep the rows: $!\n";
	say $out $rows;
	return map { decode_json($_) } split /\n/, $rows;
}

# Count, and print it; returns whether every promise was kept, and there was something to keep.
sub report
{
	my @told = map { [ split /\t/ ] } map { lines_of("client-$_.log") } 1 .. CLIENTS;
	my @log  = map { decode_json($_) } lines_of('gateway.jsonl');
	$_->{from} = Failover::Cluster::host_of($_->{from}) for @log;
	my @reigns = reigns();
	my $count = Failover::Count->new(told => \@told, rows => [ rows() ], log => \@log, reigns => \@reigns);

	print_faults($count);
	print_messages($count);
	my @broken = $count->broken($option{synchronous});
	my @missing = $count->missing;
	say "BROKEN $_"  for @broken;
	say "MISSING $_" for @missing;
	return !@broken && !@missing;
}

# Print a line for each kind of fault: how often it was made, at the primary, and what followed
# before the next one: promotions, requests of an old primary that still ran and at most how
# long after its successor's begin, and messages sent for the second time.
sub print_faults ($count)
{
	my %line;
	my @promotions = $count->promotions;
	my @again = map { $count->{messages}{$_}{accepted}[1]{at} } $count->twice;
	for my $i (0 .. $#made)
	{
		my $fault  = $made[$i];
		my $next   = $i < $#made ? $made[ $i + 1 ]{began} : 'inf';
		my $during = sub ($at) { $at > $fault->{began} && $at < $next };
		my $line   = $line{ $fault->{name} } //= { map { ($_ => 0) } qw(made primary failovers late longest twice) };
		$line->{made}++;
		$line->{primary}++ if $fault->{node} eq ($fault->{leader} // '');
		$line->{failovers} += grep { $during->($_->[0]) } @promotions;
		$line->{twice}     += grep { $during->($_) } @again;
		for my $late (grep { $during->($_->{at}) } @{ $count->{late} })
		{
			my $after = $late->{at} - $late->{successor}[0];
			$line->{late}++;
			$line->{longest} = $after if $after > $line->{longest};
		}
	}
	say "\n| fault | made | at the primary | promotions | sent by an old primary | latest | twice |";
	say '|---|---:|---:|---:|---:|---:|---:|';
	for my $name (grep { $line{$_} } map { $_->[0] } @FAULTS)
	{
		my $line = $line{$name};
		printf "| %s | %d | %d | %d | %d | %s | %d |\n", $name, @$line{qw(made primary failovers late)},
		  $line->{late} ? sprintf('%.1f s', $line->{longest}) : '', $line->{twice};
	}
	return;
}

# Print how many messages there are of each kind.
sub print_messages ($count)
{
	my $n = sub (@kinds) { sum0 map { scalar @{ $count->{$_} // [] } } @kinds };
	my %row = map { ($_ => 1) } @{ $count->{there} };
	my @lines = (
		[ 'committed, as their clients were told', $n->('committed') ],
		[ 'in doubt, and not queued again', $n->('doubt') ],
		[ 'of these, on the last primary', scalar grep { $row{$_} } @{ $count->{doubt} } ],
		[ 'rows of the last primary', $n->('there') ],
		[ '`sent`, and accepted under that number', $n->('sent') ],
		[ '`unknown`, accepted', $n->('unknown_accepted') ],
		[ '`unknown`, not accepted', $n->('unknown_not') ],
		[ 'accepted, row lost with the old primary', $n->('accepted_lost') ],
		[ 'lost', $n->('lost') ],
		[ 'twice: claim lost with the old primary', $n->('twice_claimed') ],
		[ 'twice: row lost, queued again by its client', $n->('twice_queued') ],
		[ 'twice: by a node that stayed primary', $n->('twice_wrong') ],
		[ '`sent`, and not accepted', $n->('untrue') ],
		[ 'sent by an old primary after its successor began', scalar @{ $count->{late} } ],
		[ 'of these, also sent by another', scalar(my @twice = $count->late_twice) ],
		[ 'arrived after the server that sent it had ended', scalar @{ $count->{delayed} } ]);
	say "\n| messages | |\n|---|---:|";
	say "| $_->[0] | $_->[1] |" for @lines;
	return;
}
