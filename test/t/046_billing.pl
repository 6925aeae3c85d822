
# The query of doc/operations.md for the bill: the parts that were sent by line and month,
# also after the texts were redacted.

use strict;
use warnings;

use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "timezone = UTC\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');

# Messages of 1, 2 and 3 parts by two lines, and some that were not or may have been sent.
queue_until($node, 'sent', $_) for 'x', 'x' x 161, 'x' x 307;
queue_until($node, 'sent', 'x' x 200, line => '983000330001');
queue_until($node, 'unknown',  '#http 500');
queue_until($node, 'rejected', '#status 27');
run_sql($node, q{SELECT sms3300_cancel(sms3300_send('09123456789', 'x', send_after => now() + interval '1 day'))});

# One of them in the last minute of a month in Tehran, one in the first of the next.
run_sql($node, <<'END');
UPDATE sms_outbox SET finished_at = '2026-10-15';
UPDATE sms_outbox SET finished_at = '2026-10-31 20:29:59+00' WHERE message = 'x' AND status = 'sent';
UPDATE sms_outbox SET finished_at = '2026-10-31 20:30:00+00' WHERE length(message) = 161;
END
my $query = sql_block('doc/operations.md', 'unknown_parts');
my $bill = join "\n", '2026-10-01|983000330000|2|4|0', '2026-10-01|983000330001|1|2|0',
	'2026-10-01|not known|0|0|1', '2026-11-01|983000330000|1|2|0';
is(run_sql($node, $query), $bill, 'by line and month');

alter_account($node, redact_after => '0');
wait_for_sql($node, 'postgres', 'SELECT count(message) FROM sms_outbox WHERE finished_at IS NOT NULL', 0);
is(run_sql($node, $query), $bill, 'and after redaction');

$node->stop;
done_testing();
