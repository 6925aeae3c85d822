
# Privileges. USAGE on the server is sufficient to send. A role sees only its own messages
# and no credentials.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "log_statement = none\n");
my $number  = '09123456789';
create_account($node, 'postgres',
	url => $gateway->url, line => '983000330000', password => 'top secret');
run_sql($node, <<'END');
CREATE ROLE alice LOGIN;
CREATE ROLE bob LOGIN;
CREATE ROLE carol LOGIN NOINHERIT;
CREATE ROLE reader LOGIN BYPASSRLS;
GRANT USAGE ON FOREIGN SERVER sms3300 TO alice, bob;
CREATE USER MAPPING FOR bob SERVER sms3300 OPTIONS (username 'bob', password 'hidden too');
END

# Expect what a role gets to see, or the SQLSTATE of its error.
sub may
{
	my ($role, $sql, $expected, $what) = @_;
	return is(run_as($node, $role, $sql), $expected, "$role: $what");
}

# USAGE is enough to send, by each way, and to see one's own.
my $alices = run_as($node, 'alice', "SELECT sms3300_send('$number', 'from alice')");
like($alices, qr/\A\d+\z/, 'alice sends');
my $bobs = run_as($node, 'bob', <<"END");
INSERT INTO sms_outbox (mobile, message, metadata) VALUES ('$number', 'from bob', '{"for": 1}')
RETURNING id;
END
like($bobs, qr/\A\d+\z/, 'bob inserts');
wait_for_end($node);
my $mine = 'SELECT id, sender, status FROM sms_outbox';
may('alice', $mine, "$alices|alice|sent", 'sees her own');
may('bob',   $mine, "$bobs|bob|sent",     'sees his own');
may('carol', $mine, '',                   'sees nothing');
may('reader', 'SELECT count(*) FROM sms_outbox', 2, 'sees all with BYPASSRLS');
is_deeply([ map { "$_->{fields}{username} $_->{fields}{password}" } $gateway->log ],
	[ 'user top secret', 'bob hidden too' ], 'each is sent by the mapping of its sender');

# Without USAGE: an error, whatever way is tried.
may('carol', "SELECT sms3300_send('$number', 'x')",     '42501', 'may not send');
may('carol', "SELECT sms3300_send_now('$number', 'x')", '42501', 'may not send at once');
may('carol', "INSERT INTO sms_outbox (mobile, message) VALUES ('$number', 'x')",
	'42501', 'may not insert');
run_sql($node, 'REVOKE USAGE ON FOREIGN SERVER sms3300 FROM bob');
may('bob', "SELECT sms3300_send('$number', 'x')", '42501', 'may no longer send');
run_sql($node, 'GRANT USAGE ON FOREIGN SERVER sms3300 TO bob');

# Nothing can be changed or removed; 041_mappers.pl tests the columns of the extension.
may('alice', "UPDATE sms_outbox SET message = 'x'", '42501', 'may not update');
may('alice', 'DELETE FROM sms_outbox',              '42501', 'may not delete');
may('alice', 'TRUNCATE sms_outbox',                 '42501', 'may not truncate');
may('alice', "SELECT setval('sms_outbox_id_seq', 1)", '42501', 'may not set the sequence');
may('alice', "SELECT sms3300_adopt()",              '42501', 'may not adopt');
may('alice', "COPY sms_outbox (mobile, message) FROM STDIN;\n$number\tx\n\\.",
	'0A000', 'may not copy');

# An unknown setting with the extension's prefix is an error.
may('alice', q{SET sms3300.acount = 'x'}, '42602', 'may not make up a setting') if $node->pg_version >= 15;

# Others' messages can be neither cancelled nor sent again.
run_sql($node, 'ALTER SERVER sms3300 OPTIONS (ADD paused $$true$$)');
my $queued = run_as($node, 'alice', "SELECT sms3300_send('$number', 'to cancel')");
may('bob',   "SELECT sms3300_cancel($queued)", 'f', 'may not cancel another\'s');
may('bob',   'SELECT sms3300_cancel(-1)',      'f', 'cancels none');
may('alice', "SELECT sms3300_cancel($queued)", 't', 'cancels her own');
may('alice', "SELECT sms3300_cancel($queued)", 'f', 'cancels it once');
may('bob',   "SELECT sms3300_resend($queued)", 'f', 'may not send another\'s again');
may('alice', "SELECT sms3300_resend($alices)", 'f', 'sends nothing again that was sent');
run_sql($node, 'REVOKE USAGE ON FOREIGN SERVER sms3300 FROM alice');
may('alice', "SELECT sms3300_resend($queued)", '42501', 'may not send again without USAGE');
run_sql($node, 'GRANT USAGE ON FOREIGN SERVER sms3300 TO alice');
may('alice', "SELECT sms3300_resend($queued)", 't', 'sends her own again');
may('alice', "SELECT sms3300_resend($queued)", 'f', 'sends it again once');
my $keyed = "SELECT sms3300_send('$number', 'keyed', dedup_key => 'k')";
isnt(run_as($node, 'alice', $keyed), run_as($node, 'bob', $keyed), 'a dedup_key is the sender\'s own');
my $superusers = run_sql($node, $keyed);
is(run_sql($node, $keyed), $superusers, "a dedup_key is the sender's own, also for a role that sees all");
run_sql($node, 'ALTER SERVER sms3300 OPTIONS (SET paused $$false$$)');

# The sender is the role whose rights count: of SET ROLE, and of the owner of a
# function that is SECURITY DEFINER.
run_sql($node, <<"END");
GRANT alice, bob TO carol;
CREATE FUNCTION notify_as_owner() RETURNS bigint LANGUAGE sql SECURITY DEFINER
	AS \$\$ SELECT sms3300_send('$number', 'by definer') \$\$;
ALTER FUNCTION notify_as_owner() OWNER TO bob;
CREATE TABLE orders (id int);
GRANT INSERT ON orders TO carol;
CREATE FUNCTION order_text() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
	AS \$\$ BEGIN PERFORM sms3300_send('$number', 'by trigger'); RETURN NULL; END \$\$;
ALTER FUNCTION order_text() OWNER TO alice;
CREATE TRIGGER order_text AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION order_text();
END
like(run_as($node, 'carol', 'SELECT notify_as_owner()'), qr/\A\d+\z/, 'carol: sends by a definer');
may('carol', 'INSERT INTO orders VALUES (1)', '', 'sends by a trigger');
may('carol', $mine, '', 'does not see those');
my ($first, $other, $again) = split /\n/, run_as($node, 'carol', <<"END");
SET ROLE alice;
SELECT sms3300_send('$number', 'by SET ROLE', dedup_key => 'role');
SET ROLE bob;
SELECT sms3300_send('$number', 'by SET ROLE', dedup_key => 'role');
SET ROLE alice;
SELECT sms3300_send('$number', 'by SET ROLE', dedup_key => 'role');
END
isnt($other, $first, 'carol: sends as two roles');
is($again, $first, "each message is queued with its own role's rights");
may('carol', <<"END", '42501', 'may not send when she is herself again');
SET ROLE alice;
SELECT sms3300_cancel(-1);
RESET ROLE;
SELECT sms3300_send('$number', 'by carol');
END
wait_for_end($node);
is(run_sql($node, "SELECT string_agg(sender, ' ' ORDER BY id) FROM sms_outbox"
	  . " WHERE message LIKE 'by %'"), 'bob alice alice bob', 'the senders');
is_deeply(
	[ sort map { $_->{fields}{username} } grep { $_->{fields}{message} =~ /^by/ } $gateway->log ],
	[qw(bob bob user user)], 'messages are sent with the credentials of their senders');

# The credentials are nowhere to be read.
for my $role (qw(alice carol reader))
{
	may($role, 'SELECT umoptions FROM pg_user_mapping', '42501', 'pg_user_mapping');
	may($role, 'SELECT count(umoptions) FROM pg_user_mappings', 0, 'pg_user_mappings');
	may($role, <<'END', 0, 'information_schema');
SELECT count(option_value) FROM information_schema.user_mapping_options
END
}
unlike(run_sql($node, 'SELECT sms_outbox FROM sms_outbox'), qr/secret|hidden/, 'none in a row');
unlike(slurp_file($node->logfile), qr/secret|hidden/, 'none in the log');

$node->stop;
done_testing();
