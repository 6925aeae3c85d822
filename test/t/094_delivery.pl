
# Delivery tracking: messages that were sent are asked for, at their times, and the rows get
# what the gateway says of them.

use strict;
use warnings;

use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = '1s'\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');
run_sql($node, <<'END');
CREATE ROLE app LOGIN;
GRANT USAGE ON FOREIGN SERVER sms3300 TO app;
CREATE USER MAPPING FOR app SERVER sms3300 OPTIONS (username 'app', password 'other');
END

# Return the ids at the gateway of messages.
sub gateway_ids
{
	my (@ids) = @_;
	return map { $_->{message_id} } read_rows($node, 'id IN (' . join(', ', @ids) . ')');
}

# Wait until messages have a delivery state, with a code.
sub wait_for_delivery
{
	my ($ids, $expected) = @_;
	wait_for_sql($node, 'postgres', "SELECT string_agg(DISTINCT concat_ws(' ', delivery, delivery_code), ', ')"
		  . ' FROM sms_outbox WHERE id IN (' . join(', ', @$ids) . ')', $expected);
	return pass("@$ids: $expected");
}

# Off by default.
my $untracked = queue_until($node, 'sent', 'before');
is((read_rows($node, "id = $untracked"))[0]{delivery}, undef, 'nothing is tracked by default');

alter_account($node, delivery => 'on', delivery_checks => '500ms, 2s', delivery_interval => '0',
	delivery_batch => 4, notify => 'sms');
my $listener = $node->background_psql('postgres');
$listener->query('LISTEN sms');

# The final states, and what waits in vain: it is asked for twice.
$gateway->mode('#hold');
my @ids = (queue($node, 'hello', n => 4), queue($node, 'hello', n => 2, role => 'app'));
$gateway->wait_for_taken(1 + @ids);
$gateway->mode('');
$gateway->states(default => 8);
$gateway->release;
wait_for_status($node, \@ids, 'sent');
my @named = gateway_ids(@ids);
$gateway->states(held => { $named[0] => 1, $named[1] => 2, $named[2] => 16, $named[4] => 1 });
my $xmin = run_sql($node, "SELECT xmin FROM sms_outbox WHERE id = $ids[3]");
wait_for_delivery([ @ids[ 0, 4 ] ], 'delivered 1');
wait_for_delivery([ $ids[1] ], 'undelivered 2');
wait_for_delivery([ $ids[2] ], 'undelivered 16');
wait_for_delivery([ @ids[ 3, 5 ] ], 'unconfirmed 8');
is((read_rows($node, "id = $untracked"))[0]{delivery}, undef, 'what was sent before is not tracked');

my @asked = $gateway->asked;
my %times;
$times{$_}++ for map { @{ $_->{ids} } } @asked;
cmp_ok($times{ $named[3] }, '>=', 2, 'what waits is asked for again');
is((grep { @{ $_->{ids} } > 4 } @asked)[0], undef, 'no request is for more ids than delivery_batch');
my %of_app = map { $_ => 1 } @named[ 4, 5 ];
is((grep { my $request = $_; grep { ($request->{username} eq 'app') != !!$of_app{$_} } @{ $request->{ids} } } @asked)[0],
	undef, 'a message is asked for with the mapping that sent it, and no other');
like($listener->query('SELECT 1'), qr/\{"id": $ids[0], "delivery": "delivered"\}/, 'listeners are told');
is(run_sql($node, 'SELECT delivered, undelivered, unconfirmed FROM sms3300_stat_account'), '2|2|2', 'the statistics');
is(run_sql($node, "SELECT delivery FROM sms_report WHERE id = $ids[0]"), 'delivered', 'the report');
is(statuses($node, \@ids), 'sent 6', 'no status has changed');

# A look that learns nothing writes nothing.
alter_account($node, delivery_checks => '500ms, 1 day');
$gateway->states(default => 8);
my $quiet = queue_until($node, 'sent', 'hello');
my ($quiet_name) = gateway_ids($quiet);
my $before = run_sql($node, "SELECT ctid, xmin FROM sms_outbox WHERE id = $quiet");
wait_until(sub { grep { $_ == $quiet_name } map { @{ $_->{ids} } } $gateway->asked }, 'the first look');
mark($node);
is(run_sql($node, "SELECT ctid, xmin, delivery FROM sms_outbox WHERE id = $quiet"), "$before|waiting",
	'a look that learns nothing writes nothing');

# The worker leaves between the looks, and is back for the next one. What it has looked at it
# knows then.
wait_for_workers($node, 0);
my $asked = $gateway->count->{asked};
alter_account($node, delivery_checks => '3s');
my $later = queue_until($node, 'sent', 'hello');
my ($later_name) = gateway_ids($later);
$gateway->states(held => { $later_name => 1 });
wait_for_workers($node, 0);
wait_for_delivery([$later], 'delivered 1');

# A crash of the server loses no message.
my $crashed = queue_until($node, 'sent', 'hello');
my ($crashed_name) = gateway_ids($crashed);
$gateway->states(held => { $crashed_name => 1 });
$listener->quit;
$node->stop('immediate');
$node->start;
wait_for_delivery([$crashed], 'delivered 1');

# A reply that is not understood: it is said once, sending goes on, and later replies count.
alter_account($node, delivery_checks => '500ms');
$gateway->states(shape => 'html');
my $offset = -s $node->logfile;
my @odd    = queue_until($node, 'sent', 'hello', n => 3);
wait_for_log($node, qr/learns no delivery states: the reply is not understood/, $offset);
like(run_sql($node, 'SELECT state, reason FROM sms3300_stat_account'), qr/^ok\|.*delivery.*not understood/, 'the account says so');
mark($node);
wait_until(sub { $gateway->count->{asked} > 0 && @{ ($gateway->asked)[-1]{ids} } == 1 }, 'a request for a single id');
$gateway->states(shape => 'items', default => 1);
alter_account($node, delivery_checks => '600ms');
my $understood = queue_until($node, 'sent', 'hello');
wait_for_delivery([$understood], 'delivered 1');
is(run_sql($node, "SELECT count(*) FROM sms_outbox WHERE delivery = 'waiting' AND id <> $quiet"), 0, 'none is left waiting');
is(run_sql($node, 'SELECT reason FROM sms3300_stat_account'), '', 'the problem is over');

# Code 18 stops to ask, not to send; altering the account asks again.
$gateway->states(shape => 'status 18');
my $refused = queue_until($node, 'sent', 'hello');
my ($refused_name) = gateway_ids($refused);
wait_until(sub { grep { $_ == $refused_name } map { @{ $_->{ids} } } $gateway->asked }, 'the refused look');
mark($node);
$gateway->states(shape => 'items', default => 1);
alter_account($node, delivery_checks => '700ms');
wait_for_delivery([$refused], 'delivered 1');

# A reply that is read by the account's own expressions.
alter_account($node, delivery_items => '$.rows[*]', delivery_id => '$.n', delivery_state => '$.s');
$gateway->states(shape => 'rows');
my @own = queue_until($node, 'sent', 'hello', n => 2);
wait_for_delivery(\@own, 'delivered 1');
alter_account($node, delivery_items => 'strict $."rows"[0 to last] ? (@."n" > 0)', delivery_id => '$."n"');
@own = queue_until($node, 'sent', 'hello', n => 2);
wait_for_delivery(\@own, 'delivered 1');
for my $bounded ('$[*].*[0 to last]', '$[-1] ? (@."a, b" > -1.5)', '$."a+b/c%d*e-f&&g||$x" ? (!exists (@."[[[[[[[[[["))')
{
	is(run_as($node, 'postgres', "BEGIN; ALTER SERVER sms3300 OPTIONS (SET delivery_items '$bounded'); ROLLBACK"), '',
		"bounded: $bounded");
}

# What could take more than the time to read the reply is not an expression of an account's owner.
for my $endless ('$.**', '$[*] ? (@ == $)', '$.a[0, 0][0, 0]', '$ ? (exists (@ ? (@ > 0)))', '$ ? (@ like_regex "(a|b)*c")',
	'$.keyvalue().keyvalue()', '$' . '.a' x 600, '$[*] ? (@ == 9 / 3)', '$[*] ? (@ == 9 % 3)', '$[*] ? (@ == 1 + 1)',
	'$[*] ? (@ == 3 * 3)', '$.* * 2', '$[*] ? (@ - 1 == 2)', '$[last - 1]', '$ ? (-@ == 2)', '$ ? (+@ == 2)',
	'$[*] ? (1 == 1 && @ == 2)', '$[*] ? (1 == 2 || @ == 2)', '$[*]' . '[0]' x 8, '$x', '1e131071, ' x 5000)
{
	is(run_as($node, 'postgres', 'BEGIN; ALTER SERVER sms3300 OPTIONS (SET delivery_items ' . quote($endless) . '); ROLLBACK'), '22023',
		'not bounded: ' . substr($endless, 0, 40));
}

# Triggers of a user: what fails is recorded without it.
run_sql($node, <<'END');
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'told to'; END $$;
CREATE TRIGGER fail BEFORE UPDATE OF delivery_at ON sms_outbox FOR EACH ROW EXECUTE FUNCTION fail();
END
my $triggered = queue_until($node, 'sent', 'hello');
wait_for_delivery([$triggered], 'delivered 1');

# No look comes before a message that waits to be sent. A slow trigger makes that many
# transactions, whose size the worker has learnt with the first messages.
set_setting($node, 'sms3300.worker_idle_timeout', '1h');
run_sql($node, <<'END');
DROP TRIGGER fail ON sms_outbox;
CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END $$;
CREATE TRIGGER be_slow BEFORE UPDATE ON sms_outbox FOR EACH ROW WHEN (NEW.status = 'sending') EXECUTE FUNCTION be_slow();
END
alter_account($node, delivery_checks => '1 day', map { ("delivery_$_" => undef) } qw(items id state));
my @due = queue_until($node, 'sent', 'due for a look', n => 10);
set_setting($node, 'sms3300.enabled', 'off');
my $before_asked = $gateway->count->{asked};
alter_account($node, delivery_checks => '10ms, 1 day');
my @waiting = queue($node, 'waits to be sent', n => 25);
$gateway->states(shape => 'items', default => 1);
set_setting($node, 'sms3300.enabled', 'on');
wait_for_delivery([ $due[0] ], 'delivered 1');
wait_for_status($node, \@waiting, 'sent');
my $first = ($gateway->asked)[$before_asked]{at};
is(count_rows($node, "message = 'waits to be sent' AND extract(epoch FROM started_at) > $first"), 0,
	'no look comes before a message that waits to be sent');

done_testing();
