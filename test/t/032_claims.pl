
# What sending costs in the table, by counts of what was touched: candidates are read by
# the queue's index alone, whatever the planner knows of the table, and a claim touches
# no index.

use strict;
use warnings;

use SMS3300;
use Test::More;

my $n       = 2000;
my $gateway = new_gateway();
my $node    = new_node('main', conf => "autovacuum = off\nsms3300.worker_idle_timeout = 1s\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');

# Queue many at once, and wait until they are sent.
sub send_many
{
	run_sql($node,
		"INSERT INTO sms_outbox (mobile, message) SELECT '09123456789', 'many' FROM generate_series(1, $n)");
	wait_for_end($node);
	return;
}

# The planner learns that nothing is queued, as it mostly is.
send_many();
run_sql($node, 'VACUUM ANALYZE sms_outbox');
send_many();
is(run_sql($node, "SELECT count(*) FROM sms_outbox WHERE status = 'sent'"), 2 * $n, 'all were sent');

# The worker tells what it has counted when it leaves, if not sooner.
wait_for_sql($node, 'postgres',
	'SELECT n_tup_upd >= ' . 4 * $n . " FROM pg_stat_user_tables WHERE relname = 'sms_outbox'");
cmp_ok(run_sql($node, "SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'sms_outbox'"),
	'>=', 1.8 * $n, 'a claim is a HOT update');
cmp_ok(
	run_sql($node, "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'sms_outbox_expiry_idx'"),
	'<', 3 * $n, 'candidates are not looked for among what expires');

$node->stop;
done_testing();
