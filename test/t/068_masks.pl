
# Replies that contain the password, in each way in which a character can be written.
# Other text is left unchanged. 061_secrets.pl tests all of them together.

use strict;
use warnings;
use utf8;
no warnings 'qw';

use Encode   qw(encode);
use JSON::PP qw(decode_json);
use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main');
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');

# Expect what is kept of a text in a reply to a request that had a password.
sub kept
{
	my ($password, $text, $expected, $what) = @_;
	run_sql($node, 'ALTER USER MAPPING FOR PUBLIC SERVER sms3300 OPTIONS (SET password ' . quote($password) . ')');
	$gateway->mode('#json ' . JSON::PP->new->encode({ status => 27, msg => $text }), 1);
	my $reply = decode_json(run_sql($node, q{SELECT sms3300_send_now('09123456789', 'x')}));
	return is($reply->{msg}, $expected, $what);
}

# A character, and all that may stand for it.
my %written = (
	' '    => [qw(%20 +)],
	'+'    => [qw(+ %2B %2b)],
	'%'    => [qw(% %25)],
	'é'    => [qw(é %C3%A9 %c3%a9 %C3%a9 \u00e9 \u00E9)],
	'😀'    => [qw(😀 %F0%9F%98%80 \ud83d\ude00 \uD83D\uDE00)],
	'"'    => [qw(" \" \u0022 %22 &quot; &#34;)],
	'\\'   => [qw(\ \\\\ \u005c %5C)],
	'/'    => [qw(/ \/ %2F)],
	"\b"   => [qw(\b %08)],
	"\f"   => [qw(\f %0C)],
	"\n"   => [qw(\n %0A)],
	"\r"   => [qw(\r %0D)],
	"\t"   => [qw(\t %09)],
	'&'    => [qw(& &amp; %26 \u0026)],
	'<'    => [qw(< &lt; \u003c)],
	'>'    => [qw(> &gt; \u003e)],
	q(')   => [qw(' &#39; &apos; &#x27; \u0027)],
);
for my $character (sort keys %written)
{
	kept("x${character}y", "is: x${_}y.", 'is: ***.', sprintf 'U+%04X as %s', ord $character, encode('UTF-8', $_))
	  for @{ $written{$character} };
}
kept('x&amp;+\y', 'is: x&amp;+\y.', 'is: ***.', 'one that looks like all of it');

# A number is not looked for in a longer one, as in a recipient's: a mask there would tell
# the sender what it is.
kept('2345', '12345, 23456, %312345', '12345, 23456, %312345', 'a number in longer ones');
kept('2345', 'is: 2345, x2345y', 'is: ***, x***y', 'a character is masked as itself');
kept('a2b', '1a2b3', '1***3', 'a secret that is not a number, beside digits');
my $others = 'x  y, X y, x%00y, x%2y, x%%20y, x\u0000y, x\u20y, x\ud83dy, x&nbsp;y';
kept('x y', $others, $others, 'other texts');

# Wherever a reply has texts.
run_sql($node, q{ALTER USER MAPPING FOR PUBLIC SERVER sms3300 OPTIONS (SET password 'secret')});
for ([ '{"status": 27, "a secret": 1, "list": ["secret", {"secret": "no"}, 3, null]}',
	'{"list": ["***", {"***": "no"}, 3, null], "a ***": 1, "status": 27}' ])
{
	my ($reply, $kept) = @$_;
	$gateway->mode("#json $reply", 1);
	is(run_sql($node, q{SELECT sms3300_send_now('09123456789', 'x')}), $kept, $reply);
}
$gateway->mode('#json "a secret"', 1);
my (undef, undef, $error) = $node->psql('postgres', q{SELECT sms3300_send_now('09123456789', 'x')});
like($error, qr/DETAIL:  Its reply was "a \*\*\*"\./, 'a reply that is not understood');

$node->stop;
done_testing();
