# Hosts in network namespaces: three nodes of Patroni, three of etcd, and the gateway.
#
#     my $cluster = Failover::Cluster->new(prefix => …, folder => …, bindir => …, synchronous => 'on', api => 2);
#     $cluster->start;                     # and wait until it is complete, with an account
#     $cluster->leader;                    # the node that holds the lease, as etcd says
#     $cluster->cut('n1', 'n2');           # what n1 sends to n2 is lost
#     $cluster->kill_in('KILL', 'n1');     # a signal to all processes of a host
#     $cluster->mend;                      # everything works again

package Failover::Cluster;

use Mojo::Base -strict, -signatures;

use HTTP::Tiny;
use List::Util   qw(first);
use MIME::Base64 qw(decode_base64 encode_base64);
use Mojo::JSON   qw(decode_json encode_json);
use POSIX        qw(_exit setsid);
use Time::HiRes  qw(sleep time);

use constant {
	GATEWAY_PORT => 8080,

	# In milliseconds, how long the gateway thinks about a request.
	THINKING => 150,

	# Patroni's own defaults are 30, 10 and 10; these are near the least that it takes.
	TTL           => 20,
	LOOP_WAIT     => 3,
	RETRY_TIMEOUT => 5,

	# In seconds, how long what must happen may take.
	PATIENCE => 300,
};

our @NODES = qw(n1 n2 n3);
our @ETCD  = qw(e1 e2 e3);
my @hosts = (@NODES, @ETCD, qw(gateway client));
my %address = map { ($hosts[$_] => '10.33.0.' . ($_ + 1)) } 0 .. $#hosts;
my %node_of = map { ($address{$_} => $_) } @NODES;

# A hardware address that no host has.
use constant NOBODY => '02:00:00:00:00:ff';

sub new ($class, %with)
{
	return bless {%with}, $class;
}

# Return a host's address, and the host of one.
sub address ($host)  { return $address{$host} }
sub host_of ($from)  { return $node_of{$from} }

# Wait until a sub returns something true, which is returned; or for so many seconds.
sub wait_until ($sub, $seconds = PATIENCE)
{
	my $deadline = time + $seconds;
	while (1)
	{
		my $result = $sub->();
		return $result if $result || time > $deadline;
		sleep 0.5;
	}
}

# ---------------------------------------------------------------------------
# Processes
# ---------------------------------------------------------------------------

# Return the command that runs another one on a host, as the user who owns the servers.
sub on_host ($self, $host, @command)
{
	return ('ip', 'netns', 'exec', "$self->{prefix}-$host", $self->as_owner(@command));
}

# Return the command that runs another one as the user who owns the servers.
sub as_owner ($self, @command)
{
	return (qw(setpriv --reuid=postgres --regid=postgres --clear-groups env),
		"HOME=$self->{folder}", 'PATH=/usr/bin:/bin', 'LC_ALL=C.UTF-8', @command);
}

# Start a program on a host; what it prints goes to a log.
sub start_on ($self, $host, $log, @command)
{
	my $pid = fork // die "could not fork: $!\n";
	return if $pid;
	setsid();
	open STDIN,  '<',  '/dev/null';
	open STDOUT, '>>', "$self->{folder}/$log.log";
	open STDERR, '>&', \*STDOUT;
	my @all = $self->on_host($host, @command);
	exec { $all[0] } @all or _exit(127);
}

# Return the processes of a host.
sub pids ($self, $host)
{
	my $namespace = (stat "/run/netns/$self->{prefix}-$host")[1] // die "host $host is gone\n";
	return grep { ((stat "/proc/$_/ns/net")[1] // 0) == $namespace } map { m{(\d+)\z} } glob '/proc/[0-9]*';
}

# Return the command line of a process.
sub command_of ($pid)
{
	open my $file, '<', "/proc/$pid/cmdline" or return '';
	return do { local $/ = undef; <$file> } // '';
}

# Return whether a process is Patroni.
sub is_patroni ($pid)
{
	return command_of($pid) =~ m{/patroni\0.*\.yml};
}

# Return a node's postmaster, as its file says.
sub postmaster ($self, $node)
{
	open my $file, '<', "$self->{folder}/$node/data/postmaster.pid" or return;
	my $pid = int(<$file> // 0);
	return first { $_ == $pid } $self->pids($node);
}

# Send a signal to the processes of a host that a sub wants, and again to those that they
# began meanwhile.
sub kill_in ($self, $signal, $host, $wants = sub ($pid) { 1 })
{
	for (1 .. ($signal eq 'KILL' ? 100 : 2))
	{
		my @pids = grep { $wants->($_) } $self->pids($host) or return;
		kill $signal => @pids;
		sleep 0.02;
	}
	return;
}

# Start Patroni on a node, unless it runs.
sub start_patroni ($self, $node)
{
	my $runs = sub { grep { is_patroni($_) } $self->pids($node) };
	return if $runs->();
	$self->start_on($node, $node, '/usr/bin/patroni', "$self->{folder}/$node/patroni.yml");
	wait_until($runs, 30) or die "Patroni does not start on $node\n";
	return;
}

# ---------------------------------------------------------------------------
# The network
# ---------------------------------------------------------------------------

# Lose what a host sends to others. The frames go to a hardware address that nobody has: the
# sender notices as little as it would of a cable that is cut elsewhere.
sub cut ($self, $from, @to)
{
	for my $to (@to)
	{
		$self->ip($from, 'neigh', 'replace', $address{$to}, 'lladdr', NOBODY, qw(nud permanent dev eth0))
		  or die "$from cannot be cut off from $to\n";
	}
	return;
}

# No longer lose what a host sends to others.
sub join_again ($self, $from, @to)
{
	$self->ip($from, 'neigh', 'del', $address{$_}, 'dev', 'eth0') for @to;
	return;
}

# Run the program ip for a host.
sub ip ($self, $host, @words)
{
	return system("ip -n $self->{prefix}-$host @words >/dev/null 2>&1") == 0;
}

# Return all hosts but one.
sub others ($host)
{
	return grep { $_ ne $host } @hosts;
}

# ---------------------------------------------------------------------------
# Questions
# ---------------------------------------------------------------------------

# Return the node that holds the lease, as etcd has it; undef if none does.
sub leader ($self)
{
	my $http = HTTP::Tiny->new(timeout => 2);
	my $key  = '/service/sms/leader';
	for my $url (map { "http://$address{$_}:2379" } @ETCD)
	{
		my $answer =
		  $self->{api} == 2
		  ? $http->get("$url/v2/keys$key")
		  : $http->post("$url/v3/kv/range", { content => encode_json({ key => encode_base64($key, '') }) });
		next unless $answer->{success};
		my $found = decode_json($answer->{content});
		return $found->{node}{value} if $self->{api} == 2;
		return $found->{kvs} && decode_base64($found->{kvs}[0]{value});
	}
	return;
}

# Run SQL on a node, by its socket, and return what it prints; undef if it failed.
sub sql ($self, $node, $sql)
{
	my @command = $self->as_owner('timeout', '-k', '1', '20', "$self->{bindir}/psql", qw(-X -A -t -q -v ON_ERROR_STOP=1 -d postgres -h),
		"$self->{folder}/$node", '-c', $sql);
	my $pid = open my $out, '-|' // die "could not fork: $!\n";
	if (!$pid)
	{
		open STDERR, '>>', "$self->{folder}/commands.log";
		exec { $command[0] } @command or _exit(127);
	}
	my $printed = join '', <$out>;
	return close $out ? $printed =~ s/\n\z//r : undef;
}

# Run SQL on the leader; undef if there is none, or it failed.
sub sql_on_leader ($self, $sql)
{
	my $leader = $self->leader // return;
	return $self->sql($leader, $sql);
}

# Return whether the leader has both standbys, and one that confirms where one has to.
sub is_complete ($self)
{
	my $sync = $self->{synchronous} eq 'off' ? '' : "AND bool_or(sync_state IN ('sync', 'quorum'))";
	return ($self->sql_on_leader(<<"END") // '') eq 't';
SELECT NOT pg_is_in_recovery() AND count(*) = 2 $sync FROM pg_stat_replication
WHERE state = 'streaming' AND application_name LIKE 'n_'
END
}

# ---------------------------------------------------------------------------
# Start and end
# ---------------------------------------------------------------------------

# Start everything, and wait until it is complete and has an account.
sub start ($self)
{
	my $folder = $self->{folder};
	my $members = join ',', map { "$_=http://$address{$_}:2380" } @ETCD;
	for my $host (@ETCD)
	{
		$self->start_on($host, $host, '/usr/bin/etcd', '--name', $host, '--data-dir', "$folder/$host",
			'--listen-client-urls', "http://$address{$host}:2379", '--advertise-client-urls', "http://$address{$host}:2379",
			'--listen-peer-urls', "http://$address{$host}:2380", '--initial-advertise-peer-urls', "http://$address{$host}:2380",
			'--initial-cluster', $members, qw(--heartbeat-interval 300 --election-timeout 3000), $self->{api} == 2 ? '--enable-v2' : ());
	}
	$self->start_on('gateway', 'gateway-out', $^X, 'test/gateway.pl', '--host', $address{gateway},
		'--port', GATEWAY_PORT, '--delay', THINKING, '--log', "$folder/gateway.jsonl");
	$self->configure($_) for @NODES;

	# Whoever is first makes the cluster; the others copy it.
	$self->start_patroni('n1');
	wait_until(sub { defined $self->sql_on_leader('SELECT 1') }) or die "there is no first primary\n";
	$self->start_patroni($_) for @NODES;
	wait_until(sub { $self->is_complete }) or die "the cluster did not become complete\n";
	my $url = "http://$address{gateway}:" . GATEWAY_PORT . '/api/wsSend.ashx';
	defined $self->sql_on_leader(<<"END") or die "could not create the account\n";
CREATE EXTENSION sms3300;
CREATE SERVER sms3300 FOREIGN DATA WRAPPER sms3300 OPTIONS (url '$url', line '983000330000',
	timeout '5s', connect_timeout '2s', max_in_flight '8');
CREATE USER MAPPING FOR PUBLIC SERVER sms3300 OPTIONS (username 'user', password 'secret');
CREATE ROLE app LOGIN;
GRANT USAGE ON FOREIGN SERVER sms3300 TO app;
END
	return;
}

# Write a node's configuration of Patroni.
sub configure ($self, $node)
{
	my $home   = "$self->{folder}/$node";
	my $etcd   = join ', ', map { "'$address{$_}:2379'" } @ETCD;
	my $sync   = $self->{synchronous} ne 'off'    ? 'true' : 'false';
	my $strict = $self->{synchronous} eq 'strict' ? 'true' : 'false';
	my $api    = $self->{api} == 2                ? 'etcd' : 'etcd3';
	mkdir $home or die "could not create \"$home\": $!\n";
	open my $file, '>', "$home/patroni.yml" or die "could not configure $node: $!\n";
	print $file <<"END";
scope: sms
name: $node
log: {dir: $home, file_size: 100000000}
restapi: {listen: '$address{$node}:8008', connect_address: '$address{$node}:8008'}
$api: {hosts: [$etcd]}
bootstrap:
  dcs:
    ttl: @{[TTL]}
    loop_wait: @{[LOOP_WAIT]}
    retry_timeout: @{[RETRY_TIMEOUT]}
    maximum_lag_on_failover: 16777216
    synchronous_mode: $sync
    synchronous_mode_strict: $strict
    postgresql:
      use_pg_rewind: true
      use_slots: true
  initdb: [encoding: UTF8, locale: C, auth: trust]
postgresql:
  listen: '$address{$node}:5432'
  connect_address: '$address{$node}:5432'
  data_dir: $home/data
  bin_dir: $self->{bindir}
  pgpass: $home/pgpass
  remove_data_directory_on_rewind_failure: true
  remove_data_directory_on_diverged_timelines: true
  authentication:
    superuser: {username: postgres, password: postgres}
    replication: {username: replicator, password: replicator}
    rewind: {username: postgres, password: postgres}
  parameters:
    unix_socket_directories: $home
    shared_preload_libraries: sms3300
    shared_buffers: 16MB
    wal_keep_size: 256MB
    wal_sender_timeout: 10s
    wal_receiver_timeout: 10s
    tcp_user_timeout: 10s
    timezone: UTC
    log_line_prefix: '%n [%p] '
  pg_hba:
    - local all all trust
    - host all all 10.33.0.0/24 trust
    - host replication all 10.33.0.0/24 trust
watchdog: {mode: 'off'}
END
	close $file;
	system('chown', '-R', 'postgres:', $home);
	return;
}

# End all faults, and wait until the cluster is complete; returns whether it became so.
sub mend ($self)
{
	for my $host (@hosts)
	{
		$self->ip($host, qw(neigh flush dev eth0 nud permanent));
		$self->kill_in('CONT', $host);
	}
	$self->start_patroni($_) for @NODES;
	return wait_until(sub { $self->is_complete });
}

1;
