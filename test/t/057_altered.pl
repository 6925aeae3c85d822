
# An account is altered, renamed or dropped while no worker is running. A new worker uses
# the current definition. Messages refer to their account by name.

use strict;
use warnings;

use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 0\n");
my %account = (url => $gateway->url, line => '983000330000');
my $worker  = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'sms3300 worker'";

# Return the texts that the gateway has taken, each with the user name.
sub taken
{
	my ($from) = @_;
	my @log = map { "$_->{fields}{username}: $_->{fields}{message}" } $gateway->log;
	return join ', ', @log[ $from // 0 .. $#log ];
}

# What waits for another try goes at once when its account is altered, in vain until then:
# a message that has no credentials, and one that was refused for now.
create_account($node, 'postgres', %account, account => 'fixed', username => 'fixed');
run_sql($node, <<'END');
ALTER SERVER fixed OPTIONS (ADD paused 'true');
SELECT sms3300_send('09123456789', 'no mapping', account => 'fixed');
BEGIN;
DROP USER MAPPING FOR PUBLIC SERVER fixed;
ALTER SERVER fixed OPTIONS (SET paused 'false');
COMMIT;
END
wait_for_sql($node, 'postgres', "SELECT error LIKE '%mapping%' FROM sms_outbox");
my $later = "UPDATE sms_outbox SET due_at = now() + interval '1 h' WHERE status = 'queued'";
run_sql($node, $later);
wait_for_workers($node, 0);
run_sql($node, q{CREATE USER MAPPING FOR PUBLIC SERVER fixed OPTIONS (username 'fixed', password 'secret')});
wait_for_end($node);
$gateway->mode('#status 15 busy', 1);
queue($node, 'refused for now', account => 'fixed');
wait_for_sql($node, 'postgres', "SELECT count(*) FROM sms_outbox WHERE error LIKE '%busy%'", 1);
run_sql($node, $later);
wait_for_workers($node, 0);

# Another worker alone changes nothing.
create_account($node, 'postgres', %account, account => 'spare', username => 'spare');
queue($node, 'another', account => 'spare');
wait_for_status($node, 'another', 'sent');
wait_for_workers($node, 0);
is(run_sql($node, "SELECT status FROM sms_outbox WHERE message = 'refused for now'"), 'queued',
	'another worker alone does not try a refused message again');
run_sql($node, "ALTER SERVER fixed OPTIONS (ADD timeout '20s')");
wait_for_end($node);
is(taken(), 'fixed: no mapping, fixed: refused for now, spare: another, fixed: refused for now',
	'each at the right time');
run_sql($node, 'DELETE FROM sms_outbox');

# The name is what counts.
create_account($node, 'postgres', %account, account => 'first', username => 'first', paused => 'true');
queue($node, 'hello', account => 'first');
wait_for_workers($node, 0);
run_sql($node, <<'END');
ALTER SERVER first RENAME TO other;
ALTER SERVER other OPTIONS (SET paused 'false');
END
wait_for_workers($node, 0);
queue($node, 'mark', account => 'other');
wait_for_status($node, 'mark', 'sent');
is(taken(4), 'first: mark', 'renamed: the message waits for the name');
like(run_sql($node, "SELECT sms3300_explain(id) FROM sms_outbox WHERE message = 'hello'"),
	qr/account first does not exist/, 'a message whose account was renamed says what it waits for');

# An account that gets the name gets the message, at once.
wait_for_workers($node, 0);
run_sql($node, 'ALTER SERVER spare RENAME TO first');
wait_for_status($node, 'hello', 'sent');
is(taken(4), 'first: mark, spare: hello', 'sent by the account that has the name now');

# While a request is on the wire: its result is recorded all the same.
$gateway->mode('#hold #status 15', 1);
queue($node, '#status 15', account => 'first');
$gateway->wait_for_taken(7);
run_sql($node, 'ALTER SERVER first RENAME TO spare');
$gateway->release;
wait_for_sql($node, 'postgres',
	"SELECT status, attempts, api_status FROM sms_outbox WHERE message LIKE '#status%'", 'queued|1|15');
run_sql($node, "SELECT sms3300_cancel(id) FROM sms_outbox WHERE message LIKE '#status%'");

# A worker that stays because of an account that has stopped leaves when it is gone.
$gateway->mode('#http 503 retry-after=3600', 1);
queue($node, 'refused', account => 'spare');
wait_for_log($node, qr/account "spare" stopped/);
is(run_sql($node, $worker), 1, 'an account that has stopped keeps the worker');
run_sql($node, 'DROP SERVER spare CASCADE');
wait_for_workers($node, 0);
is(run_sql($node, "SELECT status, attempts FROM sms_outbox WHERE message = 'refused'"), 'queued|0',
	'dropped: its message waits');
create_account($node, 'postgres', %account, account => 'spare');
wait_for_end($node);
is(scalar $gateway->log, 9, 'a message of a dropped account goes once it is back');

# A message can be given another account.
wait_for_workers($node, 0);
run_sql($node, "ALTER SERVER spare OPTIONS (ADD paused 'true')");
queue($node, 'moved', account => 'spare');
run_sql($node, "UPDATE sms_outbox SET account = 'fixed' WHERE account = 'spare' AND status = 'queued'");
wait_for_end($node);
is(taken(9), 'fixed: moved', 'moved to another account');

# Messages that wait for a retry are found without reading those that wait for their time.
run_sql($node, <<'END');
SELECT sms3300_send('09123456789', 'tomorrow', account => 'fixed', send_after => now() + interval '1 day')
FROM generate_series(1, 5000)
END
$gateway->mode('#status 15 busy', 1);
queue($node, 'among many', account => 'fixed');
wait_for_sql($node, 'postgres', "SELECT attempts FROM sms_outbox WHERE message = 'among many'", 1);
run_sql($node, "UPDATE sms_outbox SET due_at = now() + interval '1 h' WHERE message = 'among many'");
wait_for_workers($node, 0);
my $reads = "SELECT pg_stat_get_tuples_returned('sms_outbox_queue_idx'::regclass)";
my $before = run_sql($node, $reads);
run_sql($node, "ALTER SERVER fixed OPTIONS (SET timeout '21s')");
wait_for_status($node, 'among many', 'sent');
wait_for_workers($node, 0);
cmp_ok(run_sql($node, $reads) - $before, '<', 100, 'found among many that wait for their time');

# Queue a message that was refused for now, and waits for an hour. Returns its id.
sub queue_for_retry
{
	my ($message) = @_;
	$gateway->mode('#status 15 busy', 1);
	my $id = queue($node, $message, account => 'fixed');
	wait_for_sql($node, 'postgres', "SELECT attempts FROM sms_outbox WHERE id = $id AND status = 'queued'", 1);
	run_sql($node, "UPDATE sms_outbox SET due_at = now() + interval '1 h' WHERE id = $id");
	wait_for_workers($node, 0);
	return $id;
}

# The round that sees the change fails, as another message cannot be claimed: the change is
# not lost with it. So it is with sms3300_retry().
run_sql($node, "DELETE FROM sms_outbox; ALTER TABLE sms_outbox ADD CONSTRAINT mine CHECK (status <> 'sending' OR message <> 'bad')");
for my $what ("ALTER SERVER fixed OPTIONS (SET timeout '22s')", "SELECT sms3300_retry('fixed')")
{
	my $offset = -s $node->logfile;
	my $waiting = queue_for_retry($what);
	run_sql($node, <<"END");
BEGIN;
SELECT sms3300_send('09123456789', 'bad', account => 'fixed', priority => 9);
$what;
COMMIT;
END
	wait_for_log($node, qr/violates check constraint "mine"/, $offset);
	wait_for_status($node, $waiting, 'sent');
	pass("$what: makes due what waits, also if its round fails");
	run_sql($node, "SELECT sms3300_cancel(id) FROM sms_outbox WHERE message = 'bad'");
}
run_sql($node, 'ALTER TABLE sms_outbox DROP CONSTRAINT mine');

# Nor does a trigger that keeps them from being made due hold up anything.
my $stuck = queue_for_retry('stuck');
run_sql($node, <<"END");
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN RAISE 'not now'; END \$\$;
CREATE TRIGGER fail BEFORE UPDATE OF due_at ON sms_outbox FOR EACH ROW
	WHEN (NEW.status = 'queued') EXECUTE FUNCTION fail();
ALTER TABLE sms_outbox ENABLE ALWAYS TRIGGER fail;
ALTER SERVER fixed OPTIONS (SET timeout '23s');
END
wait_for_log($node, qr/failed: not now/);
queue_until($node, 'sent', 'beside it', account => 'fixed');
is(statuses($node, $stuck), 'queued 1', 'what cannot be made due holds up nothing');
run_sql($node, 'ALTER TABLE sms_outbox ENABLE TRIGGER fail');
wait_for_status($node, $stuck, 'sent');
pass('it is made due with triggers disabled as a last resort');

# A change of a mapping, which a role may make to its own, does not use up the attempts of what
# others have queued.
set_setting($node, 'sms3300.worker_idle_timeout', '1h');
run_sql($node, 'DROP TRIGGER fail ON sms_outbox; CREATE ROLE bob; GRANT USAGE ON FOREIGN SERVER fixed TO bob');
mark($node, account => 'fixed');
$gateway->mode('#status 15 busy', 1);
my $busy = queue($node, 'busy', account => 'fixed');
wait_for_sql($node, 'postgres', "SELECT error LIKE '%busy%' FROM sms_outbox WHERE id = $busy");
run_sql($node, <<'END');
UPDATE sms_outbox SET due_at = now() + interval '1 h' WHERE status = 'queued';
CREATE USER MAPPING FOR bob SERVER fixed OPTIONS (username 'bob', password 'secret');
END
mark($node, account => 'fixed');
is(run_sql($node, "SELECT due_at > now(), attempts FROM sms_outbox WHERE id = $busy"), 't|1', "another sender's mapping");
alter_account($node, account => 'fixed', timeout => '24s');
wait_for_status($node, $busy, 'sent');
pass('a change of the server does');

$node->stop;
done_testing();
