
# A name for which messages wait falls to nobody who may only create servers; and the
# planner's estimates tell a role nothing about other senders' messages.

use strict;
use warnings;

use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main');
create_account($node, 'postgres', url => $gateway->url, line => '983000330000', paused => 'true');
run_sql($node, <<'END');
CREATE ROLE alice LOGIN;
CREATE ROLE mallory LOGIN;
GRANT USAGE ON FOREIGN SERVER sms3300 TO alice;
GRANT USAGE ON FOREIGN DATA WRAPPER sms3300 TO mallory;
ALTER TABLE sms_outbox OWNER TO alice;
END
my $options = q{FOREIGN DATA WRAPPER sms3300 OPTIONS (url 'http://127.0.0.1:1/')};
my $id = queue($node, 'private');

# The name is freed.
run_sql($node, 'ALTER SERVER sms3300 RENAME TO another');
is(run_as($node, 'mallory', "CREATE SERVER sms3300 $options"), 42501, 'a freed name cannot be taken by a new server');
is(run_as($node, 'mallory', "CREATE SERVER mine $options"), '', 'another name can');
is(run_as($node, 'mallory', 'ALTER SERVER mine RENAME TO sms3300'), 42501, 'nor by a renamed server');
is(run_as($node, 'mallory', q{ALTER SERVER mine OPTIONS (ADD line '983000330001')}), '', 'its own server can be altered');
is(run_as($node, 'mallory', 'BEGIN; ALTER SERVER mine RENAME TO theirs; ALTER SERVER theirs RENAME TO sms3300; COMMIT'),
	42501, 'nor in two steps');
run_sql($node, <<'END');
INSERT INTO sms_outbox (mobile, message, account, sender, send_before, due_at, origin)
VALUES ('989123456789', 'restored', 'lost', 'alice', 'infinity', now(), 1);
CREATE SERVER dropped FOREIGN DATA WRAPPER sms3300 OPTIONS (line '983000330000', paused 'true');
CREATE USER MAPPING FOR PUBLIC SERVER dropped OPTIONS (username 'user', password 'secret');
INSERT INTO sms_outbox (mobile, message, account) VALUES ('09123456789', 'left', 'dropped');
DROP SERVER dropped CASCADE;
END
is(run_as($node, 'mallory', "CREATE SERVER lost $options"), 42501, 'nor one for which messages wait that were restored');
is(run_as($node, 'mallory', "CREATE SERVER dropped $options"), 42501, 'nor that of a dropped server');
run_sql($node, q{DELETE FROM sms_outbox WHERE account <> 'sms3300'});
run_sql($node, 'GRANT USAGE ON FOREIGN DATA WRAPPER sms3300 TO alice');
is(run_as($node, 'alice', "BEGIN; CREATE SERVER sms3300 $options; ROLLBACK"), '', 'the owner of the table may take it');
run_sql($node, 'ALTER SERVER another RENAME TO sms3300; ALTER SERVER sms3300 RENAME TO another');
is(run_sql($node, "SELECT status FROM sms_outbox WHERE id = $id"), 'queued', 'the message waits');
run_sql($node, "SELECT sms3300_cancel($id)");
is(run_as($node, 'mallory', "CREATE SERVER sms3300 $options"), '', 'a name for which nothing waits can be taken');

# Estimates are the same for a number that is there and for one that is not.
run_sql($node, 'DROP SERVER sms3300; ALTER SERVER another RENAME TO sms3300; ALTER TABLE sms_outbox OWNER TO CURRENT_USER');
run_sql($node, <<'END');
SET ROLE alice;
INSERT INTO sms_outbox (mobile, message) SELECT '09123456789', 'same' FROM generate_series(1, 1000);
RESET ROLE;
ANALYZE sms_outbox;
END
my $estimate = sub {
	my ($condition) = @_;
	my ($rows) = run_as($node, 'mallory', "EXPLAIN SELECT FROM sms_outbox WHERE $condition") =~ /rows=(\d+)/;
	return $rows;
};
for my $column (
	[ mobile => '989123456789', '989000000000' ],
	[ sender => 'alice', 'nobody' ],
	[ message => 'same', 'other' ])
{
	my ($name, $there, $absent) = @$column;
	my $estimated = $estimate->("$name = '$there'");
	like($estimated, qr/^\d+$/, "an estimate by $name");
	is($estimated, $estimate->("$name = '$absent'"), '... does not tell what there is');
}

$node->stop;
done_testing();
