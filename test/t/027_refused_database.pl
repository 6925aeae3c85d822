
# A database that does not accept connections for a while is not forgotten. Its messages
# are sent when it accepts them again, also if the server was restarted meanwhile.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 0\nlog_min_messages = debug1\n");
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
$node->restart;
run_sql($node, 'ALTER DATABASE shop ALLOW_CONNECTIONS true');
wait_for_status($node, $id, 'sent', 'shop');
is_taken($gateway, 'over a restart', 1, 'what waited while the server started is sent');

# A database that is gone is forgotten.
$offset = -s $node->logfile;
queue($node, 'dropped', database => 'shop', send_after => \"now() + interval '1 s'");
wait_for_workers($node, 0, 'shop');
run_sql($node, 'DROP DATABASE shop');
$node->stop;
unlike(slurp_file($node->logfile, $offset), qr/FATAL: .*database .* does not exist/,
	'no worker is started for a database that was dropped');

done_testing();
