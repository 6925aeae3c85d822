
# Numbers that are kept as bigint, numbers that are none, and what makes a text longer than
# it looks. A call whose types are not known still means text.

use strict;
use warnings;
use utf8;

use Encode qw(decode encode);
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main');
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');

# Expect the result of an expression, or its SQLSTATE.
sub gives
{
	my ($expression, $expected) = @_;
	return is(decode('UTF-8', run_as($node, 'postgres', "SELECT $expression")), $expected, encode('UTF-8', $expression));
}

gives(q{sms3300_mobile_or_null('۰۹۱۲ ۳۴۵ ۶۷۸۹')}, '989123456789');
gives(q{sms3300_mobile_or_null('02191000000') IS NULL}, 't');
gives(q{sms3300_mobile_or_null(NULL) IS NULL}, 't');

for my $number ('9123456789', '989123456789')
{
	gives("sms3300_mobile($number)",         '989123456789');
	gives("sms3300_is_mobile($number)",      't');
	gives("sms3300_mobile_or_null($number)", '989123456789');
}
for my $number ('912345678', '-9123456789', '0', '9223372036854775807', '(-9223372036854775808)', '1::smallint')
{
	gives("sms3300_mobile($number)",                 '22023');
	gives("sms3300_is_mobile($number)",              'f');
	gives("sms3300_mobile_or_null($number) IS NULL", 't');
}
gives('sms3300_is_mobile(912345678.0)', 42883);

# Types that are not known, or are another text.
for my $value (q{'09123456789'}, q{'09123456789'::varchar}, q{'09123456789'::char(11)}, q{'{"m": "09123456789"}'::json ->> 'm'})
{
	gives("sms3300_mobile($value)", '989123456789');
	like(run_sql($node, "SELECT sms3300_send($value, 'x')"), qr/^\d+$/, "sms3300_send($value)");
}
for my $function (qw(sms3300_mobile sms3300_is_mobile sms3300_mobile_or_null))
{
	is(run_sql($node, "PREPARE p AS SELECT $function(\$1); SELECT parameter_types FROM pg_prepared_statements"), '{text}',
		"$function of a parameter of unknown type");
}
is(run_sql($node, 'PREPARE p AS SELECT sms3300_send($1, $2); SELECT parameter_types FROM pg_prepared_statements'),
	'{text,text}', 'sms3300_send of parameters of unknown types');

# Send to a number.
run_sql($node, 'CREATE TABLE customers (mobile bigint); INSERT INTO customers VALUES (9123456780)');
my $id = run_sql($node, q{SELECT sms3300_send(mobile, 'سلام', priority => 3) FROM customers});
my $named = run_sql($node, q{SELECT sms3300_send(message => 'x', mobile => 9123456780)});
my $row = run_sql($node, q{INSERT INTO sms_outbox (mobile, message) SELECT mobile, 'x' FROM customers RETURNING id});
is(run_sql($node, "SELECT DISTINCT mobile FROM sms_outbox WHERE id IN ($id, $named, $row)"), '989123456780', 'a number is a recipient');
is(run_sql($node, "SELECT priority FROM sms_outbox WHERE id = $id"), 3, 'and the other arguments are the same');
is(run_as($node, 'postgres', q{SELECT sms3300_send(NULL::bigint, 'x')}), 23502, 'no number');
is(run_as($node, 'postgres', q{SELECT sms3300_send(912, 'x')}), 22023, 'a number that is none');

# What to look at in a text before it is sent to many.
gives(q{(sms3300_preview('Your code is 12345.')).*}, 'GSM-7|1|{}|{}');
gives(q{(sms3300_preview('')).*}, 'GSM-7|1|{}|{}');
gives(q{(sms3300_preview('“Sale” ' || repeat('x', 70) || '”')).*}, 'UCS-2|2|{"“ (U+201C)","” (U+201D)"}|{}');
gives(q{(sms3300_preview('يكى كي')).arabic_letters}, '{"ي (U+064A)","ك (U+0643)","ى (U+0649)"}');
gives(q{(sms3300_preview('یک سلام')).arabic_letters}, '{}');
gives(q{(sms3300_preview('😀 a' || U&'\200C')).ucs2_characters}, "{\"😀 (U+1F600)\",\"\x{200C} (U+200C)\"}");
gives(q{array_length((sms3300_preview((SELECT string_agg(chr(i), '') FROM generate_series(1000, 5000) AS i))).ucs2_characters, 1)}, 64);
run_sql($node, 'CREATE DATABASE bytes ENCODING SQL_ASCII TEMPLATE template0');
run_sql($node, 'CREATE EXTENSION sms3300', 'bytes');
is(run_sql($node, q{SELECT (sms3300_preview(E'\\xFF' || U&'x')).*}, 'bytes'), 'UCS-2|1|{}|{}', 'bytes that are no UTF-8');

$node->stop;
done_testing();
