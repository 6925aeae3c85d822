
# Queued messages are counted in the queue's index, whatever the planner believes (here,
# that an index scan is expensive). The cost depends on the number of waiting messages and
# not on the number of finished ones, and is small for messages scheduled for later.
# Explaining one message does not read the queue.

use strict;
use warnings;

use SMS3300;
use Test::More;

# Pages that may be read where the whole history has hundreds of times as many.
use constant FEW => 100;

my $finished  = 200_000;
my $due       = 1000;
my $scheduled = 50_000;
my $node      = new_node('main', conf => <<'END');
sms3300.enabled = off
autovacuum = off
random_page_cost = 1000
END
create_account($node, 'postgres', url => 'http://127.0.0.1:9/', line => '983000330000');
run_sql($node, 'CREATE ROLE watcher; GRANT pg_monitor TO watcher');

# Finished messages, as close as they are once their results are written.
sub insert_finished
{
	run_sql($node, <<"END");
ALTER TABLE sms_outbox SET (fillfactor = 90);
SET session_replication_role = replica;
INSERT INTO sms_outbox (mobile, message, account, send_before, sender, status, due_at, finished_at, origin)
SELECT '989123456789', 'finished', 'sms3300', 'infinity', 'postgres', 'sent', NULL, now(), origin
FROM generate_series(1, $finished), _sms3300_stat_get_account('sms3300');
ALTER TABLE sms_outbox SET (fillfactor = 50);
END
	return;
}

# Messages that wait, and some of another database.
sub insert_waiting
{
	run_sql($node, <<"END");
SET session_replication_role = replica;
INSERT INTO sms_outbox (mobile, message, account, priority, send_before, sender, due_at, origin)
SELECT '989123456789', 'waits', 'sms3300', i % 2, 'infinity', 'postgres', timestamptz '2025-01-01' + i * interval '1 s', a.origin
FROM generate_series(1, $due) AS i, _sms3300_stat_get_account('sms3300') AS a;
INSERT INTO sms_outbox (mobile, message, account, send_before, sender, due_at, origin)
SELECT '989123456789', 'later', 'sms3300', 'infinity', 'postgres', timestamptz '2100-01-01' + i * interval '1 s', a.origin
FROM generate_series(1, $scheduled) AS i, _sms3300_stat_get_account('sms3300') AS a;
INSERT INTO sms_outbox (mobile, message, account, send_before, sender, due_at, origin)
SELECT '989123456789', 'foreign', 'sms3300', 'infinity', 'postgres', now(), o
FROM unnest(ARRAY[-9223372036854775808, 9223372036854775807]) AS o;
END
	return;
}

# Return how many pages a query needs in a session that knows the catalogs, after its
# result was checked; as a role.
sub pages
{
	my ($query, $expected, $role) = @_;
	is(run_sql($node, "SET ROLE $role; $query"), $expected, $query);
	my $plan = run_sql($node,
		"SET ROLE $role; $query; EXPLAIN (ANALYZE, BUFFERS, COSTS off, TIMING off, SUMMARY off) $query");
	my $pages = 0;
	if ($plan =~ /^\s*Buffers: shared (.*)/m)
	{
		$pages += $_ for $1 =~ /(?:hit|read)=(\d+)/g;
	}
	note("$pages pages:\n$plan");
	return $pages;
}

# Return the pages of a table or index.
sub size_of
{
	my ($name) = @_;
	return run_sql($node, "SELECT pg_relation_size('$name') / current_setting('block_size')::int");
}

# Check what the view costs.
sub view_is_cheap
{
	my ($step) = @_;
	my $view = 'FROM sms3300_stat_account';
	for my $role (qw(postgres watcher))
	{
		cmp_ok(
			pages("SELECT state, oldest_due_at = timestamptz '2025-01-01' + interval '1 s', foreign_rows $view",
				'paused|t|2', $role), '<', FEW, "$step: the age of the queue, for $role");
		cmp_ok(pages("SELECT queued $view", $due + $scheduled, $role),
			'<', size_of('sms_outbox_queue_idx') + $due, "$step: its length, for $role");
		cmp_ok(pages("SELECT string_agg(problem, ' ' ORDER BY problem) FROM sms3300_problems", 'disabled foreign_rows', $role),
			'<', 6 * $due, "$step: the problems, for $role");
	}
	return;
}

# Planner statistics: none, of an empty queue, and of a full one.
insert_finished();
run_sql($node, 'ANALYZE sms_outbox');
insert_waiting();
run_sql($node, 'VACUUM sms_outbox');
view_is_cheap('with the statistics of an empty queue');
run_sql($node, 'VACUUM ANALYZE sms_outbox');
view_is_cheap('with statistics');
run_sql($node, 'DELETE FROM pg_statistic');
view_is_cheap('without statistics');
cmp_ok(size_of('sms_outbox'), '>', 5 * size_of('sms_outbox_queue_idx'), 'the table is much larger');

# A message scheduled for later is behind all the others.
my $id = run_sql($node, 'SELECT max(id) FROM sms_outbox WHERE due_at > now()');
cmp_ok(pages("SELECT sms3300_explain($id) ~ 'enabled is off'", 't', 'postgres'),
	'<', FEW, 'the explanation of a message');

$node->stop;
done_testing();
