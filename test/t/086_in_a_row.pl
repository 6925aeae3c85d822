
# A gateway that fails after it has taken the requests, or refuses all messages with one
# code, stops the account after stop_after_unknown of them, instead of using up the queue.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000', max_in_flight => 10);

# Nobody knows of many in a row whether they were sent.
for my $fault ('#http 500', '#status 99', '#accepted-then-drop', '#html')
{
	my $offset = -s $node->logfile;
	$gateway->mode($fault);
	my @ids = queue($node, "with $fault", n => 300);
	wait_for_log($node, qr/account "sms3300" stopped: 20 messages in a row may have been sent, the last one: /, $offset);
	wait_for_sql($node, 'postgres', "SELECT state FROM sms3300_stat_account", 'stopped');
	cmp_ok(run_sql($node, "SELECT count(*) FROM sms_outbox WHERE status = 'unknown' AND message = 'with $fault'"),
		'<', 40, "$fault: most messages stay queued");
	$gateway->mode('');
	wait_for_sql($node, 'postgres', "SELECT count(*) = 0 FROM sms_outbox WHERE status IN ('queued', 'sending')");
	wait_for_log($node, qr/account "sms3300" is sending again/, $offset);
	pass("$fault: a probe opens the account");
}

# One that is accepted between them: it does not stop.
my $offset = -s $node->logfile;
alter_account($node, max_in_flight => 1, stop_after_unknown => 3);
queue($node, [ ('#http 500', '#http 500', 'accepted') x 3 ]);
wait_for_end($node);
unlike(slurp_file($node->logfile, $offset), qr/stopped/, 'fewer in a row do not stop it');

# Refusals with one code stop it, unless they are the message's own fault.
alter_account($node, max_in_flight => 10, stop_after_unknown => undef);
queue($node, '#status 27', n => 50);
queue($node, '#status 12', n => 50, line => '983000000000');
queue($node, '#status 20', n => 50, type => 2);
queue($node, '#status 2', n => 5, line2 => '983000000000');
wait_for_end($node);
is(run_sql($node, "SELECT DISTINCT status FROM sms_outbox WHERE message IN ('#status 12', '#status 20', '#status 2')"), 'rejected',
	'a line that the message chose by line, line2 or type is its own fault');
unlike(slurp_file($node->logfile, $offset), qr/stopped/, "a message's own fault does not stop it");
queue($node, '#status 3', n => 300);
wait_for_log($node, qr/account "sms3300" stopped: 20 messages in a row were refused with one code: the gateway answered with status 3/, $offset);
wait_for_sql($node, 'postgres', "SELECT state FROM sms3300_stat_account", 'stopped');
cmp_ok(run_sql($node, "SELECT count(*) FROM sms_outbox WHERE status = 'rejected' AND message = '#status 3'"),
	'<', 40, 'most messages stay queued');
my $probes = $gateway->count->{taken};
$gateway->wait_for_taken($probes + 1);
is(run_sql($node, 'SELECT state FROM sms3300_stat_account'), 'stopped', 'a probe with the same code opens nothing');
queue_until($node, 'sent', 'good', priority => 5);
pass('one that is accepted opens it');

# Which of the lines was refused, the account's or a backup that the messages gave, is not known.
run_sql($node, "DELETE FROM sms_outbox WHERE status = 'queued'");
queue($node, '#status 2', n => 100, line2 => '983000000000');
wait_for_log($node, qr/account "sms3300" stopped: 20 messages in a row were refused with one code: the gateway answered with status 2 /, $offset);
pass('many refusals of one of two lines stop it');

$node->stop;
done_testing();
