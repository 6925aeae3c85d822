
# The exact bytes of the request for each scenario of the gateway's guide, and the columns
# that are filled from its reply.

use strict;
use warnings;
use utf8;

use Encode qw(decode);
use JSON::PP qw(decode_json);
use Mojo::Util qw(url_escape);
use SMS3300;
use Test::More;

my $line    = '983000330000';
my $gateway = new_gateway();
my $node    = new_node('main');
create_account($node, 'postgres', url => $gateway->url, username => 'us&er', password => 'p=w +%');

# Send a message, wait for its end, and return its row, the body that the gateway
# got, and the body that it should have got. $extra are the fields after message.
sub send_message
{
	my ($message, @extra) = @_;
	my $taken = $gateway->count->{taken};
	my %extra = @extra;
	my @more  = map { ", $_ => " . quote($extra{$_}) } keys %extra;

	my $id = run_sql($node, "SELECT sms3300_send('0912 345 6789', " . quote($message) . "@more)");
	wait_for_end($node);
	is($gateway->count->{taken}, $taken + 1, 'a message makes one request');

	my $row = decode_json(run_sql($node, "SELECT to_json(o) FROM sms_outbox o WHERE id = $id"));
	my @fields = (
		username => 'us&er',
		password => 'p=w +%',
		mobile   => '989123456789',
		message  => $message,
		@extra);
	my @pairs;
	while (my ($name, $value) = splice @fields, 0, 2)
	{
		push @pairs, "$name=" . url_escape(Encode::encode('UTF-8', $value));
	}
	my $request = ($gateway->log)[-1];
	return ($row, $request, join('&', @pairs));
}

# The five scenarios: the fields each posts, and the line that carries it.
my @scenarios = (
	[ 'a single message', line => $line ],
	[ 'the service line', type => 2 ],
	[ 'a second line as backup',      line => $line, line2 => '983000330001' ],
	[ 'Chelcheleh as backup',         line => $line, type  => 1 ],
	[ 'the service line as backup',   line => $line, type  => 2, template => 0 ],
);
for my $scenario (@scenarios)
{
	my ($name, @fields) = @$scenario;
	my ($row, $request, $body) = send_message("سلام: $name", @fields);
	is($request->{body}, $body, "$name: the body");
	is($request->{headers}{'Content-Type'}, 'application/x-www-form-urlencoded',
		"$name: its type");
	is($row->{status}, 'sent', "$name: sent");
}

# An account's line fills in for a missing one, except where type 2 was asked for.
run_sql($node, "ALTER SERVER sms3300 OPTIONS (ADD line '$line', ADD max_parts '255')");
my ($row, $request, $body) = send_message('on the usual line');
is($request->{body}, "$body&line=$line", 'the line of the account');
($row, $request, $body) = send_message('on the service line', type => 2);
is($request->{body}, $body, 'no line where the message asks for type 2');

# Texts.
my %texts = (
	'Persian, with ZWNJ' => "کد شما می‌شود ۱۲۳۴؛ متشکریم",
	'emoji'              => '👍🏽 👨‍👩‍👧',
	'the form\'s own characters' => 'a=1&b=2+3 100% /?#"\'~-._*()',
	'line breaks'        => "one\ntwo\r\nthree\ttabbed\n",
	'10,000 characters'  => 'سلام😀 abc ' x 1000,
);
for my $name (sort keys %texts)
{
	my ($row, $request, $body) = send_message($texts{$name});
	is($request->{body}, "$body&line=$line", "$name: encoded");
	is($request->{fields}{message}, $texts{$name}, "$name: as it was");
	is($row->{status}, 'sent', "$name: sent");
}

# The reply.
for my $case ([ 'numbers', 'hello' ], [ 'strings', '#strings' ])
{
	my ($name, $message) = @$case;
	my ($row, $request) = send_message($message);
	my $id = $request->{answer}{message_id};
	cmp_ok($id, '>', 2**32, "$name: a message_id beyond 32 bits");
	is_deeply(
		[ @$row{qw(status http_status api_status message_id sent_line attempts error)} ],
		[ 'sent', 200, -1, $id, $line, 1, undef ],
		"$name: the row");
	is($row->{response}{data}{message_id}, $id, "$name: the whole reply");
	is($row->{response}{msg}, 'success', "$name: its msg");
	ok($row->{started_at} && $row->{finished_at}, "$name: the times");
}

# The backup line that carried it.
($row) = send_message('#fallback', line => $line, line2 => '983000330001');
is($row->{sent_line}, '983000330001', 'sent by the second line');

# A refusal.
($row) = send_message('#status 27 رد شد');
is_deeply(
	[ @$row{qw(status http_status api_status message_id)} ],
	[ 'rejected', 200, 27, undef ],
	'rejected');
is($row->{response}{msg}, 'رد شد', 'with the reply');

# The gateway agrees that nothing else was sent.
is($gateway->count->{taken}, count_rows($node),
	'a request for each message');

$node->stop;
done_testing();
