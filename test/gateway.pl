#!/usr/bin/perl

# A stand-in for the 3300 gateway, for tests and for developing without an
# account: it checks what it gets, answers as the real one does, keeps a log of
# every request, and misbehaves when told to. --help explains it all.

use Mojo::Base -strict, -signatures;

use Getopt::Long qw(GetOptions);
use Mojo::IOLoop;
use Mojo::JSON qw(decode_json encode_json to_json);
use Mojo::Message::Request;
use Mojo::Message::Response;
use Mojo::Util  qw(decode encode url_unescape xml_escape);
use POSIX       qw(strftime);
use Socket      qw(IPPROTO_TCP SOL_SOCKET SO_LINGER SO_RCVBUF TCP_MAXSEG);
use Time::HiRes qw(time);

use constant {
	API_PATH        => '/api/wssend.ashx',
	STATES_PATH     => '/api/wsstates.ashx',
	SERVICE_LINE    => '983000303300',
	CHELCHELEH_LINE => '989999303300',
	RECENT          => 10_000,
	SHOWN           => 200,
};

# What the API takes: how each value must look, and the code that refuses a
# request where it looks otherwise or is missing.
my %PARAMETER = (
	username => { code => 25, like => qr/\A.+\z/s },
	password => { code => 25, like => qr/\A.+\z/s },
	mobile   => { code => 1,  like => qr/\A989[0-9]{9}\z/ },
	message  => { code => 13, like => qr/\A.+\z/s },
	line     => { code => 2,  like => qr/\A98[0-9]{4,14}\z/ },
	line2    => { code => 2,  like => qr/\A98[0-9]{4,14}\z/ },
	type     => { code => 25, like => qr/\A[012]\z/ },
	template => { code => 25, like => qr/\A[0-9]+\z/ },
);
my @REQUIRED = qw(username password mobile message);

# The characters of the GSM alphabet, and those that take two places in it.
my $GSM7      = qr/[\n\r !"#\$%&'()*+,\-.\/0-9:;<=>?\@A-Z_a-z¡£¤¥§¿ÄÅÆÇÉÑÖØÜßàäåæèéìñòöøùüΓΔΘΛΞΠΣΦΨΩ]/;
my $GSM7_TWICE = qr/[\f\[\\\]^{|}~€]/;

# Ways to answer: how to write the directive, what matches it, what it does, and
# the answer it gives to a form. A directive's own words are the sub's arguments.
# When the last second's messages were accepted, for the directive limit.
my @accepted_at;

my @DIRECTIVES = (
	[
		'ok',
		qr/ok/,
		'the ordinary answer: what the checks say, else accepted',
		sub ($form) { verdict($form) }
	],
	[
		'status N [TEXT]',
		qr/status (-?\d+)(?: (.+))?/,
		'200 with this status and msg; a negative status is accepted',
		sub ($form, $status, $text = $status < 0 ? 'success' : 'told to') {
			return $status < 0
			  ? verdict($form, status => $status, msg => $text)
			  : refusal($status, $text);
		}
	],
	[
		'fallback',
		qr/fallback/,
		'opted out of line: sent by line2, Chelcheleh or the service line, else status 27',
		sub ($form) {
			my $line = backup_line($form->{fields})
			  // return refusal(27, 'the recipient has opted out of line');
			return verdict($form, line => $line);
		}
	],
	[
		'strings',
		qr/strings/,
		'accepted, with message_id and line as strings',
		sub ($form) {
			verdict($form,
				data => '{"message_id": "%s", "line": "%s", "mobile": "%s"}');
		}
	],
	[
		'nodata',
		qr/nodata/,
		'accepted, but data is null',
		sub ($form) { json_answer('null', -1, 'success') }
	],
	[
		'http CODE [retry-after=WHEN] [body=TEXT]',
		qr/http ([1-9]\d\d)(?: retry-after=(\w{3}, .+? GMT|\S+))?(?: body=(.*))?/,
		'this HTTP status; WHEN is in seconds or an HTTP date, or a word that is neither',
		sub ($form, $code, $when = undef, $text = $code =~ /\A[23]04\z/ ? '' : "HTTP $code") {
			my @headers = defined $when ? ('Retry-After' => $when) : ();
			return http_answer($code, text => encode('UTF-8', $text), @headers);
		}
	],
	[
		'limit N',
		qr/limit (\d+)/,
		'the ordinary answer N times in any second, and 429 beyond',
		sub ($form, $n) {
			my $now = time;
			@accepted_at = grep { $_ > $now - 1 } @accepted_at;
			return http_answer(429, text => 'too many') if @accepted_at >= $n;
			push @accepted_at, $now;
			return verdict($form);
		}
	],
	[
		'redirect [CODE] URL',
		qr/redirect (?:(3\d\d) )?(\S+)/,
		'this HTTP status, or else 302, with this Location',
		sub ($form, $code, $url) {
			http_answer($code // 302, text => 'elsewhere', Location => $url);
		}
	],
	[
		'interim [#DIRECTIVE]',
		qr/interim(?: (#.*))?/,
		'100 and 103, and then that directive, or else ok',
		sub ($form, $then = '') {
			my $answer  = { then => 'keep', %{ answer_to($form, $then) } };
			my $interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n";
			return { %$answer, bytes => $interim . ($answer->{bytes} // wire($answer)) };
		}
	],
	[
		'cookie',
		qr/cookie/,
		'the ordinary answer, with a cookie',
		sub ($form) {
			my $answer = verdict($form);
			push @{ $answer->{headers} }, 'Set-Cookie' => 'session=1; Path=/';
			return $answer;
		}
	],
	[
		'delay MS [#DIRECTIVE]',
		qr/delay (\d+)(?: (#.*))?/,
		'that directive, or else ok, after MS milliseconds',
		sub ($form, $ms, $then = '') {
			return { %{ answer_to($form, $then) }, delay => $ms };
		}
	],
	[
		'hold [#DIRECTIVE]',
		qr/hold(?: (#.*))?/,
		'that directive, or else ok, once it is released',
		sub ($form, $then = '') {
			return { %{ answer_to($form, $then) }, held => 1 };
		}
	],
	[
		'hang',
		qr/hang/,
		'never answers',
		sub ($form) { return { bytes => '', then => 'hang' } }
	],
	[
		'reset',
		qr/reset/,
		'resets the connection',
		sub ($form) { return { bytes => '', then => 'reset' } }
	],
	[
		'close',
		qr/close/,
		'closes the connection without sending a byte',
		sub ($form) { return { bytes => '', then => 'close' } }
	],
	[
		'accepted-then-drop',
		qr/accepted-then-drop/,
		'accepts the message, then resets the connection',
		sub ($form) { return { %{ verdict($form) }, bytes => '', then => 'reset' } }
	],
	[
		'half',
		qr/half/,
		'half of the ordinary body, then closes',
		sub ($form) { return { %{ cut(verdict($form)) }, then => 'close' } }
	],
	[
		'halfhang',
		qr/halfhang/,
		'half of the ordinary body, then nothing more',
		sub ($form) { return { %{ cut(verdict($form)) }, then => 'hang' } }
	],
	[
		'drip MS [forever]',
		qr/drip (\d+)( forever)?/,
		'the ordinary answer, a byte every MS; forever: with endless blanks after it',
		sub ($form, $ms, $forever = undef) {
			return {
				%{ verdict($form) },
				pace => $ms,
				$forever ? (tail => ' ') : ()
			};
		}
	],
	[
		'endless',
		qr/endless/,
		'a chunked body without end, as fast as it is read',
		sub ($form) {
			return {
				%{ http_answer(200, json => '', 'Transfer-Encoding' => 'chunked') },
				tail => "10000\r\n" . ' ' x 0x10000 . "\r\n"
			};
		}
	],
	[
		'huge N',
		qr/huge (\d+)/,
		'accepted, with a msg that makes the body N bytes long',
		sub ($form, $size) {
			my $answer = verdict($form);
			my $more   = $size - length $answer->{body};
			substr $answer->{body}, -2, 0, 'x' x $more if $more > 0;
			return $answer;
		}
	],
	[
		'nested N',
		qr/nested (\d+)/,
		'status -1, with data of N nested arrays',
		sub ($form, $levels) {
			my $data = '[' x $levels . ']' x $levels;
			return json_answer($data, -1, 'success');
		}
	],
	[
		'items N',
		qr/items (\d+)/,
		'status -1, with data of N empty arrays',
		sub ($form, $n) { json_answer('[' . join(',', ('[]') x $n) . ']', -1, 'success') }
	],
	[
		'headers N',
		qr/headers (\d+)/,
		'the ordinary answer with N more header lines',
		sub ($form, $n) {
			my $answer = verdict($form);
			push @{ $answer->{headers} }, map { ("X-Filler-$_" => 'x') } 1 .. $n;
			return $answer;
		}
	],
	[
		'json TEXT',
		qr/json (.*)/,
		'200 with TEXT, to the end of the line, as the body; \xHH is a raw byte',
		sub ($form, $text) {
			my $body = encode('UTF-8', $text) =~ s/\\x([0-9A-Fa-f]{2})/chr hex $1/ger;
			return http_answer(200, json => $body);
		}
	],
	[
		'empty',
		qr/empty/,
		'200 without a body',
		sub ($form) { http_answer(200, text => '') }
	],
	[
		'text',
		qr/text/,
		'200 with a plain text',
		sub ($form) { http_answer(200, text => 'Service is being updated') }
	],
	[
		'html',
		qr/html/,
		'200 with a page of HTML',
		sub ($form) {
			http_answer(200, html => '<!DOCTYPE html><title>Login</title><p>Please log in');
		}
	],
	[
		'garbage',
		qr/garbage/,
		'bytes that are not HTTP, then closes',
		sub ($form) { return { bytes => "\x00\xff\xfe\x16no HTTP\r\n\r\n", then => 'close' } }
	],
);

# Ways to lay out the delivery states that are asked for, which nobody has published: a
# pattern, what it is, and a sub that makes the JSON, or a whole answer, of pairs of id and
# state. Those of the second list are to be taken for no answer, or for one to fewer ids.
my @SHAPES = (
	[ qr/items/, 'a list of objects',
		sub ($pairs) { data_of([ map { { message_id => 0 + $_->[0], status => 0 + $_->[1] } } @$pairs ]) } ],
	[ qr/strings/, 'the same with other names, and strings',
		sub ($pairs) { data_of([ map { { MsgID => "$_->[0]", Delivery_State => "$_->[1]" } } @$pairs ]) } ],
	[ qr/bom/, 'the same as items, after a byte order mark',
		sub ($pairs) { "\x{FEFF}" . data_of([ map { { id => 0 + $_->[0], state => 0 + $_->[1] } } @$pairs ]) } ],
	[ qr/keyed/, 'an object whose keys are the ids',
		sub ($pairs) { data_of({ map { $_->[0] => 0 + $_->[1] } @$pairs }) } ],
	[ qr/arrays/, 'two lists, of ids and of states',
		sub ($pairs) { data_of({ ids => [ map { 0 + $_->[0] } @$pairs ], states => [ map { 0 + $_->[1] } @$pairs ] }) } ],
	[ qr/pair/, 'two lists in a list',
		sub ($pairs) { data_of([ [ map { 0 + $_->[0] } @$pairs ], [ map { 0 + $_->[1] } @$pairs ] ]) } ],

	[ qr/rows/, 'names of its own', sub ($pairs) { encode_json({ rows => [ map { { n => 0 + $_->[0], s => 0 + $_->[1] } } @$pairs ] }) } ],
	[ qr/bare/, 'the states alone, in order',
		sub ($pairs) { data_of([ map { 0 + $_->[1] } @$pairs ]) } ],
	[ qr/scalar/, 'the state of one id alone, and of several the first one\'s',
		sub ($pairs) { 0 + $pairs->[0][1] } ],
	[ qr/foreign/, 'as delivered: other ids, which follow those asked for',
		sub ($pairs) { data_of([ map { { id => $_->[0] + 1_000_000_007, status => 1 } } @$pairs ]) } ],
	[ qr/other/, 'another batch\'s answer: all is delivered, by two lists of other ids',
		sub ($pairs) { data_of({ ids => [ map { $_->[0] + 1_000_000_007 } @$pairs ], states => [ map { 1 } @$pairs ] }) } ],
	[ qr/contradict/, 'each id twice, as delivered and as not',
		sub ($pairs) { data_of([ map { my $pair = $_; map { { id => 0 + $pair->[0], status => $_ } } 1, 2 } @$pairs ]) } ],
	[ qr/twice/, 'each id twice, with the same state',
		sub ($pairs) { data_of([ map { { id => 0 + $_->[0], status => 0 + $_->[1] } } @$pairs, @$pairs ]) } ],
	[ qr/two-states/, 'objects with two keys for a state',
		sub ($pairs) { data_of([ map { { id => 0 + $_->[0], status => 1, state => 1 } } @$pairs ]) } ],
	[ qr/nulls/, 'null in place of the states',
		sub ($pairs) { data_of([ map { { id => 0 + $_->[0], status => undef } } @$pairs ]) } ],
	[ qr/texts/, 'texts in place of the states',
		sub ($pairs) { data_of([ map { { id => 0 + $_->[0], status => 'delivered' } } @$pairs ]) } ],
	[ qr/fractions/, 'numbers that are not whole',
		sub ($pairs) { data_of([ map { { id => 0 + $_->[0], status => 1.5 } } @$pairs ]) } ],
	[ qr/short/, 'two lists, the second of which is shorter',
		sub ($pairs) { data_of({ ids => [ map { 0 + $_->[0] } @$pairs ], states => [ (1) x (@$pairs - 1) ] }) } ],
	[ qr/three/, 'three lists of one length',
		sub ($pairs) { my @ids = map { 0 + $_->[0] } @$pairs; data_of({ ids => \@ids, states => [ (1) x @ids ], lines => [ (2) x @ids ] }) } ],
	[ qr/status (\d+)/, 'an error code, beside states',
		sub ($pairs, $code) { encode_json({ status => 0 + $code, msg => 'no', data => [ map { { id => 0 + $_->[0], status => 1 } } @$pairs ] }) } ],
	[ qr/http (\d+)/, 'an HTTP status, beside states',
		sub ($pairs, $code) { http_answer($code, json => data_of([ map { { id => 0 + $_->[0], status => 1 } } @$pairs ])) } ],
	[ qr/echo/,  'the request', sub ($pairs) { '' } ],
	[ qr/empty/, 'nothing', sub ($pairs) { http_answer(200, text => '') } ],
	[ qr/html/, 'a page of HTML', sub ($pairs) { http_answer(200, html => '<!DOCTYPE html><title>Login</title>') } ],
	[ qr/cut/, 'half of the JSON', sub ($pairs) { substr data_of([ map { { id => 0 + $_->[0], status => 1 } } @$pairs ]), 0, -3 } ],
	[ qr/huge/, 'more than is read of an answer',
		sub ($pairs) { data_of([ (map { { id => 0 + $_->[0], status => 1 } } @$pairs), 'x' x 70_000 ]) } ],
	[ qr/reset/, 'resets the connection', sub ($pairs) { return { bytes => '', then => 'reset' } } ],
	[ qr/drop/, 'closes the connection', sub ($pairs) { return { bytes => '', then => 'close' } } ],
);

# Wrap delivery states as the API wraps its answers.
sub data_of ($data)
{
	return decode('UTF-8', encode_json({ status => -1, msg => 'success', data => $data }));
}

# Ways to misbehave before a request was taken, on a port of their own.
my %EARLY = (
	'close-on-accept'     => sub ($stream) { $stream->close },
	'never-read'          => sub ($stream) { $stream->stop },
	'reset-at-first-byte' =>
	  sub ($stream) { $stream->on(read => sub ($stream, $bytes) { reset_connection($stream) }) },
	'close-after-headers' => sub ($stream) { after_headers($stream, sub { $stream->close }) },
	'reset-after-headers' =>
	  sub ($stream) { after_headers($stream, sub { reset_connection($stream) }) },
);

my %option = (port => 0, host => '127.0.0.1', delay => 0, keepalive => 60);
my ($log, $asked_log);
my %mode    = (directive => '', times => undef);
my %count   = (taken => 0, accepted => 0, early => 0, asked => 0);
my %states  = (held => {}, default => 8, shape => 'items');
my @asked;
my $clients = 0;
my @held;
my @recent;

# Ids outgrow 32 bits, as the real ones do, and grow across restarts too.
my $last_message_id = int(time * 1_000_000);

exit main();

# Read the command line, listen, and serve until a signal ends it.
sub main
{
	GetOptions(\%option, qw(port=i host=s port-file=s log=s username=s password=s delay=f
		  keepalive=f requests=i tls-cert=s tls-key=s tls-version=s pid-file=s early=s early-port-file=s asked-log=s states-by-id=s help))
	  && !@ARGV
	  or return usage(*STDERR, 2);
	return usage(*STDOUT, 0) if $option{help};
	die "unknown --early mode \"$option{early}\"\n"
	  if defined $option{early} && !$EARLY{ $option{early} };

	# Forms are compared with these, decoded.
	$_ = decode('UTF-8', $_) for grep { defined } @option{qw(username password)};

	# The log is opened before it listens, so that a test that waits for the port
	# finds the log there.
	$log       = open_log($option{log})         if $option{log};
	$asked_log = open_log($option{'asked-log'}) if $option{'asked-log'};

	Mojo::IOLoop->singleton->max_connections(1_000_000);
	my $port = listen_on($option{port}, \&serve, tls_options())->port;
	early_listener() if $option{early};
	publish($option{'pid-file'},  $$);
	publish($option{'port-file'}, $port);

	my $url = sprintf '%s://%s:%d', $option{'tls-cert'} ? 'https' : 'http', $option{host}, $port;
	say "listening at $url/api/wsSend.ashx; what it gets is shown at $url/";
	STDOUT->flush;

	# The timer has the loop look at signals in time, whatever reactor runs it.
	$SIG{INT} = $SIG{TERM} = sub { Mojo::IOLoop->stop };
	Mojo::IOLoop->recurring(0.2 => sub { });
	Mojo::IOLoop->start;

	unlink grep { defined } @option{qw(port-file early-port-file pid-file)};
	return 0;
}

# Open a file to which lines are added.
sub open_log ($path)
{
	open my $file, '>>:raw', $path or die "could not open \"$path\": $!\n";
	$file->autoflush(1);
	return $file;
}

# Print how to use the gateway; returns the exit status.
sub usage ($out, $status)
{
	my $directives = join '', map { sprintf "  %s\n      %s\n", @$_[ 0, 2 ] } @DIRECTIVES;
	my $early      = join "\n" . ' ' x 26, sort keys %EARLY;
	print $out <<"END";
Usage: perl gateway.pl [OPTION]...

A stand-in for the 3300 SMS gateway. It accepts POST /api/wsSend.ashx, rejects
requests that violate the guide, and otherwise answers like the guide's sample. To
develop against it:

  $0 --port 8080

and open http://127.0.0.1:8080/ in a browser: the page shows the last @{[SHOWN]} messages
as they come, newest first, each with its parts and its route.

  --port N                port to listen on; 0, the default, is a free one
  --host ADDRESS          address to listen on (127.0.0.1)
  --port-file FILE        write the port here once it listens
  --pid-file FILE         write the process id here
  --log FILE              append a line of JSON for each complete request,
                          before it is answered; /dev/stdout to watch
  --username, --password  the only credentials to accept (any, but not empty)
  --delay MS              delay each answer by this many milliseconds (0)
  --keepalive SECONDS     close a connection that has been idle for so long
                          (60); 0 closes each after its answer
  --requests N            answer so many requests on a connection, and close it without
                          an answer when it gets another one
  --tls-cert, --tls-key   files in PEM format: serve https
  --tls-version VERSION   ... by this protocol only, such as TLSv1_1
  --early MODE            also listen on a second port, which fails before it
                          has received a request; MODE is one of
                          $early
  --early-port-file FILE  write that port here
  --states-by-id LIST     the delivery state of an id is the one in this list whose
                          place is the rest of dividing the id by its length
  --asked-log FILE        append a line of JSON here for each request for delivery
                          states: at, shape, and the states by id

It exits on SIGTERM and SIGINT. Thousands of connections need a higher limit of
open files (ulimit -n); the Debian package libev-perl makes them faster.

Directives control its answers. A message that begins with # and a directive
(#status 14, #delay 500, #http 503 retry-after=2) is answered that way, whatever the
rest of the text is. Any other message gets the ordinary answer. The directives, in
which the parts in brackets are optional:

$directives
If a directive gives the ordinary answer, an invalid form gets the answer for its
error instead.

Control requests, which are not logged:

  POST /_mode {"directive": "#http 503", "times": 3}
      answer the next three requests this way, whatever their messages say;
      without times: all requests; with an empty directive: the ordinary answer
  POST /_states {"held": {"6062": 1}, "default": 8, "shape": "items"}
      what POST /api/wsStates.ashx says of these ids, and of others (null: nothing), and
      the shape in which it says so: see \@SHAPES in the source
  GET /_asked
      what was asked for there: when, a list of ids for each request, and the user name
  POST /_release {"times": 3}
      send the first three held answers; without times: all
  GET /_count
      {"taken": complete requests, "accepted": those answered, or
      meant to be answered, with a status below 0, "early": connections to the
      second port, "asked": requests for delivery states}
  GET /_log?since=SEQ
      the log entries after this seq, of the last @{[RECENT]} requests

A line of the log: at (seconds of the epoch), seq, connection (numbers: two
requests on one connection have the same), from (the client's address), resumed
(over https: whether its TLS session was), method, path, headers, body (as it
came), names (the form's fields in their order), fields (name and decoded value),
directive (the one obeyed), answer (http, api_status, message_id and the line that
carried it, as far as there are any; delay; then: close, reset or hang, if the directive has it so).
END
	return $status;
}

# Listen on a port, hand its connections to $serve, and return the acceptor.
sub listen_on ($port, $serve, %more)
{
	return Mojo::IOLoop->acceptor(
		Mojo::IOLoop->server({ address => $option{host}, port => $port, %more }, $serve));
}

# Return what the listener needs for https, if that was asked for.
sub tls_options
{
	return unless $option{'tls-cert'};
	my %files = (SSL_cert_file => $option{'tls-cert'}, SSL_key_file => $option{'tls-key'});
	my %version = map { (SSL_version => $_) } $option{'tls-version'} // ();

	# Sessions can be resumed on connections that share this.
	my $context = IO::Socket::SSL::SSL_Context->new(SSL_server => 1, %files, %version)
	  or die "TLS: $IO::Socket::SSL::SSL_ERROR\n";
	return (
		tls         => 1,
		tls_cert    => $files{SSL_cert_file},
		tls_key     => $files{SSL_key_file},
		tls_options => { SSL_reuse_ctx => $context, %version });
}

# Open the second port, the one that misbehaves early.
sub early_listener
{
	my $misbehave = $EARLY{ $option{early} };
	my $acceptor  = listen_on(
		0,
		sub ($loop, $stream, $id) {
			$count{early}++;
			$stream->timeout(0)->on(error => sub { });
			$misbehave->($stream);
		});

	# Connections inherit the small window and segments, so that little of a
	# long request has left the client when this end goes away.
	setsockopt $acceptor->handle, SOL_SOCKET,  SO_RCVBUF,  pack 'i', 4096;
	setsockopt $acceptor->handle, IPPROTO_TCP, TCP_MAXSEG, pack 'i', 536;
	publish($option{'early-port-file'}, $acceptor->port);
	return;
}

# Write a line to a file that others wait for: it is there whole or not at all.
sub publish ($file, $line)
{
	return unless defined $file;
	open my $out, '>', "$file.new" or die "could not create \"$file.new\": $!\n";
	say $out $line;
	close $out or die "could not write \"$file.new\": $!\n";
	rename "$file.new", $file or die "could not rename to \"$file\": $!\n";
	return;
}

# Call back once the headers of a request are here.
sub after_headers ($stream, $then)
{
	my $seen = '';
	$stream->on(
		read => sub ($stream, $bytes) {
			$seen .= $bytes;
			$then->() if $seen =~ /\r\n\r\n/;
		});
	return;
}

# Serve one connection, request after request.
sub serve ($loop, $stream, $id)
{
	my $client = { id => $id, number => ++$clients, unread => '', from => $stream->handle->peerhost };

	$client->{resumed} = $stream->handle->get_session_reused ? 1 : 0 if $option{'tls-cert'};

	# The idle time-out is for kept connections only.
	$stream->timeout(0);
	$stream->on(error => sub { });
	$stream->on(
		read => sub ($stream, $bytes) {
			$client->{unread} .= $bytes;
			read_request($client) unless $client->{answering};
		});
	return;
}

# Parse what a client has sent, and answer when the request is whole. The parser dies of
# some bytes that are not HTTP, such as those of a TLS handshake.
sub read_request ($client)
{
	my $request = $client->{request} //= new_request($client);
	eval { $request->parse($client->{unread}) } // $request->error({ message => 'no HTTP' });
	$client->{unread} = '';
	return unless $request->is_finished;

	delete $client->{request};
	$client->{unread}    = $request->content->leftovers // '';
	$client->{answering} = 1;
	Mojo::IOLoop->stream($client->{id})->timeout(0);

	my $answer = answer_request($client, $request);
	$answer->{then} //= keeps_alive($request) ? 'keep' : 'close';
	my $bytes = $answer->{bytes} // wire($answer);
	my $pour  = sub { pour($client, $answer, $bytes) };
	return push @held, $pour if $answer->{held};

	my $delay = $answer->{delay} // $option{delay};
	return $pour->() unless $delay;
	Mojo::IOLoop->timer($delay / 1000 => $pour);
	return;
}

# Start a request, which gets its "100 Continue" if it asks for one.
sub new_request ($client)
{
	my $request = Mojo::Message::Request->new;
	$request->content->on(
		body => sub ($content) {
			Mojo::IOLoop->stream($client->{id})->write("HTTP/1.1 100 Continue\r\n\r\n")
			  if lc($content->headers->expect // '') eq '100-continue';
		});
	return $request;
}

# Say whether the connection is kept after this request.
sub keeps_alive ($request)
{
	return
		 $option{keepalive}
	  && $request->version eq '1.1'
	  && !$request->error
	  && lc($request->headers->connection // '') ne 'close';
}

# Find the answer to a whole request, and log it.
sub answer_request ($client, $request)
{
	my $path = lc $request->url->path;
	return http_answer(400, text => $request->error->{message}) if $request->error;
	return control($path, $request)                             if $path =~ m{^/_};
	return page()                                               if $path =~ m{^/?\z} && $request->method eq 'GET';

	my $form = read_form($request->body);
	return answer_states($client, $request, $form) if $path eq STATES_PATH;
	my $answer =
		$option{requests} && $client->{taken}++ >= $option{requests} ? { bytes => '', then => 'close' }
	  : $path ne API_PATH          ? http_answer(404, text => 'no such path')
	  : $request->method ne 'POST' ? http_answer(405, text => 'POST it', Allow => 'POST')
	  :                              answer_to($form, directive_for($form));

	$count{taken}++;
	$count{accepted}++ if ($answer->{api} // 0) < 0;
	note(
		{
			at         => time,
			seq        => $count{taken},
			connection => $client->{number},
			from       => $client->{from},
			resumed    => $client->{resumed},
			method     => $request->method,
			path       => $request->url->path->to_string,
			headers    => $request->headers->to_hash,
			body       => $request->body,
			names      => $form->{names},
			fields     => $form->{fields},
			directive  => $answer->{directive},
			answer     => {
				http       => $answer->{http},
				api_status => $answer->{api},
				message_id => $answer->{message_id},
				line       => $answer->{line},
				delay      => $answer->{delay} // $option{delay},
				then       => $answer->{then},
			},
		});
	return $answer;
}

# Keep an entry of the log, and write it out before its request is answered.
sub note ($entry)
{
	my $line = encode_json($entry);
	say $log $line if $log;
	push @recent, $line;
	shift @recent if @recent > RECENT;
	return;
}

# Decode a form: names in their order, the first value of each, and the first name
# that, or whose value, is not url-encoded UTF-8.
sub read_form ($body)
{
	my %form = (names => [], fields => {}, broken => undef);
	for my $pair (split /&/, $body)
	{
		my ($name, $value) = map { url_unescape(tr/+/ /r) } split(/=/, $pair, 2), '';
		my $clean = $pair !~ /[^\x21-\x7e]|%(?![0-9A-Fa-f]{2})/;
		my ($name_text, $text) = map { decode('UTF-8', $_) } $name, $value;

		# What cannot be decoded is kept byte for byte.
		push @{ $form{names} }, $name_text // $name;
		$form{fields}{ $name_text // $name } //= $text // $value;
		$form{broken} //= $name unless $clean && defined $name_text && defined $text;
	}
	return \%form;
}

# Return the text that may hold the directive to obey: the mode, else the message.
sub directive_for ($form)
{
	my $directive = $mode{directive} or return $form->{fields}{message} // '';
	set_mode('') if defined $mode{times} && !--$mode{times};
	return $directive;
}

# Set what all requests get, or that many of them.
sub set_mode ($directive, $times = undef)
{
	%mode = (directive => $directive, times => $times);
	return;
}

# Find the directive that a text begins with: how to answer, and its words as far
# as they were given.
sub find_directive ($text)
{
	for my $directive (@DIRECTIVES)
	{
		my (undef, $pattern, undef, $answer) = @$directive;
		return ($answer, @{^CAPTURE}) if $text =~ /\A#$pattern(?!\S)/;
	}
	return;
}

# Answer a form as the directive in a text says, or as usual if there is none.
sub answer_to ($form, $text)
{
	my ($answer, @words) = find_directive($text) or return verdict($form);
	return { %{ $answer->($form, @words) }, directive => $text =~ s/\n.*//sr };
}

# Give the ordinary answer to a form: a refusal if there is a mistake in it, else
# that it was accepted. %as changes parts of the latter.
sub verdict ($form, %as)
{
	my ($code, $mistake) = mistake_in($form);
	return refusal($code, $mistake) if $code;

	my $fields = $form->{fields};
	%as = (
		status => -1,
		msg    => 'success',
		line   => $fields->{line} // SERVICE_LINE,
		data   => '{"message_id": %s, "line": %s, "mobile": "%s"}',
		%as
	);
	my $id   = ++$last_message_id;
	my $data = sprintf $as{data}, $id, $as{line}, $fields->{mobile};
	my $answer = json_answer($data, $as{status}, $as{msg});
	return { %$answer, message_id => $id, line => $as{line} };
}

# Refuse a form.
sub refusal ($status, $msg)
{
	return json_answer('null', $status, $msg);
}

# Find the first mistake in a form: the code that refuses it, and a text that
# names the field.
sub mistake_in ($form)
{
	my $fields = $form->{fields};
	return (3, "$form->{broken}: not UTF-8, or not url-encoded") if defined $form->{broken};

	my %seen;
	for my $name (@{ $form->{names} })
	{
		my $parameter = $PARAMETER{$name} or return (25, "$name: unknown parameter");
		return (25, "$name: given twice") if $seen{$name}++;
		return ($parameter->{code}, "$name: not a value that this parameter takes")
		  unless $fields->{$name} =~ $parameter->{like};
	}
	for my $name (@REQUIRED)
	{
		return ($PARAMETER{$name}{code}, "$name: missing") unless $seen{$name};
	}
	return (2, 'line: missing, and type is not 2')
	  unless $seen{line} || ($fields->{type} // '') eq '2';
	return (2, 'line2: given without line') if $seen{line2} && !$seen{line};
	for my $name (qw(username password))
	{
		return (18, 'wrong username or password')
		  if defined $option{$name} && $option{$name} ne $fields->{$name};
	}
	return;
}

# Return the line that carries a message whose recipient opted out of its line.
sub backup_line ($fields)
{
	my $type = $fields->{type} // 0;
	return $fields->{line2} // { 1 => CHELCHELEH_LINE, 2 => SERVICE_LINE }->{$type};
}

# Make the API's answer, laid out as in the guide; $data and $status are JSON.
sub json_answer ($data, $status, $msg)
{
	my $body = sprintf '{"data": %s, "status": %s, "msg": %s}', $data, $status, to_json($msg);
	return { %{ http_answer(200, json => encode('UTF-8', $body)) }, api => 0 + $status };
}

# Make an HTTP answer, with a body of bytes.
sub http_answer ($code, $kind, $body, @headers)
{
	my %type = (json => 'application/json', text => 'text/plain', html => 'text/html');
	return {
		http    => $code,
		headers => [ 'Content-Type' => "$type{$kind}; charset=utf-8", @headers ],
		body    => $body
	};
}

# Keep only half of an answer's body, but the length of the whole.
sub cut ($answer)
{
	my $length = length $answer->{body};
	return { %$answer, length => $length, body => substr($answer->{body}, 0, $length / 2) };
}

# Put an answer's bytes together. A body that goes on for ever has no length.
sub wire ($answer)
{
	my @headers = @{ $answer->{headers} };
	push @headers, 'Content-Length' => $answer->{length} // length $answer->{body}
	  unless defined $answer->{tail};
	push @headers, Connection => 'close' if $answer->{then} eq 'close';

	my $response = Mojo::Message::Response->new(code => $answer->{http});
	my $head = sprintf "HTTP/1.1 %d %s\r\n", $answer->{http}, $response->default_message;
	while (my ($name, $value) = splice @headers, 0, 2)
	{
		$head .= "$name: $value\r\n";
	}
	return encode('UTF-8', "$head\r\n") . $answer->{body};
}

# Send the rest of an answer, all of it or a byte at a time, and then see to the
# connection. A client that has gone away ends it.
sub pour ($client, $answer, $rest)
{
	my $stream = Mojo::IOLoop->stream($client->{id}) or return;
	$rest = $answer->{tail} // '' unless length $rest;
	return end_answer($client, $stream, $answer->{then}) unless length $rest;

	my $piece = substr $rest, 0, $answer->{pace} ? 1 : length $rest, '';
	my $next  = sub { pour($client, $answer, $rest) };
	$stream->write(
		$piece => $answer->{pace}
		? sub { Mojo::IOLoop->timer($answer->{pace} / 1000 => $next) }
		: $next);
	return;
}

# Do with the connection what the answer wants once it was sent.
sub end_answer ($client, $stream, $then)
{
	return                           if $then eq 'hang';
	return reset_connection($stream) if $then eq 'reset';
	return $stream->close            if $then eq 'close';

	$client->{answering} = 0;
	$stream->timeout($option{keepalive});
	read_request($client) if length $client->{unread};
	return;
}

# Close a connection so that the client gets a reset.
sub reset_connection ($stream)
{
	setsockopt $stream->handle, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0;
	$stream->close;
	return;
}

# Answer a control request.
sub control ($path, $request)
{
	return control_answer(\%count) if $path eq '/_count';
	return change_mode($request)   if $path eq '/_mode';
	return release($request)       if $path eq '/_release';
	return recent_log($request)    if $path eq '/_log';
	return change_states($request) if $path eq '/_states';
	return control_answer(\@asked) if $path eq '/_asked';
	return http_answer(404,
		text => 'control requests are /_mode, /_release, /_count, /_log, /_states and /_asked');
}

# Make the answer to a control request.
sub control_answer ($value)
{
	return http_answer(200, json => encode_json($value));
}

# Set the mode to what the request says, and answer with it.
sub change_mode ($request)
{
	my $wanted = eval { decode_json($request->body) };
	return http_answer(400, text => 'send {"directive": "#...", "times": N}')
	  unless ref $wanted eq 'HASH';

	my $directive = $wanted->{directive} // '';
	return http_answer(400, text => encode('UTF-8', "no such directive: $directive"))
	  unless $directive eq '' || (() = find_directive($directive));
	set_mode($directive, $wanted->{times});
	return control_answer(\%mode);
}

# Give answers that were held, in the order of their requests, and say how many.
sub release ($request)
{
	my $wanted = eval { decode_json($request->body) };
	return http_answer(400, text => 'send {"times": N}') unless ref $wanted eq 'HASH';

	my @released = splice @held, 0, $wanted->{times} // @held;
	$_->() for @released;
	return control_answer({ released => scalar @released });
}

# Set the delivery states that are held, and the shape of the answers that tell them.
sub change_states ($request)
{
	my $wanted = eval { decode_json($request->body) };
	return http_answer(400, text => 'send {"held": {"ID": STATE}, "default": STATE, "shape": "SHAPE"}')
	  unless ref $wanted eq 'HASH';
	return http_answer(400, text => "no such shape: $wanted->{shape}")
	  if defined $wanted->{shape} && !(() = shape_of($wanted->{shape}));
	%states = (%states, %$wanted, held => { %{ $states{held} }, %{ $wanted->{held} // {} } });
	return control_answer(\%states);
}

# Answer a request for delivery states, and note which ids it asked for.
sub answer_states ($client, $request, $form)
{
	my $fields = $form->{fields};
	my @ids    = split /,/, $fields->{message_ids} // '';
	$count{asked}++;
	push @asked, { at => time, ids => [ map { "$_" } @ids ], username => $fields->{username}, names => $form->{names} };
	return refusal(18, 'wrong username or password')
	  if defined $option{password} && $option{password} ne ($fields->{password} // '');
	return refusal(25, 'message_ids: missing or wrong')
	  if !@ids || grep { !/\A[0-9]+\z/ } @ids;

	my ($shape, @words) = shape_of($states{shape});
	my @pairs = map { [ $_, $states{held}{$_} // state_by_id($_) // $states{default} ] } @ids;
	my @known  = grep { defined $_->[1] } @pairs;
	say $asked_log encode_json({ at => time, shape => $states{shape}, states => { map { @$_ } @known } }) if $asked_log;
	my $answer = $states{shape} eq 'echo' ? data_of($request->body) : $shape->(\@known, @words);
	return $answer if ref $answer;
	return http_answer(200, json => encode('UTF-8', $answer));
}

# Return the delivery state that follows from an id, where the command line says so.
sub state_by_id ($id)
{
	my @states = split /,/, $option{'states-by-id'} // '' or return;
	return $states[ $id % @states ];
}

# Return the sub that lays out delivery states in a shape, and the words of the shape.
sub shape_of ($name)
{
	for my $shape (@SHAPES)
	{
		my ($pattern, undef, $lay_out) = @$shape;
		return ($lay_out, @{^CAPTURE}) if $name =~ /\A$pattern\z/;
	}
	return;
}

# Answer with the recent entries of the log.
sub recent_log ($request)
{
	my $since = $request->query_params->param('since') // 0;
	my $first = $count{taken} - @recent;
	my $skip  = $since > $first ? $since - $first : 0;
	return http_answer(200, json => '[' . join(',', @recent[ $skip .. $#recent ]) . ']');
}

# Answer with the page that shows what was taken, newest first.
sub page
{
	my $last     = $#recent < SHOWN ? $#recent : SHOWN - 1;
	my $messages = join '', map { shown(decode_json($_)) } reverse @recent[ $#recent - $last .. $#recent ];
	$messages ||= '<p class="none">Nothing yet. It will show by itself.</p>';
	my $html = <<"END";
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<title>$count{taken} taken: stand-in for the 3300 gateway</title>
<style>
body { background: #e9edf1; color: #1c2733; font: 15px/1.5 Vazirmatn, Tahoma, sans-serif; max-width: 34em; margin: 1em auto; padding: 0 1em }
h1 { font-size: 1.1em }
article { margin: 1em 0 }
article > header, footer, .none { color: #52606d; font-size: .85em }
.text { background: #fff; border-radius: .2em 1em 1em 1em; margin: .2em 0; overflow-wrap: anywhere; padding: .5em 1em; white-space: pre-wrap }
.text:dir(rtl) { border-radius: 1em .2em 1em 1em }
.refused .text { background: none; border: 1px dashed #b3453a; color: #7a2e27 }
.refused .answer { color: #b3453a }
.away::before { background: #b3453a; color: #fff; content: "The gateway does not answer."; display: block; padding: .3em 1em }
</style>
<h1>Stand-in for the 3300 gateway</h1>
<p class="none">$count{taken} taken, $count{accepted} accepted. Nothing here reaches a telephone.</p>
<main>
$messages</main>
<script>
setInterval(() => fetch('_count').then(answer => answer.json()).then(count => {
	document.body.className = '';
	if (count.taken != $count{taken} || count.accepted != $count{accepted}) location.reload();
}).catch(() => { document.body.className = 'away' }), 1000);
</script>
END
	return http_answer(200, html => encode('UTF-8', $html), 'Cache-Control' => 'no-store');
}

# Show an entry of the log: to whom, what, in how many parts, by which route, and the answer.
sub shown ($entry)
{
	my ($fields, $answer) = @$entry{qw(fields answer)};
	my $class  = ($answer->{api_status} // 0) < 0 ? 'accepted' : 'refused';
	my $parts  = xml_escape(parts_in($fields->{message} // ''));
	my $route  = xml_escape(route($fields, $answer));
	my $result = xml_escape(result($answer));
	my $to     = xml_escape($fields->{mobile}  // 'nobody');
	my $text   = xml_escape($fields->{message} // '');
	my $time   = strftime('%H:%M:%S', localtime $entry->{at});
	return <<"END";
<article class="$class" id="m$entry->{seq}">
<header><time>$time</time> to <bdi class="mobile">$to</bdi></header>
<div class="text" dir="auto">$text</div>
<footer><span class="parts">$parts</span> · <span class="route">$route</span> · <span class="answer">$result</span></footer>
</article>
END
}

# Tell how many parts a text has, and in which encoding. A character never straddles two.
sub parts_in ($text)
{
	my @widths = map { /\A$GSM7_TWICE\z/ ? 2 : /\A$GSM7\z/ ? 1 : 0 } split //, $text;
	my ($name, $single, $multi) = ('GSM-7', 160, 153);
	if (grep { !$_ } @widths)
	{
		@widths = map { ord > 0xffff ? 2 : 1 } split //, $text;
		($name, $single, $multi) = ('UCS-2', 70, 67);
	}

	my ($parts, $used, $units) = (1, 0, 0);
	for my $width (@widths)
	{
		($parts, $used) = ($parts + 1, 0) if $used + $width > $multi;
		$used  += $width;
		$units += $width;
	}
	$parts = 1 if $units <= $single;
	return sprintf '%d part%s, %s', $parts, $parts == 1 ? '' : 's', $name;
}

# Tell the route that was asked for, and the line that carried the message if it is another.
sub route ($fields, $answer)
{
	my ($line, $type) = ($fields->{line}, $fields->{type} // 0);
	my $backup =
		defined $fields->{line2} ? $fields->{line2}
	  : $type eq '1'             ? 'Chelcheleh'
	  : $type eq '2'             ? 'the service line'
	  :                            undef;
	my $route = defined $line ? "line $line" : $type eq '2' ? 'the service line' : 'no line';
	$route .= ", backup $backup"               if defined $line && defined $backup;
	$route .= ", template $fields->{template}" if defined $fields->{template};
	$route .= ", carried by $answer->{line}"
	  if defined $answer->{line} && defined $line && $answer->{line} ne $line;
	return $route;
}

# Tell what was answered.
sub result ($answer)
{
	my ($api, $http, $then) = @$answer{qw(api_status http then)};
	my $result =
		!defined $http  ? 'no answer'
	  : !defined $api   ? "answered with HTTP $http"
	  : $api >= 0       ? "refused with status $api"
	  : defined $answer->{message_id} ? "accepted as $answer->{message_id}"
	  :                   'accepted';
	return ($then // '') =~ /\A(?:hang|reset)\z/ ? "$result, then $then" : $result;
}
