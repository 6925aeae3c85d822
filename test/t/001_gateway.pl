
# The test gateway, on which the other tests rely.

use Mojo::Base -strict, -signatures;

use Errno qw(ECONNRESET);
use File::Temp qw(tempdir);
use IO::Select;
use IO::Socket::INET;
use Mojo::UserAgent;
use Mojo::Util qw(url_escape);
use SMS3300::Gateway;
use Test::More;

my $gateway = SMS3300::Gateway->new(undef, delay => 0);
my $agent   = Mojo::UserAgent->new(max_redirects => 0);
my %form    = (
	username => 'user',
	password => 'secret',
	mobile   => '989123456789',
	message  => 'hello',
	line     => '983000330000');

# Send a form with some fields changed, or without those that are undef.
sub send_form (%change)
{
	my %sent = (%form, %change);
	delete @sent{ grep { !defined $sent{$_} } keys %sent };
	return $agent->post($gateway->url, form => \%sent);
}

# Send a body as it is, as a form.
sub send_body ($body)
{
	my $type = { 'Content-Type' => 'application/x-www-form-urlencoded' };
	return $agent->post($gateway->url, $type, $body);
}

# Return the reply to a form, decoded.
sub reply_to (%change)
{
	return send_form(%change)->res->json;
}

# Return the error of a request that got no whole reply.
sub error_of ($directive)
{
	return send_form(message => $directive)->error->{message};
}

# Send bytes over a connection of its own, and return the connection.
sub send_bytes ($to, $bytes)
{
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $to->port)
	  or die "could not connect: $@";
	print $socket $bytes;
	$socket->flush;
	return $socket;
}

# Send a message so.
sub send_alone ($to, $message)
{
	my $tx = $agent->build_tx(POST => $to->url, form => { %form, message => $message });
	return send_bytes($to, $tx->req->to_string);
}

# Say whether the connection is reset instead of an answer to a directive.
sub is_reset ($directive)
{
	return !defined send_alone($gateway, $directive)->sysread(my $bytes, 1) && $! == ECONNRESET;
}

# Return the status that comes over a connection.
sub status_from ($connection)
{
	my $reply = '';
	while ($connection->sysread($reply, 1000, length $reply))
	{
		return $1 if $reply =~ /"status": (-?\d+), "msg"/;
	}
	return;
}

# An accepted message.
my $reply = reply_to(message => "سلام 😀 &=+%\n", type => 2, template => 0);
is_deeply([ @$reply{qw(status msg)} ], [ -1, 'success' ], 'accepted');
is($reply->{data}{mobile}, $form{mobile}, 'mobile in the reply');
cmp_ok($reply->{data}{message_id}, '>', 2**32, 'message_id beyond 32 bits');
cmp_ok(reply_to()->{data}{message_id}, '>', $reply->{data}{message_id}, 'ids grow');
is( send_form()->res->body =~ s/"message_id": \d+/"message_id": N/r,
	'{"data": {"message_id": N, "line": 983000330000, "mobile": "989123456789"}, '
	  . '"status": -1, "msg": "success"}',
	'laid out as in the guide');
like(reply_to(line => undef, type => 2)->{data}{line}, qr/^98/, 'type 2 needs no line');
is(reply_to(message => '😀' x 20_000)->{status}, -1, 'a long message');

# The log.
my ($first) = $gateway->log;
is($first->{fields}{message}, "سلام 😀 &=+%\n", 'logged: the decoded text');
like($first->{body}, qr/message=%D8%B3/, 'logged: the body as it came');
is_deeply(
	$first->{names},
	[qw(line message mobile password template type username)],
	'logged: the names in their order');
is($first->{answer}{message_id}, $reply->{data}{message_id}, 'logged: the answer');
is($agent->get($gateway->at('_log?since=1'))->res->json->[0]{seq}, 2, 'log by HTTP');

# Requests that it rejects, and the field that the reply names.
my @mistakes = (
	[ { color    => 'red' },           25, 'color' ],
	[ { username => undef },           25, 'username' ],
	[ { password => '' },              25, 'password' ],
	[ { mobile   => undef },           1,  'mobile' ],
	[ { mobile   => '09123456789' },   1,  'mobile' ],
	[ { mobile   => '9891234567890' }, 1,  'mobile' ],
	[ { message  => undef },           13, 'message' ],
	[ { line     => undef },           2,  'line' ],
	[ { line     => undef, type => 1 }, 2, 'line' ],
	[ { line     => '3000' },          2,  'line' ],
	[ { line     => undef, type => 2, line2 => '983000' }, 2, 'line2' ],
	[ { type     => 3 },               25, 'type' ],
	[ { template => 'a' },             25, 'template' ],
);
for my $mistake (@mistakes)
{
	my ($change, $status, $name) = @$mistake;
	my $refusal = reply_to(%$change);
	my $what    = join ', ', map { "$_ " . ($change->{$_} // 'missing') } sort keys %$change;
	is($refusal->{status}, $status, "refused: $what");
	like($refusal->{msg}, qr/^$name:/, 'the refusal names the field');
}
my $body = join '&', map { "$_=" . url_escape($form{$_}) } sort keys %form;
for my $case (
	[ "$body&line=983000330001",          25, 'line: given twice' ],
	[ $body =~ s/hello/%D8%D8/r,          3,  'message: not UTF-8' ],
	[ $body =~ s/hello/%ED%A0%80/r,       3,  'message: not UTF-8' ],
	[ $body =~ s/hello/50% off/r,         3,  'message: not UTF-8' ])
{
	my ($sent, $status, $msg) = @$case;
	my $refusal = send_body($sent)->res->json;
	is($refusal->{status}, $status, "refused: $msg");
	like($refusal->{msg}, qr/^\Q$msg\E/, 'the refusal says what is wrong');
}
is(send_body($body)->res->json->{status}, -1, 'the same body without a mistake');
is($agent->get($gateway->url)->res->code, 405, 'GET');
is($agent->post($gateway->at('api/other'))->res->code, 404, 'another path');

# Bytes that are not HTTP are rejected. A bare CR in a header field makes the parser die.
for my $bytes ("\x16\x03\x01\n", "\x16\x03\x01\nfield: a\rb\n\n")
{
	my $connection = send_bytes($gateway, $bytes);
	my $answered   = IO::Select->new($connection)->can_read(20);
	like($answered && <$connection>, qr/\AHTTP\/1\.1 400 /, 'no HTTP is refused');
}

# Directives with a whole reply.
is(reply_to(message => '#status 14 no credit')->{status}, 14, '#status');
is(reply_to(message => '#status 27 رد شد')->{msg}, 'رد شد', '#status with a text');
is(reply_to(message => '#statuses 14')->{status}, -1, 'no directive');
is(reply_to(message => '#strings')->{data}{line} . '', $form{line}, '#strings');
is(reply_to(message => '#nodata')->{data}, undef, '#nodata');
is(reply_to(message => '#fallback', line2 => '983000')->{data}{line}, 983000, '#fallback');
isnt(reply_to(message => '#fallback', type => 1)->{data}{line},
	$form{line}, '#fallback to Chelcheleh');
is(reply_to(message => '#fallback')->{status}, 27, '#fallback without a backup');
is(length send_form(message => '#huge 100000')->res->body, 100_000, '#huge');
is(ref reply_to(message => '#nested 3')->{data}[0][0], 'ARRAY', '#nested');
is(send_form(message => '#json {"a": "\xff"}')->res->body, qq({"a": "\xff"}), '#json');
is(send_form(message => '#headers 50')->res->headers->header('X-Filler-50'), 'x', '#headers');
is(send_form(message => '#empty')->res->body, '', '#empty');
like(send_form(message => '#html')->res->headers->content_type, qr/html/, '#html');
is(send_form(message => '#redirect http://x/')->res->headers->location, 'http://x/', '#redirect');
is(send_form(message => '#redirect 307 http://x/')->res->code, 307, '#redirect with a status');
is(reply_to(message => '#interim')->{status}, -1, '#interim');
is(send_form(message => '#interim #http 500')->res->code, 500, '#interim and a directive');
is(reply_to(message => '#drip 0')->{status}, -1, '#drip');
is(send_form(message => '#delay 20 #http 500')->res->code, 500, '#delay');
my $busy = send_form(message => '#http 503 retry-after=2 body=busy')->res;
is_deeply([ $busy->code, $busy->headers->header('Retry-After'), $busy->body ],
	[ 503, 2, 'busy' ], '#http');

# Directives without one.
my $before = $gateway->count;
ok(is_reset('#reset'), '#reset');
ok(is_reset('#accepted-then-drop'), '#accepted-then-drop');
like(error_of('#close'), qr/Premature/, '#close');
is(send_form(message => '#half')->res->json, undef, '#half');
my $after = $gateway->count;
is($after->{taken} - $before->{taken},       4, 'each was taken');
is($after->{accepted} - $before->{accepted}, 2, 'two were accepted');

$agent->inactivity_timeout(0.3);
like(error_of('#hang'),     qr/timeout/, '#hang');
like(error_of('#halfhang'), qr/timeout/, '#halfhang');
$agent->inactivity_timeout(20)->max_response_size(1_000_000);
like(error_of('#endless'), qr/size exceeded/, '#endless');

# Answers that are held.
my $total = $gateway->count->{taken};
my @held;
for my $status (11 .. 13)
{
	push @held, send_alone($gateway, "#hold #status $status");
	$gateway->wait_for_taken(++$total);
}
is($gateway->release(2), 2, '#hold: two are released');
is(status_from($held[$_]), 11 + $_, 'held answers are released in their order') for 0, 1;
is($gateway->release, 1, '#hold: the rest is released');
is(status_from($held[2]), 13, 'the last held answer is released');
is($gateway->release, 0, '#hold: nothing is held');

# Modes.
$gateway->mode('#http 429', 2);
is_deeply([ map { send_form()->res->code } 1 .. 3 ], [ 429, 429, 200 ], 'a mode for two requests');
$gateway->mode('#status 14');
is_deeply([ map { reply_to(message => '#ok')->{status} } 1 .. 3 ],
	[ 14, 14, 14 ], 'a lasting mode');
$gateway->mode('');
is(reply_to()->{status}, -1, 'the end of it');
ok(!eval { $gateway->mode('#htp 503') }, 'an unknown directive');

# Connections.
my @kept = map { send_form(); ($gateway->log)[-1]{connection} } 1 .. 2;
is($kept[0], $kept[1], 'a connection is kept');
my $taken = $gateway->log;
$gateway->stop;
$gateway->start;
is(reply_to()->{status}, -1, 'the same port after a restart');
is(scalar $gateway->log, $taken + 1, 'the log goes on');

# Credentials, and keeping no connection.
my $strict =
  SMS3300::Gateway->new(undef, username => 'user', password => 'secret', keepalive => 0);
is($agent->post($strict->url, form => \%form)->res->json->{status}, -1, 'right password');
is($agent->post($strict->url, form => { %form, password => 'x' })->res->json->{status},
	18, 'wrong password');
my @closed = map { $_->{connection} } $strict->log;
isnt($closed[0], $closed[1], 'no connection is kept');

my $impatient = SMS3300::Gateway->new(undef, keepalive => 0.2);
my $kept      = send_alone($impatient, 'hello');
like(join('', <$kept>), qr/success/, 'an idle connection is closed after its answer');

# https.
SKIP:
{
	skip 'no IO::Socket::SSL', 1 unless eval { require IO::Socket::SSL };
	my $folder = tempdir(CLEANUP => 1);
	my @files  = ('-keyout' => "$folder/key", '-out' => "$folder/cert");
	system("openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost @files 2>/dev/null") == 0
	  or die 'openssl failed';
	my $secure =
	  SMS3300::Gateway->new(undef, 'tls-cert' => "$folder/cert", 'tls-key' => "$folder/key");
	my $answer = $agent->insecure(1)->post($secure->url, form => \%form)->res;
	is($answer->json->{status}, -1, 'https');
}

# Misbehaving early: with a request too long for the small window.
for my $mode (qw(close-on-accept close-after-headers reset-after-headers never-read))
{
	my $early = SMS3300::Gateway->new(undef, early => $mode);
	$agent->request_timeout(1);
	my $tx = $agent->post($early->early_url, form => { %form, message => 'x' x 500_000 });
	ok($tx->error, "early: $mode");
	is_deeply($early->count, { taken => 0, accepted => 0, early => 1, asked => 0 }, 'misbehaving early takes no request');
}

done_testing();
