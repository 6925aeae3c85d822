
# A kept connection is closed after the whole request was received, and a new connection
# cannot be made. libcurl's attempt to send the request again does not prove that nothing
# was sent: the message is in doubt.

use strict;
use warnings;

use IO::Socket::INET;
use POSIX ();
use SMS3300;
use Socket qw(SOL_SOCKET SO_LINGER);
use Test::More;

my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 5)
  or die "could not listen: $!";
my $node = new_node('main');
create_account($node, 'postgres', url => 'http://127.0.0.1:' . $listener->sockport . '/',
	line => '983000330000', max_in_flight => 1, keep_idle => '500ms');

# Read a whole request; false if the connection ends before that.
sub read_request
{
	my ($connection) = @_;
	my $request = '';
	until ($request =~ /^Content-Length: (\d+)\r\n.*?\r\n\r\n(.*)/ms && length $2 == $1)
	{
		sysread $connection, $request, 65536, length $request or return;
	}
	return 1;
}

my $gateway = fork // die "could not fork: $!";
if (!$gateway)
{
	# A connection that was idle for long is not used again, but a new one.
	my ($connection, $kept);
	until ($kept)
	{
		$connection = $listener->accept;
		read_request($connection);
		my $reply = '{"status": -1, "data": {"message_id": 1000}}';
		syswrite $connection, "HTTP/1.1 200 OK\r\nContent-Length: " . length($reply) . "\r\n\r\n$reply";
		$kept = read_request($connection);
	}
	close $listener;
	setsockopt $connection, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0;
	close $connection;
	POSIX::_exit(0);
}
close $listener;

run_sql($node, <<'END');
INSERT INTO sms_outbox (mobile, message) SELECT '09123456789', n FROM generate_series(1, 50) AS n
END
wait_for_sql($node, 'postgres', "SELECT count(*) > 0 FROM sms_outbox WHERE events <> '[]'");
waitpid $gateway, 0;
is(run_sql($node, "SELECT status, events -> 0 ->> 'phase' FROM sms_outbox WHERE events <> '[]' ORDER BY id LIMIT 1"),
	'unknown|wait', 'what the gateway has taken may have been sent');

$node->stop;
done_testing();
