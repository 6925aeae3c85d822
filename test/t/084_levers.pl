
# What a role can do with the rights that everybody has, or with USAGE on an account, does
# not wake, rewind or open anything that is not its own, however often it does it.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my $gateway = new_gateway();
my $node    = new_node('main', conf => "log_statement = none\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');
run_sql($node, <<'END');
CREATE ROLE alice LOGIN;
CREATE ROLE mallory LOGIN;
GRANT USAGE ON FOREIGN SERVER sms3300 TO alice, mallory;
END

# The validator, which wakes the worker, is PostgreSQL's to call.
is(run_as($node, 'mallory', "SELECT _sms3300_fdw_validator('{}', 'pg_foreign_server'::regclass)"), 42501,
	'others do not call the validator');
my $mapping = 'USER MAPPING FOR mallory SERVER sms3300';
my $create  = "CREATE $mapping OPTIONS (username 'm', password 'p')";
is(run_as($node, 'mallory', "$create; ALTER $mapping OPTIONS (SET password 'q'); DROP $mapping"), '',
	'a role that may use a server makes its own mapping');
for my $option (qw(username password))
{
	is(run_as($node, 'mallory', $create =~ s/$option '.'/"$option '" . 'x' x 1025 . "'"/er), '22023',
		"not one that makes the worker large: $option");
}
is(run_as($node, 'postgres', q{ALTER SERVER sms3300 OPTIONS (ADD deliver_only '} . join(',', ('09123456789') x 5500) . q{')}),
	'22023', 'nor does the owner of an account');

# A mapping that is made and dropped again and again does not open a stopped account as often.
my $text = '#http 503 retry-after=3600';
my $held = queue($node, $text, role => 'alice');
wait_for_log($node, qr/account "sms3300" stopped/);
my $offset = -s $node->logfile;
my $tries  = $gateway->taken($text);
my $began  = clock_gettime(CLOCK_MONOTONIC);
is(run_as($node, 'mallory', $create . ";\nDROP $mapping; $create" x 300), '', 'a mapping comes and goes');
my $most  = 2 + (clock_gettime(CLOCK_MONOTONIC) - $began) / 10;
my $again = $gateway->taken($text) - $tries;
cmp_ok($again, '<=', $most, "a stopped account is opened at a pace: $again times");
my $lines = () = slurp_file($node->logfile, $offset) =~ /account "sms3300" (?:stopped|is sending again)/g;
cmp_ok($lines, '<=', 2 * $most, 'the log is not filled');

# The last change counts all the same.
my $now = $gateway->taken($text);
run_as($node, 'mallory', "ALTER $mapping OPTIONS (SET password 'last')");
wait_until(sub { $gateway->taken($text) > $now }, 'the account to be opened by the last change');

# To cancel and resend one's own message has no other account looked at.
$gateway->mode('#ok');
alter_account($node, timeout => '20s');
wait_for_end($node);
run_sql($node, <<'END');
DO $$
BEGIN
	FOR i IN 1 .. 100 LOOP
		EXECUTE format('CREATE SERVER other%s FOREIGN DATA WRAPPER sms3300 OPTIONS (line $n$983000330000$n$)', i);
		EXECUTE format('CREATE USER MAPPING FOR PUBLIC SERVER other%s OPTIONS (username $n$u$n$, password $n$p$n$)', i);
		PERFORM sms3300_send('09123456789', 'later', account => ('other' || i)::name, send_after => now() + interval '1 day');
	END LOOP;
END $$
END

# Return how often the queue's index is searched from a worker's start to its end, with what
# is done meanwhile.
sub searches
{
	my ($work) = @_;
	my @counted;
	for my $does (sub { }, $work)
	{
		mark($node);
		$does->();
		mark($node);
		my $pid = worker_pid($node, 'postgres');
		run_sql($node, "SELECT pg_terminate_backend($pid)");
		wait_for_sql($node, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
		push @counted, run_sql($node, q{SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'sms_outbox_queue_idx'});
	}
	return $counted[1] - $counted[0];
}

my $none = searches(sub { });
my $own  = queue($node, 'my own', role => 'mallory', send_after => \"now() + interval '1 day'");
my $many = searches(sub { run_as($node, 'mallory', "SELECT sms3300_cancel($own), sms3300_resend($own);" x 300) });
cmp_ok($many, '<', 5 * $none, "not for each command: $many searches instead of $none");

$node->stop;
done_testing();
