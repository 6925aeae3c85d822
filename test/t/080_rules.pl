
# The rules of an account: what they suppress, and what sms3300_send_now, sms3300_explain
# and the statistics say of it.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');

# Return the error of SQL: its SQLSTATE, its message and its detail.
sub error_of
{
	my ($sql) = @_;
	my ($status, undef, $error) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql");
	return $error;
}

# Return what is said of a message.
sub explanation
{
	my ($id) = @_;
	return run_sql($node, "SELECT sms3300_explain($id)");
}

#
# deliver_only
#

my $unlisted = qr/the recipient is not in the account's option "deliver_only"/;
my $tester   = '09351234567';
alter_account($node, deliver_only => " +98 912 000 0001,$tester, 0912-000-0003");
my @kept = queue_until($node, 'suppressed', [ 'to a customer', 'to another' ]);
queue_until($node, 'sent', "to $_", mobile => $_) for '9120000001', $tester, '00989120000003';
my ($row) = read_rows($node, "id = $kept[0]");
like($row->{error}, qr/^$unlisted$/, 'deliver_only: the error names the rule');
is_deeply([ @$row{qw(attempts started_at due_at events)} ], [ 0, undef, undef, [] ],
	'deliver_only: a suppressed message was not tried');
ok(defined $row->{finished_at}, 'deliver_only: it is finished');
like(explanation($kept[0]), qr/^suppressed at .*: $unlisted; sms3300_resend\($kept[0]\) queues it again$/,
	'deliver_only: explained afterwards');
is(run_sql($node, "SELECT status FROM sms_report WHERE id = $kept[0]"), 'suppressed',
	'deliver_only: in the report');
wait_for_sql($node, 'postgres', 'SELECT suppressed, sent FROM sms3300_stat_account', '2|3');
is($gateway->count->{taken}, 3, 'deliver_only: only the listed numbers got a message');

# One can ask before the message is due.
my $later = queue($node, 'tomorrow', send_after => \"now() + interval '1 day'");
like(explanation($later), qr/^queued: it will be suppressed: $unlisted$/, 'deliver_only: explained before');
run_sql($node, "SELECT sms3300_cancel($later)");

like(error_of("SELECT sms3300_send_now('09123456789', 'now')"),
	qr/55000: a rule of account "sms3300" forbids the message: $unlisted/, 'deliver_only: send_now is refused');
run_sql($node, "SELECT sms3300_send_now('$tester', 'now')");
is_taken($gateway, 'now', 1, 'deliver_only: send_now to a listed number is sent');

# What is sent again is judged again, by the rule as it is then.
run_sql($node, "SELECT sms3300_resend($kept[0])");
wait_for_status($node, $kept[0], 'suppressed');
alter_account($node, deliver_only => "$tester,09123456789");
run_sql($node, "SELECT sms3300_resend($kept[0])");
wait_for_status($node, $kept[0], 'sent');
is_taken($gateway, 'to a customer', 1, 'deliver_only: sent when the number is listed');

# Neither many of them nor the rate hold up the others.
alter_account($node, deliver_only => $tester, rate => '1');
queue($node, \"'many ' || n", n => 3000);
queue_until($node, 'sent', 'behind many', mobile => $tester);
wait_for_sql($node, 'postgres',
	"SELECT count(*) FROM sms_outbox WHERE message LIKE 'many %' AND status = 'suppressed'", 3000);
alter_account($node, rate => undef);

# A trigger that changes the recipient of a claim does not get past the rule, and a
# suppressed message can be seen by triggers.
run_sql($node, <<'END');
CREATE FUNCTION redirect() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.status = 'sending' AND NEW.message = 'redirected' THEN NEW.mobile := '989120000009'; END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER redirect BEFORE UPDATE ON sms_outbox FOR EACH ROW EXECUTE FUNCTION redirect();
END
my $redirected = queue_until($node, 'suppressed', 'redirected', mobile => $tester);
($row) = read_rows($node, "id = $redirected");
is($row->{attempts}, 0, 'deliver_only: the claim that was undone is not an attempt');
is_taken($gateway, 'redirected', 0, 'deliver_only: a trigger does not get past it');
run_sql($node, 'DROP TRIGGER redirect ON sms_outbox');

# The list is checked.
for my $bad ('', ' ', '09123456789,', '09123456789;09351234567', '02188888888', '09123456789,,09351234567')
{
	like(error_of("ALTER SERVER sms3300 OPTIONS (SET deliver_only '$bad')"),
		qr/22023: invalid value for option "deliver_only"/, "deliver_only: \"$bad\" is refused");
}

#
# The order of all rules
#

# All of them forbid a message: after each is lifted, the next one is the reason. In the
# account's zone it is about noon.
my $noon  = sprintf 'Etc/GMT%+d', (gmtime)[2] - 12;
my $armed = PostgreSQL::Test::Utils::tempdir() . '/armed';
alter_account($node, deliver_only => undef, timezone => $noon);
queue_until($node, 'sent', [ 'before', 'before' ]);
run_sql($node, "INSERT INTO sms_opt_out (mobile) VALUES ('09123456789')");
alter_account($node, paused => 'true', max_parts_per_day => 2, hours => '20:00-21:00', deliver_only => $tester,
	max_per_mobile => '2/1 day', rate => '0.001');
set_setting($node, 'sms3300.armed_file', $armed);
my $judged = queue($node, 'judged', send_after => \"now() + interval '10 min'");

for (
	[ armed => '55000', qr/the file that sms3300\.armed_file names does not exist/, sub { append_to_file($armed, '') } ],
	[ paused => '55000', qr/paused/, sub { alter_account($node, paused => undef) } ],
	[ budget => '53400', qr/the account may send 2 parts a day, and \d+ may have been sent today/,
		sub { alter_account($node, max_parts_per_day => undef) } ],
	[ hours => '55000', qr/it is outside the hours of the account, 20:00-21:00 in \Q$noon\E/, sub { alter_account($node, hours => undef) } ],
	[ deliver_only => '55000', $unlisted, sub { alter_account($node, deliver_only => undef) } ],
	[ 'opted out' => '55000', qr/the recipient has opted out/, sub { run_sql($node, 'DELETE FROM sms_opt_out') } ],
	[ 'per mobile' => '55000', qr/the recipient may have received \d+ messages already/, sub { alter_account($node, max_per_mobile => undef) } ])
{
	my ($rule, $sqlstate, $reason, $lift) = @$_;
	like(explanation($judged), qr/^queued: .*$reason/, "in order, explained: $rule");
	like(error_of("SELECT sms3300_send_now('09123456789', 'now, by the order')"), qr/ERROR: +$sqlstate: .*$reason/,
		"in order, send_now: $rule");
	$lift->();
}
like(explanation($judged), qr/^queued: it is scheduled for /, 'in order: no rule is left, but the rate');
queue_until($node, 'sent', 'takes the only place', priority => 9);
run_sql($node, "UPDATE sms_outbox SET send_after = now() WHERE id = $judged");
like(explanation($judged), qr/^queued: it waits for the rate limit of account sms3300/, 'in order, explained: rate');
like(error_of("SELECT sms3300_send_now('09123456789', 'now, by the order')"), qr/53400: the rate of account "sms3300"/,
	'in order, send_now: rate');
is_taken($gateway, 'now, by the order', 0, 'in order: no rule let the message through');
alter_account($node, rate => undef);
wait_for_status($node, $judged, 'sent');

done_testing();
