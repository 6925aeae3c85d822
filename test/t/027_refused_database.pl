
# A database that does not accept connections for a while is not forgotten. Its messages
# are sent when it accepts them again, also if the server was restarted meanwhile.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use SMS3300::Clock;
use Test::More;

my $gateway = new_gateway();
my $node    = new_shifted_node('main', conf => "sms3300.worker_idle_timeout = 0\nlog_min_messages = debug1\n");
run_sql($node, 'CREATE DATABASE shop');
create_account($node, 'shop', url => $gateway->url, line => '983000330000');
my $refusal = qr/database "shop" does not accept connections; its messages wait/;

# Queue a message that is due in a moment, and refuse connections until after that. On a
# machine so slow that it is sent before, another one with a longer time is tried. Returns
# its id, its text, and where in the log this began.
sub refuse_over_due_time
{
	for (my $seconds = 4; ; $seconds *= 2)
	{
		my $offset  = -s $node->logfile;
		my $message = "due in $seconds s";
		my $id = queue($node, $message, database => 'shop',
			send_after => \"clock_timestamp() + interval '$seconds s'");
		wait_for_workers($node, 0, 'shop');
		run_sql($node, 'ALTER DATABASE shop ALLOW_CONNECTIONS false');
		wait_until(sub { slurp_file($node->logfile, $offset) =~ /LOG: .*$refusal/ || $gateway->taken($message) },
			'the message to be due');
		return ($id, $message, $offset) if !$gateway->taken($message);
		run_sql($node, 'ALTER DATABASE shop ALLOW_CONNECTIONS true');
	}
}

# It is tried again, which is logged once, and sent though nothing says that it accepts
# connections again: the catalog is written directly.
my ($id, $message, $offset) = refuse_over_due_time();
wait_for_log($node, qr/DEBUG: .*$refusal/, $offset);
run_sql($node, "UPDATE pg_database SET datallowconn = true WHERE datname = 'shop'");
wait_until(sub { $gateway->taken($message) }, 'the message to be sent');
is(scalar(() = slurp_file($node->logfile, $offset) =~ /LOG: .*$refusal/g), 1, 'a refusal is logged once');
wait_for_status($node, $id, 'sent', 'shop');
is_taken($gateway, $message, 1, 'what was due while connections were refused is sent');

# ALTER DATABASE tells of a database that refused when the server started.
set_setting($node, 'sms3300.enabled', 'off');
$id = queue($node, 'over a restart', database => 'shop');
wait_for_workers($node, 0, 'shop');
run_sql($node, 'ALTER DATABASE shop ALLOW_CONNECTIONS false');
run_sql($node, 'ALTER SYSTEM RESET sms3300.enabled');
restart_shifted($node);
run_sql($node, 'ALTER DATABASE shop ALLOW_CONNECTIONS true');
wait_for_status($node, $id, 'sent', 'shop');
is_taken($gateway, 'over a restart', 1, 'what waited while the server started is sent');

# What expires meanwhile says why. Elsewhere it is seen that the database refuses.
my $at = \"clock_timestamp() + interval '1 hour'";
my $expiring = queue($node, 'expires', database => 'shop', send_after => $at,
	send_before => \"clock_timestamp() + interval '2 hours'");
my $later = queue($node, 'expires afterwards', database => 'shop', send_after => \"now() + interval '1 day'");
wait_for_workers($node, 0, 'shop');
run_sql($node, 'ALTER DATABASE shop ALLOW_CONNECTIONS false');
set_clock(3 * 3600);
run_sql($node, 'CREATE EXTENSION sms3300');
wait_for_sql($node, 'postgres', q{SELECT state, last_error FROM sms3300_stat_worker WHERE datname = 'shop'},
	'restarting|the database does not accept connections');
set_clock(4 * 3600);
run_sql($node, 'ALTER DATABASE shop ALLOW_CONNECTIONS true');
wait_for_status($node, $expiring, 'expired', 'shop');
my $time = '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\S*';
like(run_sql($node, "SELECT sms3300_explain($expiring)", 'shop'),
	qr/^expired at $time: it was not sent before $time: the database did not accept connections from $time to $time; sms3300_resend/,
	'expired while the database refused: explained');
run_sql($node, "UPDATE sms_outbox SET send_after = now() - interval '1 hour', send_before = now() WHERE id = $later", 'shop');
wait_for_status($node, $later, 'expired', 'shop');
like(run_sql($node, "SELECT error FROM sms_outbox WHERE id = $later", 'shop'), qr/^it was not sent before $time$/,
	'expired afterwards: nothing of the kind is said');

# One that no worker can connect to, as its locale is missing: PostgreSQL tells why, not with
# each try.
$offset = -s $node->logfile;
$id = queue($node, 'without a locale', database => 'shop', send_after => \"now() + interval '2 s'");
wait_for_workers($node, 0, 'shop');
my $locale = run_sql($node, "SELECT datctype FROM pg_database WHERE datname = 'shop'");
run_sql($node, "UPDATE pg_database SET datctype = 'nowhere' WHERE datname = 'shop'");
my $tries = 0;
wait_until(
	sub {
		my ($since) = slurp_file($node->logfile, $offset) =~ /(FATAL:  database locale .*)/s or return 0;
		$tries = () = $since =~ /background worker "sms3300 worker".*exited with exit code/g;
		return $tries >= 4;
	},
	'several tries');
my $said = () = slurp_file($node->logfile, $offset) =~ /FATAL:  database locale|LOG:  background worker "sms3300 worker"/g;
cmp_ok($said, '<', $tries, 'a missing locale is not logged with each try');
run_sql($node, "UPDATE pg_database SET datctype = '$locale' WHERE datname = 'shop'");
wait_for_status($node, $id, 'sent', 'shop');

# A database that is gone is forgotten.
$offset = -s $node->logfile;
queue($node, 'dropped', database => 'shop', send_after => \"now() + interval '1 s'");
wait_for_workers($node, 0, 'shop');
run_sql($node, 'DROP DATABASE shop');
$node->stop;
unlike(slurp_file($node->logfile, $offset), qr/FATAL: .*database .* does not exist/,
	'no worker is started for a database that was dropped');

done_testing();
