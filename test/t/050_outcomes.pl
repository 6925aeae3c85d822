
# The complete table of outcomes: the result of each kind of request. Each case has its
# own account, so that none of them stops another. The rate of the accounts allows one
# request each during the test, so that a retry cannot change the result.

use strict;
use warnings;
use utf8;

use IO::Socket::INET;
use Mojo::Date;
use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $line = '983000330000';
# A text whose form has 150 kB, more than a socket's buffers, in as many parts as are allowed.
my $long = '漢' x 17_000;

# The short time-outs are to pass, the others are not.
my %timeout = (timeout => scaled_timeout(30), connect_timeout => scaled_timeout(5));
my $short   = scaled_timeout(2);

my $gateway = new_gateway();
my $other   = new_gateway();
my %early   = map { $_ => new_gateway(early => $_) }
  qw(close-on-accept never-read reset-at-first-byte close-after-headers reset-after-headers);
my $node = new_node('main', conf => "max_connections = 50\n");

# Listen on a port where no connection is ever established: the queue of those that
# wait for it is full.
my $deaf = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die "listen: $!";
my @full = map {
	IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $deaf->sockport, Blocking => 0)
} 1 .. 8;

# A port with nothing behind it.
my $closed = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die "listen: $!";
my $nobody = $closed->sockport;
$closed->close;

# What a case expects of its row besides the status. Attempts that never left, or that
# the account was refused, do not count; a stop keeps the message queued.
my %SENT     = (status => 'sent',     attempts => 1, stops => 0, requests => 1);
my %REJECTED = (status => 'rejected', attempts => 1, stops => 0, requests => 1, phase => 'done');
my %LATER    = (status => 'queued',   attempts => 1, stops => 0, requests => 1, phase => 'done');
my %STOPPED  = (status => 'queued',   attempts => 0, stops => 1, requests => 1, phase => 'done');
my %UNKNOWN  = (status => 'unknown',  attempts => 1, stops => 0, requests => 1);
my %UNSURE   = (%STOPPED, attempts => 1);
my %WAITING  = (status => 'queued',   attempts => 0, stops => 0, requests => 1, phase => 'done');
my %NOT_SENT = (status => 'queued',   attempts => 0, stops => 1, requests => 0);

# The cases: a name, the message (a directive, mostly), the expected outcome, and the
# options of the account.
my @cases;

# Add a case. %expected may also have http_status, api_status, response (a hash, or a
# pattern for the raw text), error (a pattern) and send (more arguments of sms3300_send).
sub add
{
	my ($name, $message, $expected, %option) = @_;
	push @cases,
	  { name => $name, message => $message, expected => $expected, option => \%option };
	return;
}

# It never reached the gateway.
add('resolve', 'hello', { %NOT_SENT, phase => 'resolve', error => qr/resolv/i },
	url => 'http://no-such-host.invalid/');
add('refused', 'hello', { %NOT_SENT, phase => 'connect', error => qr/refused|connect/i },
	url => "http://127.0.0.1:$nobody/");
add('deaf', 'hello', { %NOT_SENT, phase => 'connect', error => qr/time/i },
	url => 'http://127.0.0.1:' . $deaf->sockport, connect_timeout => $short);
add('tls', 'hello', { %NOT_SENT, phase => 'tls', error => qr/SSL|TLS/i },
	url => $gateway->url =~ s/^http/https/r);
for my $mode (sort keys %early)
{
	add($mode, $long, { %NOT_SENT, phase => 'send' },
		url => $early{$mode}->early_url, max_parts => 255, $mode eq 'never-read' ? (timeout => $short) : ());
}

# It was handed over, and no whole answer came.
add('reset', '#reset', { %UNKNOWN, phase => 'wait' });
add('close', '#close', { %UNKNOWN, phase => 'wait' });
add('hang', '#hang', { %UNKNOWN, phase => 'wait', error => qr/timed out/ }, timeout => $short);
add('drop', '#accepted-then-drop', { %UNKNOWN, phase => 'wait' });
add('garbage', '#garbage', { %UNKNOWN, phase => 'wait' });
add('interim', '#interim #reset', { %UNKNOWN, phase => 'receive' });
add('interim, hang', '#interim #hang', { %UNKNOWN, phase => 'receive', error => qr/timed out/ },
	timeout => $short);
my %half = (%UNKNOWN, phase => 'receive', http_status => 200, response => qr/\A\{"data": \{/);
add('half', '#half', \%half);
add('halfhang', '#halfhang', { %half, error => qr/timed out/ }, timeout => $short);

# An answer came whole. 2xx is decided by the JSON's status.
my %unreadable = (%UNKNOWN, phase => 'done', http_status => 200, error => qr/may have been sent/);
add('sent', 'hello', { %SENT, http_status => 200, api_status => -1, response => { status => -1 } });
add('interim, sent', '#interim', { %SENT, http_status => 200, api_status => -1 });
add('HTTP 202', '#http 202 body={"status": -7}',
	{ %SENT, http_status => 202, api_status => -7, response => { status => -7 } });
add('empty', '#empty', { %unreadable, response => undef });
add('text', '#text', { %unreadable, response => qr/\AService is being updated\z/ });
add('html', '#html', { %unreadable, response => qr/\A<!DOCTYPE html>/ });
add('no-status', '#json {"msg": "success"}', { %unreadable, response => { msg => 'success' } });
add('HTTP 204', '#http 204', { %unreadable, http_status => 204, response => undef });

# Other HTTP statuses decide by themselves, whatever the JSON says.
for my $http (qw(400 413 414 415 422))
{
	add("HTTP $http", "#http $http", { %REJECTED, http_status => $http, response => qr/\AHTTP $http\z/ });
}
for my $http (300 .. 304, 307, 308, 401 .. 405, 408 .. 410, 418, 429, 451)
{
	add("HTTP $http", "#http $http", { %STOPPED, http_status => $http });
}
add('HTTP 503', '#http 503', { %UNSURE, http_status => 503 });
add('HTTP 503 with Retry-After', '#http 503 retry-after=60', { %STOPPED, http_status => 503 });

# Which statuses say that a message was not sent is an option.
for my $case ([ 502, \%STOPPED ], [ 400, \%STOPPED ], [ 503, { %UNKNOWN, phase => 'done' } ], [ 429, \%STOPPED ])
{
	my ($http, $outcome) = @$case;
	add("unsent HTTP $http", "#http $http", { %$outcome, http_status => $http },
		unsent_statuses => '502, 400');
}
for my $http (qw(500 501 502 504 520 599 600 999))
{
	add("HTTP $http", "#http $http", { %UNKNOWN, phase => 'done', http_status => $http });
}
for my $http (301, 302, 303, 307, 308)
{
	add("redirect $http", "#redirect $http " . $other->url, { %STOPPED, http_status => $http });
}
for my $case ([ 400, \%REJECTED ], [ 401, \%STOPPED ], [ 500, { %UNKNOWN, phase => 'done' } ],
	[ 503, \%UNSURE ])
{
	my ($http, $outcome) = @$case;
	add("HTTP $http with a status", qq(#http $http body={"status": -1}),
		{ %$outcome, http_status => $http, api_status => -1, error => qr/HTTP status $http/ });
}

# The gateway's codes, one account each.
for my $class (
	[ \%SENT,     -1, -2, -2147483648 ],
	[ \%LATER,    15, 23, 409 ],
	[ \%STOPPED,  2, 12, 14, 16 .. 20, 22, 29 ],
	[ \%WAITING,  8 ],
	[ \%REJECTED, 1, 3, 4, 6, 13, 25, 27, 28, 30, 31, 33 .. 35, 100 .. 110 ],
	[ \%UNKNOWN,  0, 5, 21, 32, 99, 111, 999, 2147483647 ])
{
	my ($outcome, @codes) = @$class;
	for my $code (@codes)
	{
		add("code $code", "#status $code پاسخ", { api($outcome, $code) });
	}
}

# A line that the message gave is the message's own fault.
for my $code (2, 12, 20)
{
	add("own line $code", "#status $code پاسخ",
		{ api(\%REJECTED, $code), send => "line => '983000112233'" });
}

# An id that is an error code, a reply that is another message's, and members that are
# spelled with escapes or contradict each other.
for my $id (1, 999)
{
	add("id $id", qq(#json {"status": -1, "data": {"message_id": $id}}),
		{ %UNKNOWN, phase => 'done', http_status => 200, api_status => -1 });
}
my %told = (%SENT, http_status => 200, api_status => -1);
add('id 1000', '#json {"status": -1, "data": {"message_id": 1000}}', \%told);
my %another = (%UNKNOWN, phase => 'done', http_status => 200, api_status => -1,
	error => qr/for another recipient/);
add('another mobile', '#json {"status": -1, "data": {"mobile": 989123456780}}', \%another);
add('another mobile, refused', '#json {"status": 1, "data": {"mobile": "09123456780"}}',
	{ %another, api_status => 1 });
add('the same mobile', '#json {"status": -1, "data": {"mobile": "09123456789"}}', \%told);
add('a masked mobile', '#json {"status": -1, "data": {"mobile": "98912***6780"}}', \%told);
add('escapes', '#json {"\u0073tatus": "\u002d1"}', \%told);
add('escaped contradiction', '#json {"status": -1, "\u0073tatus": 1}', \%unreadable);
add('two ids', '#json {"status": -1, "data": {"message_id": 5000, "message_id": 5001}}', \%unreadable);

# Other classes, by the account's options; a class that is given is the whole class.
my @other = (transient_codes => '7, 50-52', account_codes => '8', line_codes => '9',
	hours_codes => '12', refused_codes => '0,999');
for my $class (
	[ \%LATER, 7, 50, 51, 52 ], [ \%STOPPED, 8, 9 ], [ \%WAITING, 12 ], [ \%REJECTED, 0, 999 ],
	[ \%UNKNOWN, 15, 14, 27, 53 ], [ \%SENT, -1 ])
{
	my ($outcome, @codes) = @$class;
	for my $code (@codes)
	{
		add("other $code", "#status $code پاسخ", { api($outcome, $code) }, @other);
	}
}

# Complete what is expected where the gateway answers with a code.
sub api
{
	my ($outcome, $code) = @_;
	my %reply = (http_status => 200, api_status => $code, response => { status => $code });
	my %error = (phase => 'done', error => qr/status $code\b.*: پاسخ/);
	return (%$outcome, %reply, $code < 0 ? () : %error);
}

# Run them all at once.
my @sql = ('CREATE EXTENSION sms3300;');
for my $case (@cases)
{
	my %option =
	  (url => $gateway->url, line => $line, rate => '0.001', %timeout, %{ $case->{option} });
	my $list = join ', ', map { "$_ " . quote($option{$_}) } sort keys %option;
	my $more = $case->{expected}{send} ? ", $case->{expected}{send}" : '';
	push @sql, <<"END";
CREATE SERVER "$case->{name}" FOREIGN DATA WRAPPER sms3300 OPTIONS ($list);
CREATE USER MAPPING FOR PUBLIC SERVER "$case->{name}"
	OPTIONS (username '$case->{name}', password 'secret');
SELECT sms3300_send('09123456789', ${\quote($case->{message})}, account => '$case->{name}'$more);
END
}
run_sql($node, join '', @sql);
wait_for_sql($node, 'postgres', <<'END', scalar @cases);
SELECT count(*) FROM sms_outbox WHERE finished_at IS NOT NULL OR jsonb_array_length(events) > 0
END

my %row = map { $_->{account} => $_ } read_rows($node);
my %requests;
$requests{ $_->{fields}{username} }++ for map { $_->log } $gateway, $other, values %early;
my $log = slurp_file($node->logfile);

for my $case (@cases)
{
	my ($name, $expected) = @$case{qw(name expected)};
	my $row   = $row{$name};
	my $error = $expected->{phase} && $row->{events}[-1];
	my @same  = qw(status attempts http_status api_status);
	my $stops = () = $log =~ /account "\Q$name\E" stopped/g;

	subtest $name => sub {
		is_deeply([ @$row{@same} ], [ @$expected{@same} ], join ' ', @same);
		is($requests{$name} // 0, $expected->{requests}, 'requests that the gateway took');
		is($stops,                $expected->{stops},    'whether the account stopped');
		is(!defined $row->{due_at}, $row->{status} ne 'queued', 'due_at');
		is(!defined $row->{finished_at}, $row->{status} eq 'queued', 'finished_at');
		is_response($row->{response}, $expected->{response}) if exists $expected->{response};
		is_deeply(
			[ map { @$_{qw(attempt phase http_status api_status error)} } @{ $row->{events} } ],
			$error ? [ 1, @$expected{qw(phase http_status api_status)}, $row->{error} ] : [],
			'events');
		like($row->{error} // '', $expected->{error} // ($error ? qr/./ : qr/\A\z/), 'error');
	};
}
is($other->count->{taken}, 0, 'no redirect was followed');

# Compare a response with what is expected: nothing, a pattern for a text that is no
# JSON, or some of an object's fields.
sub is_response
{
	my ($response, $expected) = @_;
	return is($response, undef, 'no response is recorded') unless defined $expected;
	return like($response->{raw}, $expected, 'a response that is not JSON is recorded raw') if ref $expected eq 'Regexp';
	return is_deeply({ map { $_ => $response->{$_} } keys %$expected }, $expected, 'the response is recorded');
}

# Retry-After: the next request does not come before. Without it, one would within 1.2 s.
my $until = int(time) + 4;
my $date  = Mojo::Date->new($until)->to_string;
my %after = (seconds => 3, date => $date);
my @send;
for my $http (401, 429, 503)
{
	for my $form (sort keys %after)
	{
		my $name = "$http with $form";
		create_account($node, 'postgres',
			account => $name, username => $name, url => $gateway->url, line => $line);
		push @send, "SELECT sms3300_send('09123456789',"
		  . " '#http $http retry-after=$after{$form}', account => '$name');";
	}
}
run_sql($node, "@send");
for my $http (401, 429, 503)
{
	my ($first, $second) = times_of("$http with seconds");
	cmp_ok($second - $first, '>=', 3, "$http: waits so many seconds");
	($first, $second) = times_of("$http with date");
	cmp_ok($second, '>=', $until, "$http: waits until that time");
}

# A Retry-After of more than an hour is limited to an hour, and an invalid one is ignored.
my @nothing = (0, 'soon', 'Sun, 06 Nov 1994 08:49:37 GMT');
for my $when (100_000, @nothing)
{
	create_account($node, 'postgres',
		account => "after $when", username => "after $when", url => $gateway->url, line => $line);
	run_sql($node,
		"SELECT sms3300_send('09123456789', '#http 503 retry-after=$when', account => 'after $when')");
}
wait_for_sql($node, 'postgres', "SELECT state FROM sms3300_stat_account WHERE account = 'after 100000'",
	'stopped');
is(run_sql($node, <<'END'), 3600, 'an hour at most');
SELECT round(extract(epoch FROM next_probe_at - (SELECT (events -> 0 ->> 'at')::timestamptz
	FROM sms_outbox WHERE account = 'after 100000')))
FROM sms3300_stat_account WHERE account = 'after 100000'
END
for my $when (@nothing)
{
	cmp_ok(scalar(() = times_of("after $when")), '>=', 2, "retry-after=$when: the next comes soon");
}

# Wait for the second request of an account, and return when all came.
sub times_of
{
	my ($name) = @_;
	my @times;
	wait_until(
		sub {
			@times = map { $_->{at} } grep { $_->{fields}{username} eq $name } $gateway->log;
			return @times > 1;
		},
		"the second request of $name");
	return @times;
}

$node->stop;
done_testing();
