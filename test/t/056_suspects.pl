
# A message for which the gateway reports an error of the account, although the message
# itself is the cause. It hardly delays the other messages, and is retried less and less
# often.

use strict;
use warnings;

use SMS3300;
use Test::More;

my $n       = 300;
my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");

# The refusals: of the whole HTTP request, and by a code.
my %refusal = (firewall => '#http 403', broke => '#status 14 no credit');
for my $account (sort keys %refusal)
{
	create_account($node, 'postgres',
		account => $account, url => $gateway->url, line => '983000330000', max_in_flight => 1);
	run_sql($node, <<"END");
INSERT INTO sms_outbox (mobile, message, account, priority)
SELECT '09123456789', CASE n WHEN 0 THEN '$refusal{$account}' ELSE 'hello' END, '$account',
	(n = 0)::int
FROM generate_series(0, $n) n
END
}
for my $account (sort keys %refusal)
{
	wait_for_sql($node, 'postgres',
		"SELECT count(*) FROM sms_outbox WHERE account = '$account' AND status = 'sent'", $n);
	my ($row) = read_rows($node, "account = '$account' AND status <> 'sent'");
	is("@$row{qw(status attempts)}", 'queued 0', "$account: what is refused waits");
	cmp_ok(scalar(grep { $_->{fields}{message} eq $refusal{$account} } $gateway->log),
		'<', 12, "$account: it is not tried all the time");
}

# A change of its account has it tried at once, and it is sent like any other.
run_sql($node, "UPDATE sms_outbox SET due_at = now() + interval '1 h' WHERE status = 'queued'");
$gateway->mode('#ok');
run_sql($node, "ALTER SERVER $_ OPTIONS (ADD timeout '20s')") for sort keys %refusal;
wait_for_end($node);
is(run_sql($node, 'SELECT DISTINCT status, attempts FROM sms_outbox'), 'sent|1', 'sent after all');

$node->stop;
done_testing();
