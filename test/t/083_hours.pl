
# The hours of an account: what waits for them and until when, at the edges of spans, of the
# day and of a zone's change of clocks; and that the worker is back at the opening.

use strict;
use warnings;

use SMS3300;
use SMS3300::Clock;
use Test::More;

my $gateway = new_gateway();
my $node = new_shifted_node('main', conf => "sms3300.worker_idle_timeout = 0\ntimezone = 'UTC'\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');

# Return the error or the notice of SQL.
sub told_of
{
	my ($sql) = @_;
	my (undef, undef, $told) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql");
	return $told;
}

# Return a row of what SQL returns.
sub ask
{
	my ($sql) = @_;
	return run_sql($node, $sql);
}

#
# Edges, which sms3300_explain tells in advance
#

# Test when an account with certain hours sends a message that is due at a time (UTC);
# undef: at once.
sub opens
{
	my ($hours, $zone, $due, $expected, $name) = @_;
	alter_account($node, hours => $hours, timezone => $zone);
	my $id = queue($node, 'for later', send_after => "$due+00", send_before => 'infinity');
	my $explained = ask("SELECT sms3300_explain($id)");
	my ($opening) = $explained =~ /outside the hours of the account.*; it may be sent from (.*)\+00 on/;
	run_sql($node, "DELETE FROM sms_outbox WHERE id = $id");
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is($opening, $expected, "$hours in $zone: $name");
}

my $day = '2027-06-01';
opens('08:00-22:00', 'Asia/Tehran', "$day 04:29:59", "$day 04:30:00", 'a second before the opening');
opens('08:00-22:00', 'Asia/Tehran', "$day 04:30:00", undef, 'at the opening');
opens('08:00-22:00', 'Asia/Tehran', "$day 18:29:59.999999", undef, 'in the last moment');
opens('08:00-22:00', 'Asia/Tehran', "$day 18:30:00", '2027-06-02 04:30:00', 'at the end');
opens('08:00-13:00, 13:00-21:00', 'UTC', "$day 13:00:00", undef, 'spans that touch');
opens('08:00-13:00,16:00-21:00', 'UTC', "$day 13:00:00", "$day 16:00:00", 'between two spans');
opens('16:00-21:00, 8:00-13:00', 'UTC', "$day 21:00:00", '2027-06-02 08:00:00', 'spans in any order');
opens('20:00-02:00', 'UTC', "$day 23:59:59", undef, 'over midnight, before it');
opens('20:00-02:00', 'UTC', "$day 00:00:00", undef, 'over midnight, at midnight');
opens('20:00-02:00', 'UTC', "$day 01:59:59", undef, 'over midnight, to the end');
opens('20:00-02:00', 'UTC', "$day 02:00:00", "$day 20:00:00", 'over midnight, after the end');
opens('10:00-24:00', 'UTC', "$day 23:59:59", undef, 'to midnight');
opens('10:00-24:00', 'UTC', "$day 00:00:00", "$day 10:00:00", 'to midnight, and no further');
opens('00:00-24:00', 'UTC', "$day 00:00:00", undef, 'the whole day');
opens('22:00-24:00, 00:00-06:00', 'UTC', "$day 00:00:00", undef, 'spans that touch at midnight');

# Clocks are set forward from 2:00 to 3:00 (01:00 UTC), and back from 3:00 to 2:00 (01:00 UTC).
opens('02:30-04:00', 'Europe/Berlin', '2027-03-28 00:59:59', '2027-03-28 01:00:00', 'a beginning that does not exist');
opens('01:00-02:30', 'Europe/Berlin', '2027-03-28 00:59:59', undef, 'an end that does not exist, before it');
opens('01:00-02:30', 'Europe/Berlin', '2027-03-28 01:00:00', '2027-03-28 23:00:00', 'an end that does not exist, after it');
opens('08:00-22:00', 'Europe/Berlin', '2027-03-27 21:00:00', '2027-03-28 06:00:00', 'a night that is an hour shorter');
opens('08:00-22:00', 'Europe/Berlin', '2027-10-30 20:00:00', '2027-10-31 07:00:00', 'a night that is an hour longer');
opens('02:30-04:00', 'Europe/Berlin', '2027-10-31 00:29:59', '2027-10-31 00:30:00', 'a beginning that occurs twice');
opens('02:30-04:00', 'Europe/Berlin', '2027-10-31 00:59:59', undef, 'open until the clocks are set back');
opens('02:30-04:00', 'Europe/Berlin', '2027-10-31 01:00:00', '2027-10-31 01:30:00', 'and again from the second one on');

for my $bad ('', '8-22', '08:00', '08:00-08:00', '25:00-26:00', '08:60-09:00', '24:00-08:00', '08:00-22:00,', '08:00–22:00')
{
	like(told_of("ALTER SERVER sms3300 OPTIONS (SET hours '$bad')"), qr/22023: invalid value for option "hours"/, "hours \"$bad\"");
}
like(told_of("ALTER SERVER sms3300 OPTIONS (SET timezone 'Asia/Teheran')"),
	qr/22023: invalid value for option "timezone"/, 'a time zone that does not exist');

#
# A night, by the server's clock
#

my $tehran = '+03:30';
alter_account($node, hours => '08:00-22:00', timezone => undef);
set_time($node, "2027-06-01 21:59:00$tehran");
my $evening = queue_until($node, 'sent', 'in the evening');
my ($two, $seven) = map { queue($node, "of priority $_", priority => $_, send_after => "2027-06-01 22:00:00$tehran") } 2, 7;
set_time($node, "2027-06-01 22:00:00$tehran");
my $otp = queue_until($node, 'sent', 'a code at night', priority => 8);
is(statuses($node, [ $two, $seven ]), 'queued 2', 'only what is urgent is sent at night');
is(ask('SELECT state, reason, next_probe_at, oldest_due_at FROM sms3300_stat_account'),
	'closed|it is outside the hours of the account, 08:00-22:00 in Asia/Tehran|2027-06-02 04:30:00+00|2027-06-02 04:30:00+00',
	'the account is closed, and nothing is late');
is(ask("SELECT sms3300_explain($two)"),
	'queued: it is outside the hours of the account, 08:00-22:00 in Asia/Tehran; it may be sent from 2027-06-02 04:30:00+00 on',
	'explained at night');
like(told_of("SELECT sms3300_send_now('09123456789', 'now')"),
	qr/55000: a rule of account "sms3300" forbids the message: it is outside the hours .*\nDETAIL: +It will be allowed at 2027-06-02 04:30:00/,
	'send_now is refused at night');

# Messages that will not outlive the night.
my $told = told_of("INSERT INTO sms_outbox (mobile, message, send_before)"
	. " SELECT '09123456789', 'too short', now() + interval '3 s' FROM generate_series(1, 3)");
like($told, qr/NOTICE: +00000: the message will expire before account "sms3300" may send it\nDETAIL: .* begin at 2027-06-02 04:30:00/,
	'a message that expires before the opening: told when it is queued');
is(scalar(() = $told =~ /NOTICE/g), 1, 'once a statement');
unlike(told_of("SELECT sms3300_send('09123456789', 'urgent', priority => 8, send_before => now() + interval '1 h')"),
	qr/NOTICE/, 'an urgent one does not');
unlike(told_of("SELECT sms3300_send('09123456789', 'long', send_before => '2027-06-02 08:00:01$tehran')"),
	qr/NOTICE/, 'nor one that outlives the night');
wait_for_status($node, 'too short', 'expired');
pass('they expire at night');

# Refused by the gateway for the hour.
my $eight = queue($node, '#status 8', priority => 9);
wait_for_sql($node, 'postgres', "SELECT due_at, attempts, status FROM sms_outbox WHERE id = $eight",
	'2027-06-02 04:30:00+00|0|queued');
pass('code 8: until the opening');
run_sql($node, "SELECT sms3300_cancel($eight)");

# The worker leaves, and another one is there at the opening.
wait_for_workers($node, 0);
set_time($node, "2027-06-02 07:59:57$tehran");
wait_for_status($node, [ $two, $seven ], 'sent');
wait_for_status($node, 'long', 'sent');
is(ask("SELECT count(*) FROM sms_outbox WHERE id IN ($two, $seven) AND started_at >= '2027-06-02 08:00:00$tehran'"), 2,
	'not before the opening');
is(ask('SELECT wait_time_sum < 60 * 60 * 1000 FROM sms3300_stat_account'), 't', 'the night is not waiting time');
$eight = queue($node, '#status 8', send_after => \'clock_timestamp()');
wait_for_sql($node, 'postgres',
	"SELECT date_trunc('minute', due_at - started_at), attempts FROM sms_outbox WHERE id = $eight AND status = 'queued' AND started_at IS NOT NULL", '00:15:00|0');
run_sql($node, "SELECT sms3300_cancel($eight)");

# Two messages whose account is open by the clock, closed by the clock that was set.
set_time($node, "2027-06-02 23:00:00$tehran");
my @night = map { queue($node, "at night $_") } 1, 2;
is(ask('SELECT state FROM sms3300_stat_account'), 'closed', 'the clock is set forward to the night');
set_time($node, "2027-06-02 12:00:00$tehran");
wait_for_status($node, \@night, 'sent');
pass('the clock is set back to the day');
set_time($node, "2027-06-02 22:30:00$tehran");
my $again = queue($node, 'at night again');
queue_until($node, 'sent', 'urgent again', priority => 9);
is(statuses($node, [ $again ]), 'queued 1', 'and forward again');

# An altered rule opens at once, also where no worker is.
wait_for_workers($node, 0);
alter_account($node, hours => '08:00-24:00');
set_time($node, "2027-06-02 23:30:00$tehran");
wait_for_status($node, $again, 'sent');
pass('altered hours apply at once');
set_time($node, "2027-06-03 01:00:00$tehran");
my $urgent = queue($node, 'urgent by now', priority => 5);
is(statuses($node, [ $urgent ]), 'queued 1', 'priority 5 waits');
alter_account($node, urgent_priority => 5);
wait_for_status($node, $urgent, 'sent');
my $none = queue($node, 'nothing is urgent', priority => 9);
alter_account($node, urgent_priority => 10);
my $later = queue($node, 'nor this', priority => 9);
alter_account($node, urgent_priority => undef, hours => undef);
wait_for_status($node, [ $none, $later ], 'sent');

# Thousands that wait do not hold up what is urgent.
alter_account($node, hours => '08:00-22:00');
queue($node, \"'waits ' || n", n => 3000);
queue_until($node, 'sent', 'before them', priority => 8);
is(ask("SELECT count(*) FROM sms_outbox WHERE message LIKE 'waits %' AND status <> 'queued'"), 0, 'they wait');
alter_account($node, paused => 'true');
is(ask('SELECT state FROM sms3300_stat_account'), 'paused', 'paused comes before closed');
$node->stop;

done_testing();
