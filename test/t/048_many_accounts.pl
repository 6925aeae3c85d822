
# What the worker does for a message depends on the account that it is of, and not on how many
# accounts there are. It is told by how often the index of the queue is searched.

use strict;
use warnings;

use SMS3300;
use Test::More;

use constant ACCOUNTS => 300;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "autovacuum = off\nsms3300.worker_idle_timeout = 0\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');
queue_until($node, 'sent', 'first');

# Return how often a function has the index searched, by workers that have left since then:
# until then they may not have told.
sub searches
{
	my ($code) = @_;
	my $query = "SELECT pg_stat_get_numscans('sms_outbox_queue_idx'::regclass)";
	wait_for_workers($node, 0);
	my $before = run_sql($node, $query);
	$code->();
	wait_for_workers($node, 0);
	return run_sql($node, $query) - $before;
}

my $alone = searches(sub { queue_until($node, 'sent', 'alone') });
cmp_ok($alone, '>', 0, 'searches are counted');

run_sql($node, <<"END");
DO \$\$
BEGIN
	FOR i IN 1 .. ${\ ACCOUNTS } LOOP
		EXECUTE format('CREATE SERVER s%s FOREIGN DATA WRAPPER sms3300 OPTIONS (url %L, line %L)',
			i, '${\ $gateway->url }', '983000330000');
		EXECUTE format('CREATE USER MAPPING FOR PUBLIC SERVER s%s OPTIONS (username %L, password %L)',
			i, 'user', 'secret');
	END LOOP;
END \$\$
END
cmp_ok(searches(sub { queue_until($node, 'sent', 'beside idle ones') }), '<=', $alone + 10,
	'accounts without messages are not searched for, not even by a worker that starts');

# Each of them has a message for tomorrow. A worker that starts reads when.
run_sql($node, <<"END");
INSERT INTO sms_outbox (mobile, message, account, send_after)
SELECT '09123456789', 'tomorrow', 's' || i, now() + interval '1 day' FROM generate_series(1, ${\ ACCOUNTS }) AS i
END
my $start = searches(sub { queue_until($node, 'sent', 'with a start') });
my $ten   = searches(sub {
	set_setting($node, 'sms3300.worker_idle_timeout', '1h');
	queue_until($node, 'sent', "number $_") for 1 .. 10;
	set_setting($node, 'sms3300.worker_idle_timeout', '0');
});
cmp_ok($ten, '<=', $start + 10 * 2 * $alone, 'a message is looked for with its own account only');

# What all of them queue is found together, and each is sent.
run_sql($node, <<"END");
INSERT INTO sms_outbox (mobile, message, account)
SELECT '09123456789', 'together', 's' || (i % ${\ ACCOUNTS } + 1) FROM generate_series(1, 2 * ${\ ACCOUNTS }) AS i
END
wait_for_status($node, 'together', 'sent');
is($gateway->count->{taken}, 2 * ACCOUNTS + 14, 'each message is sent once');

# An account that sleeps wakes for its message, at its time.
my ($soon) = queue($node, 'soon', account => 's7', send_after => \"now() + interval '1.5 s'");
set_setting($node, 'sms3300.worker_idle_timeout', '1h');
mark($node, account => 's8');
wait_for_status($node, $soon, 'sent');
is(count_rows($node, "id = $soon AND started_at >= send_after"), 1, 'not before');

# A message that a trigger gives to another account is found with that.
run_sql($node, <<'END');
CREATE FUNCTION divert() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN NEW.account := ''s9''; RETURN NEW; END';
CREATE TRIGGER z_divert BEFORE INSERT ON sms_outbox FOR EACH ROW
	WHEN (NEW.message = 'diverted') EXECUTE FUNCTION divert();
END
queue_until($node, 'sent', 'diverted');
is(count_rows($node, "message = 'diverted' AND account = 's9'"), 1, 'a message of another account than its insert said');

$node->stop;
done_testing();
