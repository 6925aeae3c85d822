
# A text of more parts than the account's max_parts is refused when it is queued. A row that
# has one all the same becomes failed instead of being sent, however long the text is, and
# holds up nothing.

use strict;
use warnings;

use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
my $number  = '09123456789';
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');
run_sql($node, 'CREATE DATABASE bytes ENCODING SQL_ASCII TEMPLATE template0');
create_account($node, 'bytes', url => $gateway->url, line => '983000330000');

# Return the SQLSTATE, the message and the detail of an error, '' if there is none.
sub error_of
{
	my ($sql, $database) = @_;
	my (undef, undef, $error) = $node->psql($database // 'postgres', "\\set VERBOSITY verbose\n$sql;", on_error_stop => 0);
	return $error =~ /ERROR:  (\w+: [^\n]*)(?:\nDETAIL:  ([^\n]*))?/ ? "$1 $2" : '';
}

sub too_long
{
	my ($parts, $allowed) = @_;
	return "22023: message is too long The text has $parts parts, and the option \"max_parts\" of the account allows $allowed.";
}

# The limit, in both alphabets and by each way.
for my $text ([ q('x'), 153 ], [ q('س'), 67 ])
{
	my ($letter, $letters) = @$text;
	for my $way ("INSERT INTO sms_outbox (mobile, message) VALUES ('$number', %s)", "SELECT sms3300_send('$number', %s)",
		"SELECT sms3300_send_now('$number', %s)")
	{
		is(error_of(sprintf $way, "repeat($letter, 20 * $letters)"), '', "20 parts of $letter: $way");
		is(error_of(sprintf $way, "repeat($letter, 20 * $letters + 1)"), too_long(21, 20), "21 parts of $letter: $way");
	}
}
wait_for_end($node);
alter_account($node, max_parts => 1);
is(error_of("SELECT sms3300_send('$number', repeat('x', 161))"), too_long(2, 1), 'max_parts 1');
alter_account($node, max_parts => 255);
is(error_of("SELECT sms3300_send('$number', repeat('x', 255 * 153))"), '', 'max_parts 255');
is(error_of("SELECT sms3300_send('$number', repeat('x', 255 * 153 + 1))"), too_long(256, 255), '256 parts');
is(error_of("SELECT sms3300_send('$number', repeat('س', 20000000))"), too_long('more than 130718', 255), 'a text of 40 MB');
wait_for_end($node);

# A change of a message that waits.
alter_account($node, max_parts => undef, paused => 'true');
my $waits = queue($node, 'waits');
is(error_of("UPDATE sms_outbox SET message = repeat('x', 5000) WHERE id = $waits"), too_long(33, 20), 'UPDATE');

# Messages that got into the table all the same: queued before the limit was lower, or
# while no trigger looked.
run_sql($node, "UPDATE sms_outbox SET message = repeat('x', 3000) WHERE id = $waits");
run_sql($node, <<"END");
SET session_replication_role = replica;
INSERT INTO sms_outbox (mobile, message, account, sender, send_before, due_at, origin)
	SELECT '989123456789', repeat(t, n), account, sender, send_before, due_at, origin
	FROM sms_outbox, (VALUES (U&'\\0633', 2000), ('y', 5000), ('z', 20000000)) AS v (t, n) WHERE id = $waits;
END
alter_account($node, max_parts => 19, paused => undef);
run_sql($node, 'UPDATE sms_outbox SET priority = 1 WHERE id = $waits' =~ s/\$waits/$waits/r);
my $mark = queue($node, 'goes');
wait_for_status($node, $mark, 'sent');
wait_for_end($node);
is(run_sql($node, "SELECT status, attempts, started_at IS NULL, due_at IS NULL, finished_at IS NOT NULL, substr(error, 1, 25)"
	  . " FROM sms_outbox WHERE id >= $waits AND id <> $mark ORDER BY id"),
	"failed|0|t|t|t|the text has 20 parts, an\nfailed|0|t|t|t|the text has 30 parts, an\n"
	  . "failed|0|t|t|t|the text has 33 parts, an\nfailed|0|t|t|t|the text is longer than a",
	'they fail and say why');
is(run_sql($node, 'SELECT failed FROM sms3300_stat_account'), 4, 'and are counted');
is(scalar(grep { length $_->{fields}{message} > 255 * 153 } $gateway->log), 0, 'nothing too long was sent');

# It is told before.
my $later = queue($node, 'x' x 200, send_after => \"now() + interval '1 day'");
alter_account($node, max_parts => 1);
is(run_sql($node, "SELECT sms3300_explain($later)"),
	'queued: it will fail: the text has 2 parts, and the option "max_parts" of the account allows 1', 'explained before');
run_sql($node, "SELECT sms3300_cancel($later)");

# One that fits by now can be sent.
alter_account($node, max_parts => undef);
is(run_sql($node, "SELECT sms3300_resend($waits)"), 't', 'resend');
wait_for_status($node, $waits, 'sent');

# A text of more parts than the account may send in a day does not stop the account each day.
alter_account($node, paused => 'true');
$waits = queue($node, 'x' x 321, priority => 9);
alter_account($node, max_parts_per_day => 2, paused => undef);
wait_for_status($node, $waits, 'failed');
is(run_sql($node, "SELECT error FROM sms_outbox WHERE id = $waits"),
	'the text has 3 parts, and the option "max_parts_per_day" of the account allows 2', 'more parts than a day has: failed');
is(error_of("SELECT sms3300_send('$number', repeat('x', 321))"), too_long(3, 2) =~ s/"max_parts"/"max_parts_per_day"/r,
	'more parts than a day has: refused');
alter_account($node, max_parts_per_day => undef);

# Many of them at once are no burden.
run_sql($node, <<"END");
CREATE TABLE big AS SELECT repeat(md5(i::text), 30000) AS message FROM generate_series(1, 200) AS i;
SET session_replication_role = replica;
INSERT INTO sms_outbox (mobile, message, account, sender, send_before, due_at, origin)
	SELECT '989123456789', b.message, account, sender, 'infinity', now(), origin FROM sms_outbox, big AS b WHERE id = $waits;
END
my $pid = worker_pid($node, 'postgres');
queue_until($node, 'sent', 'wakes');
wait_for_end($node);
is(count_rows($node, "status = 'failed'"), 204, 'many long texts fail');
is(worker_pid($node, 'postgres'), $pid, 'and the worker lives');

# Where the encoding is not known, each byte that is not UTF-8 is an error before it counts.
like(error_of(qq(SELECT sms3300_send('$number', repeat(E'\\xFF', 1000))), 'bytes'), qr/^22021: invalid byte sequence/, 'no UTF-8');
is(error_of("SELECT sms3300_send('$number', repeat('س', 20 * 67 + 1))", 'bytes'), too_long(21, 20), 'UTF-8 in SQL_ASCII');

$node->stop;
done_testing();
