# The page of the test gateway: each message as a telephone would show it, newest first.

use Mojo::Base -strict;

use Mojo::DOM;
use Mojo::UserAgent;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main');
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');

# Return the page.
sub page
{
	my $response = Mojo::UserAgent->new->get($gateway->at(''))->result;
	is($response->code, 200, 'the page is there');
	like($response->headers->content_type, qr{^text/html}, 'and is HTML');
	return Mojo::DOM->new($response->text);
}

# Return a part of what the page shows of the newest message.
sub newest
{
	my ($class) = @_;
	return page()->at("article:first-of-type $class")->text;
}

like(page()->at('main')->all_text, qr/Nothing yet/, 'before the first message');
like(page()->at('link[rel=icon]')->{href}, qr/^data:/, 'browsers ask for no picture, which would count as a request');

# Texts at the ends of parts: the page counts as the extension does.
my @texts = (
	'سلام! کد ورود شما: ۱۲۳۴', 'a' x 160, 'a' x 161,
	'{}' x 40, '{}' x 41, 'a' x 152 . '€' . 'a' x 152,
	'س' x 70,  'س' x 71,  'س' x 66 . '😀' . 'س' x 66,
	'😀' x 35, '😀' x 36, '`', "two\nlines & <b>bold</b>",
	'Ωà@_^', "form\ffeed", join('', map { chr } 0x20 .. 0x7e));
queue_until($node, 'sent', $_) for @texts;
my $page = page();
is_deeply($page->find('.text')->map('text')->to_array, [ reverse @texts ], 'texts, newest first, and no markup of theirs');
is_deeply($page->find('.text[dir=auto]')->size, scalar @texts, 'each in the direction of its own script');
is($page->find('b')->size, 0, 'what looks like markup is text');
my %parts = map { $_->{message} => $_->{parts} } read_rows($node, 'true');
is_deeply(
	$page->find('.parts')->map(sub { $_->text =~ s/ .*//r })->to_array,
	[ map { $parts{$_} } reverse @texts ],
	'as many parts as the extension counts');
is_deeply(
	[ @{ $page->find('.parts')->map('text')->to_array }[ -1, -2, -3 ] ],
	[ '1 part, UCS-2', '1 part, GSM-7', '2 parts, GSM-7' ], 'the encoding');
is($page->at('.mobile')->text, '989123456789', 'the recipient');

# Routes.
my @routes = (
	[ {},                           'line 983000330000' ],
	[ { type => 2, line => undef }, 'the service line' ],
	[ { type => 2 },                'line 983000330000, backup the service line' ],
	[ { line2 => '983000330001' },  'line 983000330000, backup 983000330001, carried by 983000330001' ],
	[ { type  => 1 },               'line 983000330000, backup Chelcheleh, carried by 989999303300' ],
	[ { type  => 2, template => 7 },
		'line 983000330000, backup the service line, template 7, carried by 983000303300' ],
);
for my $route (@routes)
{
	my ($fields, $shown) = @$route;
	my $message = $shown =~ /carried/ ? '#fallback' : 'hello';
	my %form    = (
		username => 'user', password => 'secret', mobile => '989123456789',
		message  => $message, line => '983000330000', %$fields);
	delete @form{ grep { !defined $form{$_} } keys %form };
	Mojo::UserAgent->new->post($gateway->url, form => \%form);
	is(newest('.route'), $shown, "the route: $shown");
}

# Answers other than that it was accepted.
queue_until($node, 'rejected', '#status 13');
is(newest('.answer'), 'refused with status 13', 'a message that was refused');
queue_until($node, 'unknown', '#accepted-then-drop');
like(newest('.answer'), qr/^accepted as \d+, then reset$/, 'an answer that did not arrive');
queue_until($node, 'unknown', '#http 500');
is(newest('.answer'), 'answered with HTTP 500', 'an error of HTTP');
queue_until($node, 'unknown', '#close');
is(newest('.answer'), 'no answer', 'no answer at all');

# It shows, and is no message itself.
my $taken = $gateway->count->{taken};
page();
is($gateway->count->{taken}, $taken, 'looking at the page counts as no request');
is(Mojo::UserAgent->new->post($gateway->at(''))->result->code, 404, 'it cannot be posted to');

done_testing();
