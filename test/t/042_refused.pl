
# What could never be sent as it was meant is refused when it is queued: a text that shows
# nothing, and times that have passed. A row tells what was sent: an UPDATE cannot change
# that, while the message is on the wire or afterwards, and may remove it.

use strict;
use warnings;

use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main');
my $number  = '09123456789';
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');

# Return the SQLSTATE and the message of an error, '' if there is none.
sub error_of
{
	my ($sql) = @_;
	my (undef, undef, $error) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql;", on_error_stop => 0);
	return $error =~ /ERROR:  (\w+: [^\n]*)/ ? $1 : '';
}

# By each way to queue, and to send at once.
my %blank = (
	'blanks'      => q(E' \t\n\r'),
	'ZWNJ'        => q(U&'\200C\200C'),
	'marks'       => q(U&'\FEFF\202B\061C\00AD\2066'),
	'other spaces' => q(U&'\00A0\3000\2003\2028'));
for my $kind (sort keys %blank)
{
	for my $way ("INSERT INTO sms_outbox (mobile, message) VALUES ('$number', %s)",
		"SELECT sms3300_send('$number', %s)", "SELECT sms3300_send_now('$number', %s)")
	{
		is(error_of(sprintf $way, $blank{$kind}), '22023: message has no text', sprintf $way, $kind);
	}
}
my $shown = queue($node, \q(U&'\200C.\200C'));
wait_for_status($node, $shown, 'sent');

# Times by the clock: the transaction has begun before.
like(error_of("BEGIN; SELECT sms3300_send('$number', 'x', send_before => clock_timestamp())"),
	qr/^22023: "send_before" has already passed/, 'a deadline that has passed since the transaction began');
is(error_of("SELECT sms3300_send('$number', 'x', send_after => '1405-09-07', send_before => 'infinity')"),
	'22023: "send_after" is more than a day in the past', 'a Jalali year');
my $late = run_sql($node, "SELECT sms3300_send('$number', 'late', send_after => now() - interval '23 hours')");
wait_for_status($node, $late, 'sent');
is(run_sql($node, "SELECT send_after = created_at, send_before - created_at FROM sms_outbox WHERE id = $late"),
	't|1 day', 'less than a day counts as now');
is(run_sql($node, 'SELECT wait_time_sum >= 0 AND wait_time_sum < 3600000 FROM sms3300_stat_account'), 't',
	'and does not count as waiting');

# It does not jump the queue either.
alter_account($node, paused => 'true');
my @ids = (queue($node, 'first'), run_sql($node, "SELECT sms3300_send('$number', 'second', send_after => now() - interval '1 hour')"));
is(run_sql($node, "SELECT array_agg(id ORDER BY due_at, id) FROM sms_outbox WHERE status = 'queued'"), "{$ids[0],$ids[1]}",
	'the order of the queue');

# A message that waits can still be changed, also where its times have passed meanwhile.
is(error_of("UPDATE sms_outbox SET send_after = now() - interval '3 days' WHERE id = $ids[0];"
	  . " UPDATE sms_outbox SET message = 'changed', priority = 1 WHERE id = $ids[0]"), '', 'a queued message is changed');
alter_account($node, paused => 'false');
wait_for_end($node);

# On the wire.
my $taken = $gateway->count->{taken};
my $held = queue($node, '#hold');
$gateway->wait_for_taken($taken + 1);
for my $change (q(mobile = '09120000000'), q(message = 'other'), 'message = NULL', q(line = '1000'), 'type = 2',
	'template = 1', q(line2 = '1001'), q(account = 'other'))
{
	my ($column) = $change =~ /(\w+)/;
	is(error_of("UPDATE sms_outbox SET $change WHERE id = $held"),
		qq(55006: cannot change "$column" of message $held while it is being sent), "while it is sent: $change");
}
is(error_of(q(UPDATE sms_outbox SET metadata = '{"a": 1}', priority = 3, mobile = mobile, message = '#hold')
	  . " WHERE id = $held"), '', 'while it is sent: what does not tell a lie');
$gateway->release;
wait_for_status($node, $held, 'sent');

# Afterwards. A message that did not leave may be corrected, to be queued again.
my $unknown = queue_until($node, 'unknown', '#http 500');
for my $id ($held, $unknown)
{
	my $how = $id == $held ? 'was' : 'may have been';
	like(error_of("UPDATE sms_outbox SET message = 'other' WHERE id = $id"),
		qr/^55000: cannot change "message" of message $id, which $how sent/, "what $how sent: another text");
	like(error_of("UPDATE sms_outbox SET mobile = '09120000000' WHERE id = $id"),
		qr/^55000: cannot change "mobile"/, "what $how sent: another number");
	like(error_of("UPDATE sms_outbox SET line = '1000' WHERE id = $id"), qr/^55000: cannot change "line"/,
		"what $how sent: another line");
	is(error_of("UPDATE sms_outbox SET message = NULL, mobile = 'removed' WHERE id = $id"), '', "what $how sent: removed");
	like(error_of("UPDATE sms_outbox SET message = 'other' WHERE id = $id"),
		qr/^55000: cannot change "message"/, "what $how sent: another text after it was removed");
}
my $refused = queue_until($node, 'rejected', '#status 27');
is(error_of("UPDATE sms_outbox SET message = 'corrected' WHERE id = $refused; SELECT sms3300_resend($refused)"), '',
	'a message that was refused is corrected');
wait_for_status($node, $refused, 'sent');

$node->stop;
done_testing();
