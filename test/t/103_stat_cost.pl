
# What is queued, and since when, is told by the queue's index: it costs as much as there
# are messages that wait, however many are finished. And a look at one message does not
# read the queue.

use strict;
use warnings;

use SMS3300;
use Test::More;

# Pages that may be read where the whole history has hundreds of times as many.
use constant FEW => 200;

my $finished = 200_000;
my $waiting  = 1000;
my $node     = new_node('main', conf => "sms3300.enabled = off\n");
create_account($node, 'postgres', url => 'http://127.0.0.1:9/', line => '983000330000');
run_sql($node, <<"END");
SET session_replication_role = replica;
INSERT INTO sms_outbox (mobile, message, account, send_before, sender, status, due_at, finished_at, origin)
SELECT '989123456789', 'finished', 'sms3300', 'infinity', 'postgres', 'sent', NULL, now(), 1
FROM generate_series(1, $finished);
RESET session_replication_role;
INSERT INTO sms_outbox (mobile, message, send_after)
SELECT '09123456789', 'waits', timestamptz '2100-01-01' + i * interval '1 s'
FROM generate_series(1, $waiting) AS i;
INSERT INTO sms_outbox (mobile, message, line, account, send_before, sender, due_at, origin)
SELECT '989123456789', 'foreign', '983000330000', 'sms3300', 'infinity', 'postgres', now(), o
FROM unnest(ARRAY[-9223372036854775808, 9223372036854775807]) AS o;
END

# Return how many pages a query needs in a session that knows the catalogs, after its
# result was checked; as a role.
sub pages
{
	my ($query, $expected, $role) = @_;
	is(run_sql($node, "SET ROLE $role; $query"), $expected, $query);
	my $plan = run_sql($node,
		"SET ROLE $role; $query; EXPLAIN (ANALYZE, BUFFERS, COSTS off, TIMING off, SUMMARY off) $query");
	unlike($plan, qr/Seq Scan on sms_outbox/, 'no sequential scan');
	my $pages = 0;
	if ($plan =~ /^\s*Buffers: shared (.*)/m)
	{
		$pages += $_ for $1 =~ /(?:hit|read)=(\d+)/g;
	}
	note("$pages pages:\n$plan");
	return $pages;
}

my $account = 'FROM sms3300_stat_account';
run_sql($node, 'CREATE ROLE watcher; GRANT pg_monitor TO watcher');
for my $step ('before any statistics', 'with statistics')
{
	for my $role (qw(postgres watcher))
	{
		cmp_ok(
			pages("SELECT queued, oldest_due_at = timestamptz '2100-01-01' + interval '1 s',"
				  . " foreign_rows $account", "$waiting|t|2", $role),
			'<', FEW, "$step: the view, for $role");
	}
	run_sql($node, 'VACUUM ANALYZE sms_outbox');
}
cmp_ok(run_sql($node, "SELECT relpages FROM pg_class WHERE relname = 'sms_outbox'"),
	'>', 10 * FEW, 'the table is much larger');

# The last of those that wait is behind all the others.
my $id = run_sql($node, 'SELECT max(id) FROM sms_outbox WHERE due_at > now()');
cmp_ok(pages("SELECT sms3300_explain($id) ~ 'enabled is off'", 't', 'postgres'),
	'<', FEW, 'the explanation of a message');

$node->stop;
done_testing();
