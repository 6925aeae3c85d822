
# Connections: kept for as long as the server keeps them, and no longer; opened again with
# the TLS session resumed; and looked up again after a while, so that a gateway that moves
# is found.

use strict;
use warnings;

use Config;
use Errno;
use File::Temp qw(tempdir);
use IO::Socket::INET;
use IPC::Run   qw(run);
use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $folder = tempdir(CLEANUP => 1);
chmod 0755, $folder;

# Run a command in the folder; die with what it says if it fails.
sub command
{
	my (@command) = @_;
	my ($stdout, $stderr);
	run(\@command, '<', \'', '>', \$stdout, '2>', \$stderr, init => sub { chdir $folder })
	  or die "@command: $stderr";
	return;
}

# What stands before the operating system: clocks that are ahead, and the address of a name,
# both as files say; and each look at the name is noted. PostgreSQL's own time is as it is.
append_to_file("$folder/shim.c", <<'END');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* What is in a file beside this library; empty if there is none. */
static const char *
content(const char *name, char *buffer, size_t size)
{
	char		path[4096];
	ssize_t		n = -1;
	int			fd;

	snprintf(path, sizeof(path), FOLDER "/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
	{
		n = read(fd, buffer, size - 1);
		close(fd);
	}
	buffer[n > 0 ? n : 0] = '\0';
	buffer[strcspn(buffer, "\n")] = '\0';
	return buffer;
}

int
clock_gettime(clockid_t clock, struct timespec *now)
{
	static int	(*real) (clockid_t, struct timespec *);
	char		buffer[64];
	int			result;

	if (!real)
		*(void **) &real = dlsym(RTLD_NEXT, "clock_gettime");
	result = real(clock, now);
	if (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_MONOTONIC_COARSE)
		now->tv_sec += atol(content("ahead", buffer, sizeof(buffer)));
	return result;
}

/* libcurl tells by this how old an address is. */
time_t
time(time_t *result)
{
	struct timespec now;
	char		buffer[64];

	clock_gettime(CLOCK_REALTIME, &now);
	now.tv_sec += atol(content("ahead", buffer, sizeof(buffer)));
	now.tv_sec += atol(content("wall", buffer, sizeof(buffer)));
	if (result)
		*result = now.tv_sec;
	return now.tv_sec;
}

int
getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
	static int	(*real) (const char *, const char *, const struct addrinfo *, struct addrinfo **);
	char		buffer[64];

	if (!real)
		*(void **) &real = dlsym(RTLD_NEXT, "getaddrinfo");
	if (name && strcmp(name, "gateway.test") == 0)
	{
		int			fd = open(FOLDER "/looks", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);

		if (fd < 0 || write(fd, ".", 1) != 1)
			abort();
		close(fd);
		name = content("address", buffer, sizeof(buffer));
		while (strcmp(name, "hang") == 0)
		{
			usleep(10000);
			name = content("address", buffer, sizeof(buffer));
		}
	}
	return real(name, service, hints, result);
}
END
command($Config{cc} // 'cc', '-shared', '-fPIC', "-DFOLDER=\"$folder\"", '-o', 'shim.so', 'shim.c', '-ldl');

# Write what a file of the shim says.
sub tell_shim
{
	my ($name, $content) = @_;
	append_to_file("$folder/$name.new", $content);
	rename "$folder/$name.new", "$folder/$name" or die "could not rename: $!";
	return;
}

command('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
	'-subj', '/CN=gateway', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', 2, '-keyout', 'key', '-out', 'certificate');
my %tls = ('tls-cert' => "$folder/certificate", 'tls-key' => "$folder/key");

my $node;
{
	local $ENV{LD_PRELOAD} = "$folder/shim.so";
	$node = new_node('main', conf => "max_connections = 20\n");
}
create_account($node, 'postgres', url => 'http://127.0.0.1:1/', line => '983000330000', max_in_flight => 1);

# Have the account send to a gateway from now on.
sub send_to
{
	my ($gateway, %option) = @_;
	alter_account($node, url => $gateway->url, %option);
	return;
}

# Send messages one after the other, each due some seconds after the last was begun, and
# return the gateway's log of them. The worker keeps the time.
sub spaced
{
	my ($gateway, $n, $pause) = @_;
	my $before = $gateway->log;
	for (1 .. $n)
	{
		run_sql($node, <<"END");
INSERT INTO sms_outbox (mobile, message, send_after)
SELECT '09123456789', 'spaced', coalesce(max(started_at), now()) + interval '$pause s' FROM sms_outbox
END
		wait_for_end($node);
	}
	my @log = $gateway->log;
	return @log[ $before .. $#log ];
}

# Return on how many connections requests came.
sub connections
{
	my %seen = map { $_->{connection} => 1 } @_;
	return scalar keys %seen;
}

# A connection is kept without an option too, but none that could be closed any moment.
my $plain = new_gateway();
send_to($plain, max_in_flight => 1);
queue($node, 'at once', n => 20);
wait_for_end($node);
cmp_ok(connections($plain->log), '<=', 2, 'messages that follow at once share a connection');

# How long is learnt from one that is left idle. Each message shows what is known when it
# comes: the one before is idle for as long as a message takes to come.
my @log = spaced($plain, 10, 1);
is(connections(@log[ 5 .. 9 ]), 1, 'a connection that idles for 1 s is kept once this server was seen to keep one longer');

# A server that closes after 2 s is asked on no connection that idled for more than 1 s.
my $brisk = new_gateway(keepalive => 2);
send_to($brisk);
spaced($brisk, 1, 0);
@log = spaced($brisk, 6, 1.4);
is(connections(@log[ 2 .. 5 ]), 4, 'none is used that a server may be about to close');

# keep_idle says it, whatever is known.
send_to(my $told = new_gateway(), keep_idle => '10 min');
is(connections(spaced($told, 3, 1.2)), 1, 'keep_idle: an idle connection is used again');
alter_account($node, keep_idle => '0');
is(connections(spaced($told, 3, 0)), 3, 'keep_idle 0: each request has a connection of its own');

# Sessions, seen where each request has its own connection.
my $secret = new_gateway(%tls);
send_to($secret, ca_file => "$folder/certificate");
is_deeply([ map { $_->{resumed} } spaced($secret, 3, 0) ], [ 0, 1, 1 ], 'a TLS session is resumed on a new connection');

# A kept connection, or a session, is worth nothing once its authority is not trusted any more.
alter_account($node, keep_idle => '10 min');
spaced($secret, 1, 0);
my $taken = $secret->count->{taken};
command('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
	'-subj', '/CN=stranger', '-days', 2, '-keyout', 'stranger.key', '-out', 'stranger');
command('cp', 'certificate', 'saved');
rename "$folder/stranger", "$folder/certificate" or die "could not rename: $!";
my $distrusted = queue($node, 'distrusted');
wait_for_log($node, qr/account "sms3300" stopped: TLS failed: .*(?:issuer|self.signed) certificate/);
is($secret->count->{taken}, $taken, 'a ca_file that was changed is noticed, although a connection was kept');
rename "$folder/saved", "$folder/certificate" or die "could not rename: $!";
wait_for_status($node, $distrusted, 'sent');

# The gateway moves: the name leads elsewhere, and the old one goes on answering. Traffic
# is steady, and connections may idle for long.
my $old = new_gateway();
my $new = new_gateway(host => '127.0.0.2', port => $old->port);
my $url = $old->url =~ s/127\.0\.0\.1/gateway.test/r;
tell_shim(address => "127.0.0.1\n");
alter_account($node, url => $url, keep_idle => '1 h', max_in_flight => 32);
queue($node, 'before', n => 100);
wait_for_end($node);
is($old->count->{taken}, 100, 'the gateway is where its name leads');

# Newer versions of libcurl ask for each family of addresses.
cmp_ok(-s "$folder/looks", '<=', 2, '... which is looked up once for requests that begin together');
tell_shim(address => "127.0.0.2\n");
queue($node, 'kept');
wait_for_end($node);
is($old->count->{taken}, 101, 'a connection outlives a change of the address');
my $ahead = 0;

# Test that a gateway gets all messages after five minutes of steady traffic.
sub is_found
{
	my ($gateway, $name) = @_;
	for (1 .. 15)
	{
		$ahead += 20;
		tell_shim(ahead => "$ahead\n");
		queue($node, "ahead $ahead");
		wait_for_end($node);
	}
	my $before = $gateway->count->{taken};
	queue($node, 'after', n => 10);
	wait_for_end($node);
	return is($gateway->count->{taken}, $before + 10, $name);
}
is_found($new, '... but not by more than 5 minutes, under steady traffic');

# libcurl's time, by which it tells the age of an address, is set back.
tell_shim(wall => "-1000000\n");
tell_shim(address => "127.0.0.1\n");
is_found($old, '... even if the clock is set back');
tell_shim(wall => "0\n");
is(statuses($node, [ map { $_->{id} } read_rows($node, 'true') ]), 'sent ' . count_rows($node, 'true'), 'all are sent');

# A name that takes long to look up is looked up once, and what waits for it fails with it.
my $looks = -s "$folder/looks";
tell_shim(address => "hang\n");
$ahead += 3600;
tell_shim(ahead => "$ahead\n");
alter_account($node, connect_timeout => '100 ms');
my @lost = queue($node, 'lost', n => 20);
wait_for_sql($node, 'postgres', 'SELECT count(*) >= 20 FROM sms_outbox WHERE message = \'lost\' AND events <> \'[]\'');
cmp_ok((-s "$folder/looks") - $looks, '<', 5, 'requests for a name that hangs wait for one lookup');
is(run_sql($node, 'SELECT DISTINCT events->0->>\'phase\', attempts FROM sms_outbox WHERE message = \'lost\''),
	'resolve|0', '... and end with it, unsent');
tell_shim(address => "127.0.0.2\n");
wait_for_status($node, \@lost, 'sent');

# A request that could not be delivered does not arrive later: a connection that is given up is
# reset, by which the kernel forgets what it would repeat.
my $listener = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', Timeout => 180) or die "could not listen: $!";
alter_account($node, url => 'http://127.0.0.1:' . $listener->sockport . '/', timeout => '1s', connect_timeout => '1s');
my $given_up = queue($node, 'given up');
my $accepted = $listener->accept or die "nobody connected: $!";
wait_for_status($node, $given_up, 'unknown');
$! = 0;
1 while sysread $accepted, my $bytes, 65_536;
ok($!{ECONNRESET}, 'a request that is given up is not delivered later');

$node->stop;
done_testing();
