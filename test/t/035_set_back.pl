
# The clock is set back while nobody looks: between two workers, in the middle of what
# follows, in small steps, and while the server is down. Nothing waits for the step to pass
# that another clock has put off.

use strict;
use warnings;

use SMS3300;
use SMS3300::Clock;
use Test::More;

my $gateway = new_gateway();
my $node    = new_shifted_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');
create_account($node, 'postgres', account => 'other', url => $gateway->url, line => '983000330000');
my $hour = 3600;

# Queue messages, which nothing sends before the account is opened, by a clock that is an
# hour ahead.
sub queue_ahead
{
	my ($message, %option) = @_;
	alter_account($node, paused => 'true');
	set_clock($hour);
	return queue($node, $message, %option);
}

# End the worker; it is gone when this returns.
sub end_worker
{
	my $pid = worker_pid($node, 'postgres');
	run_sql($node, "SELECT pg_terminate_backend($pid)");
	wait_for_sql($node, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
	return;
}

# Test that messages are sent as soon as the account is opened.
sub is_sent
{
	my ($name, @ids) = @_;
	alter_account($node, paused => undef);
	wait_for_status($node, \@ids, 'sent');
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(statuses($node, \@ids), 'sent ' . @ids, $name);
}

# No worker is there, but one is to come.
my @ids = queue_ahead('between workers');
mark($node, account => 'other');
end_worker();
set_clock(0);
is_sent('set back between two workers', @ids);

# The worker has noticed it, and ends before it could write what follows.
@ids = queue_ahead('in the middle');
mark($node, account => 'other');
my $session = $node->background_psql('postgres', on_error_stop => 1);
$session->query_safe('BEGIN; LOCK TABLE sms_outbox');
set_clock(0);
wait_for_sql($node, 'postgres', "SELECT state FROM sms3300_stat_worker WHERE datname = 'postgres'", 'blocked');
end_worker();
unlock($session);
is_sent('the worker ends in the middle', @ids);

# So many that they are made due in several transactions.
queue_ahead(\"'many ' || n", n => 10_500);
mark($node, account => 'other');
set_clock(0);
wait_for_sql($node, 'postgres', "SELECT count(*) FROM sms_outbox WHERE message LIKE 'many %' AND due_at > now()", 0);
pass('all of many are due');
run_sql($node, "DELETE FROM sms_outbox WHERE message LIKE 'many %'");

# A hundred corrections that are too small each.
alter_account($node, paused => 'true');
set_clock(90);
@ids = queue($node, 'in small steps');
for my $n (1 .. 100)
{
	set_clock(90 - 0.9 * $n);
	mark($node, account => 'other');
}
is_sent('set back in small steps', @ids);
is(run_sql($node, "SELECT started_at < created_at FROM sms_outbox WHERE id = $ids[0]"), 't', 'it has not waited for the clock');

# A worker that is to end does not wait longer for its requests.
alter_account($node, timeout => '1h');
my $hung = queue_until_taken($node, $gateway, '#hang');
my $pid  = worker_pid($node, 'postgres');
run_sql($node, "SELECT pg_terminate_backend($pid)");
set_clock(-$hour);
wait_for_status($node, $hung, 'unknown');
pass('set back while the worker ends: it ends');
alter_account($node, timeout => undef);
set_clock(0);

# What is counted belongs to this hour, not to one that is to come.
set_clock(48 * $hour);
queue_until($node, 'sent', 'the day after tomorrow');
set_clock(0);
queue_until($node, 'sent', 'today');
is(run_sql($node, 'SELECT count(*) FROM sms3300_stat_history WHERE hour > now()'), 0, 'no hour is in the future');

# The server is down, after it was stopped or has crashed.
for my $how ('fast', 'immediate')
{
	@ids = queue_ahead($how);
	run_sql($node, 'CHECKPOINT');
	$node->stop($how);
	set_clock(0);
	restart_shifted($node);
	is_sent("set back after a $how stop", @ids);
}
queue_until($node, 'sent', 'after the restart');
is(run_sql($node, 'SELECT count(*) FROM sms3300_stat_history WHERE hour > now()'), 0, 'still no hour is in the future');

$node->stop;
done_testing();
