
# User triggers on the table. Their effects are part of the worker's transaction. A
# trigger that fails, in any way, affects no other row and causes no second send.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');

# Create a trigger "user_trigger" for the rows that come to a status and whose message
# ends with "bad": when, and what it does. $deferred makes it a constraint trigger.
sub create_trigger
{
	my ($when, $status, $does, $deferred) = @_;
	my ($constraint, $timing) = $deferred ? ('CONSTRAINT', 'DEFERRABLE INITIALLY DEFERRED') : ('', '');
	run_sql($node, <<"END");
CREATE FUNCTION user_function() RETURNS trigger LANGUAGE plpgsql AS \$\$
BEGIN
	$does;
	RETURN NEW;
END \$\$;
CREATE $constraint TRIGGER user_trigger $when UPDATE ON sms_outbox $timing
	FOR EACH ROW WHEN (NEW.status = '$status' AND NEW.message LIKE '%bad')
	EXECUTE FUNCTION user_function();
END
	return;
}

# Remove it again.
sub drop_trigger
{
	return run_sql($node, 'DROP FUNCTION user_function() CASCADE');
}

# Return the log from some place on.
sub log_since
{
	my ($offset) = @_;
	return slurp_file($node->logfile, $offset);
}

# Queue a bad message between good ones, and check that each is sent once and has its
# result, and that the log tells of the bad one, and of no other, that this was done
# with triggers disabled: "recorded" or "claimed".
sub is_sent_all_the_same
{
	my ($what, $done) = @_;
	my $offset = -s $node->logfile;
	my $taken  = $gateway->count->{taken};
	my @ids    = queue($node, [ 'good', 'bad', 'good' ]);
	wait_for_end($node);
	is(run_sql($node, "SELECT string_agg(status::text, ' ') FROM sms_outbox WHERE id IN ("
			  . join(', ', @ids) . ')'), 'sent sent sent', "$what: all are sent");
	is($gateway->count->{taken} - $taken, 3, "$what: each is sent once");
	my @told = log_since($offset) =~ /message (\d+) was (\w+) with triggers disabled/g;
	is("@told", "$ids[1] $done", "$what: the log says which one");
	return;
}

# The ways to fail, when a result is recorded.
my $raise   = "RAISE EXCEPTION 'not today'";
my $recurse = 'UPDATE public.sms_outbox SET metadata = NULL WHERE id = NEW.id';
my $again   = q{UPDATE public.sms_outbox SET status = '%s', due_at = now(), finished_at = NULL WHERE id = NEW.id};
for my $case (
	[ 'BEFORE, fails',    'BEFORE', $raise ],
	[ 'AFTER, fails',     'AFTER',  $raise ],
	[ 'deferred, fails',  'AFTER',  $raise, 1 ],
	[ 'returns NULL',     'BEFORE', 'RETURN NULL' ],
	[ 'returns OLD',      'BEFORE', 'RETURN OLD' ],
	[ 'BEFORE, recurses', 'BEFORE', $recurse ],
	[ 'AFTER, recurses',  'AFTER',  $recurse ],
	[ 'BEFORE, queues again',   'BEFORE', q{NEW.status = 'queued'; NEW.due_at = now(); NEW.finished_at = NULL} ],
	[ 'AFTER, queues again',    'AFTER',  sprintf $again, 'queued' ],
	[ 'deferred, queues again', 'AFTER',  sprintf($again, 'queued'), 1 ],
	[ 'AFTER, sends again',     'AFTER',  sprintf $again, 'sending' ])
{
	my ($what, $when, $does, $deferred) = @$case;
	create_trigger($when, 'sent', $does, $deferred);
	is_sent_all_the_same($what, 'recorded');
	drop_trigger();
}

# A trigger that would take an hour is cancelled, even if it is deferred.
create_trigger('AFTER', 'sent', 'PERFORM pg_sleep(3600)', 1);
is_sent_all_the_same('takes an hour', 'recorded');
drop_trigger();

# When a message is claimed, nothing has been sent yet.
create_trigger('BEFORE', 'sending', $raise);
is_sent_all_the_same('the claim fails', 'claimed');
drop_trigger();

# A claim that is suppressed, or undone, leaves the message where it is, for as long as
# that lasts.
my ($taken, $bad);
my $undo = "UPDATE public.sms_outbox SET status = 'queued', attempts = OLD.attempts WHERE id = NEW.id";
for my $case ([ 'BEFORE', 'RETURN NULL' ], [ 'BEFORE', 'RETURN OLD' ], [ 'AFTER', $undo ],
	[ 'AFTER', $undo, 1 ])
{
	my ($when, $does, $deferred) = @$case;
	create_trigger($when, 'sending', $does, $deferred);
	$taken = $gateway->count->{taken};
	($bad) = queue($node, [ 'bad', 'good' ]);
	wait_for_sql($node, 'postgres', "SELECT count(*) FROM sms_outbox WHERE status = 'queued'", 1);
	is(run_sql($node, "SELECT status, attempts FROM sms_outbox WHERE id = $bad"), 'queued|0',
		"the claim does $does: queued");
	queue($node, 'good');
	wait_for_sql($node, 'postgres', "SELECT count(*) FROM sms_outbox WHERE status = 'queued'", 1);
	is($gateway->count->{taken} - $taken, 2, "the claim does $does: not sent");
	drop_trigger();
	wait_for_end($node);
	is($gateway->count->{taken} - $taken, 3, "the claim does $does: sent when it no longer does");
}

# A claim that is changed: its result finds the row all the same.
for my $started ('NULL', q{started_at - interval '1 h'}, q{'-infinity'})
{
	create_trigger('AFTER', 'sending', <<"END");
IF NEW.started_at > now() - interval '1 min' THEN
		UPDATE public.sms_outbox SET started_at = $started WHERE id = NEW.id;
	END IF
END
	$taken = $gateway->count->{taken};
	queue($node, [ 'good', 'bad' ]);
	wait_for_end($node);
	is(run_sql($node, "SELECT string_agg(DISTINCT status::text, ' ') FROM sms_outbox"), 'sent',
		"the claim is changed to $started: sent");
	is($gateway->count->{taken} - $taken, 2, "the claim is changed to $started: once");
	drop_trigger();
}

# One whose claim has everything queued again that is being sent, with it and before it:
# what is on the wire is sent once, the rest when the trigger has gone.
create_trigger('AFTER', 'sending', "UPDATE public.sms_outbox SET status = 'queued' WHERE status = 'sending'");
$taken = $gateway->count->{taken};
queue($node, '#hold');
$gateway->wait_for_taken($taken + 1);
queue($node, [ 'good', 'bad' ]);
wait_for_status($node, '#hold', 'queued');
$gateway->release;
wait_for_sql($node, 'postgres',
	"SELECT status = 'sent' AND attempts = 1 FROM sms_outbox WHERE message = '#hold'");
drop_trigger();
wait_for_end($node);
is($gateway->count->{taken} - $taken, 3, 'everything is queued again: each is sent once');

# A message expires all the same.
create_trigger('AFTER', 'expired', $raise);
($bad) = split /\n/, run_sql($node, <<'END');
BEGIN;
INSERT INTO sms_outbox (mobile, message, send_before)
VALUES ('09123456789', 'bad', clock_timestamp() + interval '300 ms') RETURNING id;
SELECT FROM pg_sleep(0.31);
COMMIT;
END
wait_for_status($node, $bad, 'expired');
drop_trigger();

# A trigger that the user wants to run always: its row has to wait, others have not. One
# that cannot expire is not sent either.
my $always = 'ALTER TABLE sms_outbox ENABLE ALWAYS TRIGGER user_trigger';
create_trigger('AFTER', 'expired', $raise);
run_sql($node, $always);
$taken = $gateway->count->{taken};
run_sql($node, <<'END');
BEGIN;
INSERT INTO sms_outbox (mobile, message, send_before)
VALUES ('09123456789', 'bad', clock_timestamp() + interval '300 ms');
SELECT FROM pg_sleep(0.31);
COMMIT;
END
queue($node, 'good');
wait_for_sql($node, 'postgres', "SELECT count(*) FROM sms_outbox WHERE status IN ('queued', 'sending')", 1);
is($gateway->count->{taken} - $taken, 1, 'ENABLE ALWAYS: what cannot expire is not sent');
drop_trigger();
run_sql($node, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'sms3300 worker'");
wait_for_end($node);

create_trigger('AFTER', 'sent', $raise);
run_sql($node, $always);
$taken = $gateway->count->{taken};
($bad) = queue($node, [ 'good', 'bad', 'good' ]);
wait_for_sql($node, 'postgres', "SELECT count(*) FROM sms_outbox WHERE status = 'sending'", 1);
queue($node, 'good');
wait_for_sql($node, 'postgres', "SELECT count(*) FROM sms_outbox WHERE status IN ('queued', 'sending')", 1);
is($gateway->count->{taken} - $taken, 4, 'ENABLE ALWAYS: each is sent once');

# It is tried again now and then, however often others are recorded.
my $offset = -s $node->logfile;
for my $n (1 .. 30)
{
	my ($id) = queue($node, 'good');
	wait_for_status($node, $id, 'sent');
}
my @tries = log_since($offset) =~ /transaction on sms_outbox failed/g;
cmp_ok(scalar @tries, '<', 30, 'ENABLE ALWAYS: the log is not flooded');
$taken += 30;
drop_trigger();
wait_for_end($node);
is($gateway->count->{taken} - $taken, 4, 'ENABLE ALWAYS: recorded without being sent again');

create_trigger('AFTER', 'sending', $raise);
run_sql($node, $always);
($bad) = queue($node, [ 'bad', 'good', 'good' ]);
wait_for_sql($node, 'postgres', "SELECT count(*) FROM sms_outbox WHERE status IN ('queued', 'sending')", 1);
is(run_sql($node, "SELECT status FROM sms_outbox WHERE id = $bad"), 'queued',
	'ENABLE ALWAYS: others are claimed');
drop_trigger();

# It is left alone for a while, except by another worker.
run_sql($node, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'sms3300 worker'");
wait_for_end($node);

# Useful triggers: one that notifies, and one that queues another message.
my $listener = $node->background_psql('postgres');
$listener->query_safe('LISTEN results');
create_trigger('AFTER', 'rejected', <<'END');
PERFORM pg_notify('results', 'message ' || NEW.id);
	PERFORM public.sms3300_send(NEW.mobile, 'instead of ' || NEW.id)
END
my ($refused) = queue($node, '#status 27 bad');
wait_for_status($node, "instead of $refused", 'sent');
my $heard = $listener->query('SELECT 1');
like($heard, qr/"results" with payload "message $refused"/, 'a notification is delivered');
$listener->quit;
drop_trigger();

# Settings changed by a trigger are restored after it.
create_trigger('BEFORE', 'sent', q{PERFORM set_config('session_replication_role', 'replica', false)});
queue($node, 'bad');
wait_for_end($node);
drop_trigger();
create_trigger('BEFORE', 'sent', q{NEW.metadata = '{"seen": true}'});
queue($node, 'bad');
wait_for_end($node);
is(run_sql($node, 'SELECT metadata FROM sms_outbox ORDER BY id DESC LIMIT 1'), '{"seen": true}',
	'a trigger cannot switch the others off');
drop_trigger();

# A trigger runs with the rights of the table's owner, in whose name it was made, also
# when it is deferred.
run_sql($node, <<'END');
CREATE ROLE owner;
GRANT CREATE, USAGE ON SCHEMA public TO owner;
ALTER TABLE sms_outbox OWNER TO owner;
CREATE TABLE ran (by_user name);
ALTER TABLE ran OWNER TO owner;
END
for my $deferred (0, 1)
{
	create_trigger('AFTER', 'sent', 'INSERT INTO public.ran SELECT CURRENT_USER', $deferred);
	queue($node, 'bad');
	wait_for_end($node);
	drop_trigger();
}
is(run_sql($node, 'SELECT by_user FROM ran'), "owner\nowner", 'triggers have the rights of the owner');

unlike(log_since(0), qr/terminated by signal|PANIC/, 'no worker crashed');
$node->stop;
done_testing();
