
# A kept connection dies when the whole request has been taken, and no other can be made:
# libcurl's vain second try leaves the message in doubt; it is no proof that nothing left.

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
	line => '983000330000', max_in_flight => 1);

# Read a whole request.
sub read_request
{
	my ($connection) = @_;
	my $request = '';
	until ($request =~ /^Content-Length: (\d+)\r\n.*?\r\n\r\n(.*)/ms && length $2 == $1)
	{
		sysread $connection, $request, 65536, length $request or die 'the request broke off';
	}
	return;
}

my $gateway = fork // die "could not fork: $!";
if (!$gateway)
{
	my $connection = $listener->accept;
	read_request($connection);
	my $reply = '{"status": -1, "data": {"message_id": 1}}';
	syswrite $connection, "HTTP/1.1 200 OK\r\nContent-Length: " . length($reply) . "\r\n\r\n$reply";
	read_request($connection);
	close $listener;
	setsockopt $connection, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0;
	close $connection;
	POSIX::_exit(0);
}
close $listener;

run_sql($node, <<'END');
INSERT INTO sms_outbox (mobile, message) VALUES ('09123456789', 'first'), ('09123456789', 'second')
END
wait_for_sql($node, 'postgres', "SELECT count(*) FROM sms_outbox WHERE errors <> '[]'", 1);
waitpid $gateway, 0;
is(run_sql($node, "SELECT status, errors -> 0 ->> 'phase' FROM sms_outbox WHERE message = 'second'"),
	'unknown|wait', 'what the gateway has taken may have been sent');

$node->stop;
done_testing();
