
# A database that assigns no more transaction IDs, as its oldest ones are about to wrap around.
# Nothing can be claimed then, and the reason is called by its name. Once old rows are frozen,
# sending goes on.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "autovacuum_naptime = 1d\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');
run_sql($node, 'CREATE ROLE monitor LOGIN IN ROLE pg_monitor, pg_read_all_data; CREATE ROLE app LOGIN;'
	  . ' GRANT USAGE ON FOREIGN SERVER sms3300 TO app');
queue_until($node, 'sent', 'to begin with');

set_setting($node, 'sms3300.enabled', 'off');
my $id = queue($node, 'waits', role => 'app');

# Let the next transaction ID be behind the last one that is assigned, in a new segment of what
# is known of transactions. Nothing may hold back old ones: the server would write 8 GB at its
# start.
my $next    = 2_144_500_000;
my $segment = sprintf '%s/pg_xact/%04X', $node->data_dir, $next / (32 * 4 * 8192);
$node->stop;
append_to_file($segment, "\0" x (32 * 8192));
system_or_bail('pg_resetwal', '-x', $next, $node->data_dir);
$node->start;
my $refused = qr/database is not accepting commands (?:to avoid wraparound data loss|that assign new (?:XIDs|transaction IDs))/;
my (undef, undef, $error) = $node->psql('postgres', 'CREATE TABLE t ()');
like($error, $refused, 'no transaction ID is assigned');

set_setting($node, 'sms3300.enabled', undef);
my $explain = "SELECT sms3300_explain($id)";
my $waits   = qr/^queued: it is next in the queue; the worker tries again after an error at \S+ \S+/;
wait_until(sub { run_as($node, 'monitor', $explain) =~ /$waits: $refused/ }, 'the claim to fail');
like(run_as($node, 'monitor', $explain), qr/$waits: $refused/, 'explained to a member of pg_monitor');
like(run_as($node, 'app', $explain), qr/$waits, which members of pg_monitor see in sms3300_stat_worker$/,
	'explained to its sender, without what the error says');
like(run_as($node, 'monitor', 'SELECT last_error FROM sms3300_stat_worker'), $refused, 'shown as the last error');
is(run_as($node, 'monitor', 'SELECT count(*) FROM sms3300_problems'), '0', 'sms3300_problems can be asked');

# Autovacuum freezes old rows once it comes.
set_setting($node, 'autovacuum_naptime', '1s');
wait_for_status($node, $id, 'sent');
is_taken($gateway, 'waits', 1, 'it is sent once');

$node->stop;
done_testing();
