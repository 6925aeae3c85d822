# A running test gateway (test/gateway.pl), as an object; it ends with the object.
#
#     my $gateway = SMS3300::Gateway->new($path, delay => 5);
#     $gateway->url;                      # for the option url of the server
#     $gateway->mode('#http 503', 3);     # what the next three requests get
#     my @requests = $gateway->log;       # what it took, as a list of hashes
#     $gateway->taken('hello');           # those of one text

package SMS3300::Gateway;

use strict;
use warnings;

use Cwd            qw(abs_path);
use File::Basename qw(dirname);
use File::Temp     qw(tempdir);
use HTTP::Tiny;
use IO::Socket::INET;
use JSON::PP       qw(decode_json encode_json);
use POSIX          qw(_exit WNOHANG);
use SMS3300::Wait  qw(wait_until);

my $program = abs_path(dirname(__FILE__) . '/../../gateway.pl');
my $started = 0;

# Start a gateway whose files' names begin with $path (in a new folder by default);
# %option are the program's own options, without their dashes.
sub new
{
	my ($class, $path, %option) = @_;
	$path //= tempdir(CLEANUP => 1) . '/gateway';
	my $self = bless { base => $path . ++$started, option => \%option, port => 0 }, $class;
	return $self->start;
}

# Start the program, again on the port it had, and wait until it listens.
sub start
{
	my ($self) = @_;
	$self->{port} ||= free_port();
	my %option = (
		port        => $self->{port},
		'port-file' => "$self->{base}.port",
		log         => "$self->{base}.log",
		%{ $self->{option} });
	$option{'early-port-file'} = "$self->{base}.early" if $option{early};

	unlink $option{'port-file'};

	# Thousands of connections may hang on it.
	my @command = (
		'sh', '-c', 'ulimit -n "$(ulimit -Hn)"; exec "$@" >>"$0" 2>&1', "$self->{base}.out",
		$^X, $program, map { ("--$_" => $option{$_}) } sort keys %option);
	my $pid = fork // die "could not fork: $!";
	exec { $command[0] } @command or _exit(127) if !$pid;

	$self->{pid} = $pid;
	wait_until(
		sub {
			return -s $option{'port-file'} unless waitpid $pid, WNOHANG;
			delete $self->{pid};
			die "the gateway ended; see $self->{base}.out";
		},
		'the gateway to listen');
	$self->{port}       = read_line($option{'port-file'});
	$self->{early_port} = read_line($option{'early-port-file'}) if $option{early};
	return $self;
}

# Return a port that nobody listens on. It is below those that the system hands out: while a
# gateway is stopped, no connection of another test gets its port.
sub free_port
{
	for (1 .. 100)
	{
		my $port = 10_240 + int rand 22_000;
		return $port if IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1:$port");
	}
	die "no port is free";
}

# Restart the program with other options, on the port it had.
sub restart
{
	my ($self, %option) = @_;
	$self->stop;
	$self->{option} = \%option;
	return $self->start;
}

# Stop the program, if it runs.
sub stop
{
	my ($self) = @_;
	my $pid = delete $self->{pid} or return;
	local $?;
	kill TERM => $pid;
	waitpid $pid, 0;
	return;
}

sub DESTROY
{
	my ($self) = @_;
	$self->stop;
	return;
}

# Return the address that it listens on.
sub host
{
	my ($self) = @_;
	return $self->{option}{host} // '127.0.0.1';
}

# Return the port that it listens on.
sub port
{
	my ($self) = @_;
	return $self->{port};
}

# Return the URL of the API.
sub url
{
	my ($self) = @_;
	return $self->at('api/wsSend.ashx');
}

# Return the URL of the API on the port that misbehaves early.
sub early_url
{
	my ($self) = @_;
	return "http://${\ $self->host}:$self->{early_port}/api/wsSend.ashx";
}

# Return all that it has taken since it was first started; their number, in scalar
# context.
sub log
{
	my ($self) = @_;
	open my $file, '<:raw', "$self->{base}.log" or die "could not read the log: $!";
	my @entries = map { decode_json($_) } <$file>;
	return @entries;
}

# Return those of the log that have a text; their number, in scalar context.
sub taken
{
	my ($self, $message) = @_;
	my @taken = grep { ($_->{fields}{message} // '') eq $message } $self->log;
	return @taken;
}

# Answer the next $times requests, or all of them, as a directive says; an empty
# one ends that.
sub mode
{
	my ($self, $directive, $times) = @_;
	$self->control('_mode', encode_json({ directive => $directive, times => $times }));
	return;
}

# Have it give the first $times answers that it holds, or all; return how many it held.
sub release
{
	my ($self, $times) = @_;
	return $self->control('_release', encode_json({ times => $times }))->{released};
}

# Set the delivery states that it holds, by id at the gateway, and how it says them: held,
# default and shape, as its /_states takes them.
sub states
{
	my ($self, %states) = @_;
	$self->control('_states', encode_json(\%states));
	return;
}

# Return what it was asked for: a list of hashes with ids, username and names.
sub asked
{
	my ($self) = @_;
	return @{ $self->control('_asked') };
}

# Return how many requests were taken and accepted, and how many connections the
# port that misbehaves early has had.
sub count
{
	my ($self) = @_;
	return $self->control('_count');
}

# Wait until it has taken so many requests in all.
sub wait_for_taken
{
	my ($self, $n) = @_;
	my $taken;
	wait_until(sub { ($taken = $self->count->{taken}) >= $n },
		sub { "the gateway to take $n requests in all; it has taken $taken" },
		sub { $taken });
	return;
}

# Make a control request: POST if there is something to send.
sub control
{
	my ($self, $name, $content) = @_;
	my ($method, %more) = defined $content ? (POST => (content => $content)) : 'GET';
	my $answer =
	  HTTP::Tiny->new(verify_SSL => 0)->request($method, $self->at($name), \%more);
	die "$name: $answer->{status} $answer->{content}" unless $answer->{success};
	return decode_json($answer->{content});
}

# Return the URL of a path.
sub at
{
	my ($self, $path) = @_;
	my $scheme = $self->{option}{'tls-cert'} ? 'https' : 'http';
	return "$scheme://${\ $self->host}:$self->{port}/$path";
}

# Return the only line of a file.
sub read_line
{
	my ($path) = @_;
	open my $file, '<', $path or die "could not read \"$path\": $!";
	chomp(my $line = <$file>);
	return $line;
}

1;
