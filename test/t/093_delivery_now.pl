
# sms3300_delivery_now asks for the delivery state of one message, with the mapping that sent
# it, and returns the gateway's reply as it is.

use strict;
use warnings;

use JSON::PP qw(decode_json);
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main');
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');
run_sql($node, <<'END');
CREATE ROLE app LOGIN;
CREATE ROLE other LOGIN IN ROLE pg_read_all_data;
GRANT USAGE ON FOREIGN SERVER sms3300 TO app, other;
CREATE USER MAPPING FOR app SERVER sms3300 OPTIONS (username 'app', password 'p%ssw0rd');
END

my $id = queue_until($node, 'sent', 'hello', role => 'app');
my ($row) = read_rows($node, "id = $id");
$gateway->states(held => { $row->{message_id} => 1 });

my $reply = decode_json(run_as($node, 'app', "SELECT sms3300_delivery_now($id)"));
is_deeply($reply, { status => -1, msg => 'success', data => [ { message_id => $row->{message_id}, status => 1 } ] },
	'the reply as it is');
my ($asked) = $gateway->asked;
is_deeply($asked->{names}, [qw(username password message_ids)], 'what is posted');
is_deeply($asked->{ids}, [ $row->{message_id} ], 'the id at the gateway');
is($asked->{username}, 'app', 'the mapping of the sender is used');
run_sql($node, "SELECT sms3300_delivery_now($id)");
is(($gateway->asked)[-1]{username}, 'app', 'also if a superuser asks');
is_deeply([ read_rows($node, "id = $id") ], [$row], 'the row is as it was');

# Who may ask.
is(run_as($node, 'other', "SELECT sms3300_delivery_now($id)"), "42501", 'who only sees a message may not ask');
is(run_as($node, 'app', "SELECT sms3300_delivery_now(0) IS NULL"), 't', 'there is no such message');

# What cannot be asked for.
my $refused = queue_until($node, 'rejected', '#status 1', role => 'app');
is(run_as($node, 'app', "SELECT sms3300_delivery_now($refused)"), "55000", 'a message that was not sent');
my $nameless = queue_until($node, 'sent', '#nodata', role => 'app');
is(run_as($node, 'app', "SELECT sms3300_delivery_now($nameless)"), "55000", 'a message without a message_id');

# Replies that are none, and a secret in one.
$gateway->states(shape => 'http 500');
is(run_as($node, 'app', "SELECT sms3300_delivery_now($id)"), "08P01", 'an HTTP error');
$gateway->states(shape => 'empty');
is(run_as($node, 'app', "SELECT sms3300_delivery_now($id)"), "08P01", 'an empty reply');
$gateway->states(shape => 'reset');
is(run_as($node, 'app', "SELECT sms3300_delivery_now($id)"), "08006", 'no reply');
$gateway->states(shape => 'echo');
$reply = run_as($node, 'app', "SELECT sms3300_delivery_now($id)");
like($reply, qr/password=\*\*\*/, 'the password is masked in a reply that repeats it');
unlike($reply, qr/ssw0rd/, 'in each spelling');

# Where it is asked.
alter_account($node, url => $gateway->at('api/send'));
is(run_as($node, 'app', "SELECT sms3300_delivery_now($id)"), "55000", 'the account does not say where');
alter_account($node, delivery_url => $gateway->at('api/wsStates.ashx'));
$gateway->states(shape => 'items');
like(run_as($node, 'app', "SELECT sms3300_delivery_now($id)"), qr/$row->{message_id}/, 'the option says where');

done_testing();
