
# No sender stops another one's messages: a refusal of the credentials stops the user
# mapping that they are in, and probes take turns between senders.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000', max_in_flight => 8);
for my $role (qw(alice bob carol))
{
	run_sql($node, "CREATE ROLE $role; GRANT USAGE ON FOREIGN SERVER sms3300 TO $role");
}
run_sql($node, q{CREATE USER MAPPING FOR bob SERVER sms3300 OPTIONS (username 'bob', password 'wrong')});

# Queue messages as a role.
sub queue_as
{
	my ($role, $message, $n) = @_;
	run_sql($node, <<"END");
SET ROLE $role;
INSERT INTO sms_outbox (mobile, message) SELECT '09123456789', '$message' FROM generate_series(1, @{[ $n // 1 ]})
END
	return;
}

# Return some columns of sms3300_stat_mapping.
sub mapping_is
{
	my ($role, $columns, $expected) = @_;
	wait_for_sql($node, 'postgres',
		"SELECT concat_ws('|', $columns) FROM sms3300_stat_mapping WHERE role = '$role'", $expected);
	return;
}

# The gateway refuses bob's password: his messages wait, others are sent.
queue_as('bob', '#status 18 bad login', 1500);
wait_for_log($node, qr/account "sms3300" stopped for the user mapping of role "bob": the gateway answered with status 18/);
queue_as('alice', 'from alice', 50);
wait_for_status($node, 'from alice', 'sent');
pass('a mapping that has stopped does not hold up other senders');
mapping_is('bob', 'state, left(reason, 35), next_probe_at > now(), queued > 1490, in_flight',
	'stopped|the gateway answered with status 18|t|t|0');
mapping_is('public', 'state, reason, next_probe_at, queued, in_flight', 'ok|0|0');
wait_for_sql($node, 'postgres', q{SELECT state || left(reason, 35) FROM sms3300_stat_account},
	'stoppedthe gateway answered with status 18');
like(run_sql($node, q{SELECT sms3300_explain(max(id)) FROM sms_outbox WHERE sender = 'bob'}),
	qr/its account sms3300 has stopped for the user mapping of role bob: the gateway answered with status 18[^;]*;/,
	'a message says which mapping has stopped');
cmp_ok(scalar($gateway->taken('#status 18 bad login')), '<', 30, 'few of its messages are tried');

# While others send, the account does not show another state with each of their messages. It
# does if bob's mapping is refused twice meanwhile: such a sample says nothing.
my @tries;
my %shown;
for my $n (1 .. 20)
{
	queue_as('alice', "meanwhile $n");
	wait_for_status($node, "meanwhile $n", 'sent');
	wait_for_sql($node, 'postgres', 'SELECT state FROM sms3300_stat_account', 'ok') if $n == 1;
	my $state = run_sql($node, 'SELECT state FROM sms3300_stat_account');
	push @tries, scalar $gateway->taken('#status 18 bad login');
	$shown{$state}++ if @tries > 1 && $tries[-1] - $tries[-2] < 2;
}
is(join(' ', keys %shown), 'ok', 'the account goes on');
is(run_sql($node, q{SELECT sum(attempts) FROM sms_outbox WHERE sender = 'bob' AND status = 'queued'}), 0, 'none is worse for it');

# What repeats is not logged each time.
my $stopped = qr/account "sms3300" stopped for the user mapping of role "bob"/;
for my $n (1 .. 15)
{
	my $tries = $gateway->taken('#status 18 bad login');
	run_sql($node, "SELECT sms3300_retry('sms3300')");
	wait_until(sub { $gateway->taken('#status 18 bad login') > $tries }, 'another try');
	mapping_is('bob', 'state, in_flight', 'stopped|0');
}
my $told = () = slurp_file($node->logfile) =~ /$stopped/g;
cmp_ok($told, '<', 15, 'a mapping that stops again and again does not fill the log');

# It opens when it is altered.
set_setting($node, 'sms3300.enabled', 'off');
wait_for_sql($node, 'postgres', q{SELECT count(*) = 0 FROM sms_outbox WHERE status = 'sending'});
run_sql($node, q{UPDATE sms_outbox SET message = 'from bob' WHERE sender = 'bob'});
run_sql($node, q{ALTER USER MAPPING FOR bob SERVER sms3300 OPTIONS (SET password 'right')});
set_setting($node, 'sms3300.enabled', 'on');
wait_for_status($node, 'from bob', 'sent');
mapping_is('bob', 'state, reason, next_probe_at, queued, in_flight', 'ok|0|0');
is(($gateway->log)[-1]{fields}{username}, 'bob', 'sent with his mapping');

# Probes of a mapping take turns, too: a message that is itself the cause does not keep it
# stopped for the others that it is used for.
queue_as('carol', '#status 14 too dear for the credit left', 20);
wait_for_log($node, qr/account "sms3300" stopped for the user mapping for PUBLIC: the gateway answered with status 14/);
queue_as('alice', 'cheap');
wait_for_status($node, 'cheap', 'sent');
pass('probes of a mapping take turns between senders');
run_sql($node, q{DELETE FROM sms_outbox WHERE sender = 'carol' AND status = 'queued'});

# A role that makes and drops a mapping of its own does not have it tried all the time. It does
# both at once here: in between, its messages would go by the mapping for PUBLIC.
my $before = $gateway->count->{taken};
my $began  = clock_gettime(CLOCK_MONOTONIC);
queue_as('carol', '#status 18 carol', 100);
for (1 .. 20)
{
	run_sql($node, q{BEGIN;
		DROP USER MAPPING IF EXISTS FOR carol SERVER sms3300;
		CREATE USER MAPPING FOR carol SERVER sms3300 OPTIONS (username 'carol', password 'wrong');
		COMMIT});
	queue_as('alice', 'alice again');
}
wait_for_status($node, 'alice again', 'sent');
my $openings = 2 + (clock_gettime(CLOCK_MONOTONIC) - $began) / 10;
cmp_ok($gateway->count->{taken} - $before - 20, '<', 20 + 8 * $openings, 'mappings that come and go are tried at a pace');
run_sql($node, q{DROP USER MAPPING FOR carol SERVER sms3300; DELETE FROM sms_outbox WHERE sender = 'carol'});

# The account itself stops for all, and probes take turns between senders: one whose
# messages are the cause does not keep it stopped.
queue_as('bob', '#http 403', 200);
wait_for_log($node, qr/account "sms3300" stopped: HTTP status 403/);
queue_as('alice', 'after the firewall');
wait_for_status($node, 'after the firewall', 'sent');
pass('probes take turns between senders');

# Nor do others wait for a next probe, which becomes minutes away by that sender's messages.
wait_for_sql($node, 'postgres', q{SELECT next_probe_at > now() + interval '10 s' FROM sms3300_stat_account});
my $probe_at = run_sql($node, q{SELECT next_probe_at FROM sms3300_stat_account});
queue_as('alice', 'before the probe');
wait_for_status($node, 'before the probe', 'sent');
is(run_sql($node, "SELECT started_at < '$probe_at' FROM sms_outbox WHERE message = 'before the probe'"), 't',
	'a sender who is not the cause does not wait for a probe');

# Senders of equal priority take turns: many messages of one do not hold up the first of another.
$gateway->mode('');
run_sql($node, "DELETE FROM sms_outbox WHERE status = 'queued'");
alter_account($node, max_in_flight => 2);
queue_as('alice', 'many', 4000);
wait_for_sql($node, 'postgres', q{SELECT count(*) > 50 FROM sms_outbox WHERE message = 'many' AND status = 'sent'});
queue_as('bob', 'few', 5);
wait_for_status($node, 'few', 'sent');
cmp_ok(run_sql($node, q{SELECT count(*) FROM sms_outbox WHERE message = 'many' AND status = 'queued'}),
	'>', 2000, 'the first messages of a sender do not wait for all of another');
alter_account($node, max_in_flight => 50);
wait_for_status($node, 'many', 'sent');
is_taken($gateway, 'many', 4000, 'each is sent once');

# An account that has no other mapping than one that is refused: another sender's own
# mapping is not held up by it.
run_sql($node, "DELETE FROM sms_outbox WHERE status = 'queued'; DROP USER MAPPING FOR PUBLIC SERVER sms3300");
my $offset = -s $node->logfile;
queue_as('bob', '#status 18 his own', 3);
wait_for_log($node, qr/account "sms3300" stopped: the gateway answered with status 18/, $offset);
run_sql($node, q{CREATE USER MAPPING FOR alice SERVER sms3300 OPTIONS (username 'alice', password 'right')});
queue_as('alice', 'by a mapping of her own', 5);
wait_for_status($node, 'by a mapping of her own', 'sent');
mapping_is('bob', 'state', 'stopped');
mapping_is('alice', 'state', 'ok');
is(statuses($node, '#status 18 his own'), 'queued 3', 'only the messages of the mapping that is refused wait');

$node->stop;
done_testing();
