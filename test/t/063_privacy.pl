
# Privacy. Finished messages are deleted after the retention of their account, and their
# texts are removed after redact_after. Nothing else is removed, and a role cannot delay
# the removal of other messages.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
my %account = (url => $gateway->url, line => '983000330000');
create_account($node, 'postgres', %account);
create_account($node, 'postgres', %account, account => 'other');

# Make messages of an account as if they were finished long ago, unheard by any worker: an INSERT of what
# came to each status; returns nothing.
sub make_old
{
	my ($account, $n, $message, $age) = @_;
	run_sql($node, <<"END");
SET session_replication_role = replica;
INSERT INTO sms_outbox (mobile, message, account, sender, send_before, status, finished_at, origin)
SELECT '989123456789', '$message', '$account', 'postgres', now() - interval '$age', 'sent', now() - interval '$age',
	(SELECT origin FROM sms_outbox WHERE message = 'origin')
FROM generate_series(1, $n)
END
	return;
}

# Wait until so many messages of a text are left, redacted ones by their metadata.
sub wait_for_left
{
	my ($condition, $expected) = @_;
	wait_for_sql($node, 'postgres', "SELECT count(*) FROM sms_outbox WHERE $condition", $expected);
	return;
}

# A message that says where it was queued, and one of each status; all without an option
# for what is old.
my ($origin) = queue($node, 'origin', account => 'other');
wait_for_end($node);
run_sql($node, <<'END');
INSERT INTO sms_outbox (mobile, message, account, sender, send_after, send_before, status, due_at, finished_at, origin)
SELECT '989123456789', s, 'sms3300', 'postgres', now() + interval '1 h', now() + interval '1 day', s,
	CASE WHEN s IN ('queued', 'sending') THEN now() + interval '1 h' END,
	CASE WHEN s NOT IN ('queued', 'sending') THEN now() - interval '1 year' END, o.origin
FROM unnest(enum_range(NULL::sms_status)) AS s, sms_outbox AS o WHERE o.message = 'origin';
INSERT INTO sms_outbox (mobile, message, account, sender, send_before, status, finished_at, origin)
SELECT '989123456789', 'elsewhere', 'sms3300', 'postgres', now(), 'sent', now() - interval '1 year', origin + 1
FROM sms_outbox WHERE message = 'origin';
END
my ($new) = queue($node, 'new');
wait_for_left("id = $new AND status = 'sent'", 1);
my $statuses = run_sql($node, 'SELECT cardinality(enum_range(NULL::sms_status))');
is(count_rows($node, "account = 'sms3300'"), $statuses + 2,
	'without the options nothing is deleted');
is(run_sql($node, 'SELECT count(*) FROM sms_outbox WHERE message IS NULL'), 0, 'no row is redacted');

# A message is not queued again whose text goes at that moment.
my $rejected = run_sql($node, "SELECT id FROM sms_outbox WHERE status = 'rejected'");
my ($first, $second) = map { $node->background_psql('postgres') } 1 .. 2;
$first->query_safe("BEGIN; UPDATE sms_outbox SET message = NULL WHERE id = $rejected");
$second->query_until(qr/asking/, "\\echo asking\nSELECT sms3300_resend($rejected) AS again \\gset\n");
wait_for_sql($node, 'postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'transactionid'");
$first->query_safe('COMMIT');
is($second->query_safe('\echo :again'), 'f', 'what is being redacted cannot be sent again');
$_->quit for $first, $second;

# redact_after: of finished messages that are old enough, wherever they were queued.
alter_account($node, redact_after => '1 month');
wait_for_left('message IS NULL', 8);
is(run_sql($node, 'SELECT string_agg(message, \' \' ORDER BY id) FROM sms_outbox'),
	'origin queued sending new', 'the texts of others stay');
is(run_sql($node, <<'END'), 'cancelled expired failed rejected sent sent suppressed unknown', 'the rows stay');
SELECT string_agg(status::text, ' ' ORDER BY status::text) FROM sms_outbox WHERE message IS NULL
END
my $failed = run_sql($node, "SELECT id FROM sms_outbox WHERE status = 'failed'");
my ($status, undef, $error) =
  $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT sms3300_resend($failed)");
like($error, qr/ERROR:  55000: message $failed no longer has a text\n/, 'what is redacted cannot be sent again');
like($error, qr/DETAIL:  The text was removed.*\nHINT:  Queue a new message/, 'the error says why a redacted message cannot be resent');
is(run_sql($node, "SELECT sms3300_cancel($failed)"), 'f', 'a redacted message is not cancelled');

# A change applies at once, and the dedup_key lives as long as its row.
my $keyed = "SELECT sms3300_send('09123456789', 'keyed', dedup_key => 'k')";
my $id = run_sql($node, $keyed);
wait_for_left("id = $id AND status = 'sent'", 1);
alter_account($node, redact_after => '0');
wait_for_left("id = $id AND message IS NULL", 1);
is(run_sql($node, $keyed), $id, 'a redacted row keeps its dedup_key');
alter_account($node, redact_after => undef);
alter_account($node, retention => '1 month');
wait_for_left("account = 'sms3300' AND finished_at < now() - interval '1 month'", 0);
is(run_sql($node, $keyed), $id, 'a row that is not old enough stays');
wait_for_left('true', 5);
alter_account($node, retention => '0');
wait_for_left("account = 'sms3300'", 2);
isnt(run_sql($node, $keyed), $id, 'with the row goes its dedup_key');
wait_for_left("account = 'sms3300'", 2);
is(run_sql($node, 'SELECT string_agg(message, \' \' ORDER BY id) FROM sms_outbox'),
	'origin queued sending', 'what is not finished stays, as do other accounts\' rows');
is(count_rows($node, "status = 'sent'"), 1, 'one has its history');

# Expired messages are removed without any other activity.
run_sql($node, q{DELETE FROM sms_outbox WHERE account = 'sms3300'});
run_sql($node, q{SELECT sms3300_send('09123456789', 'expires', send_after => now() + interval '1 s',
	send_before => now() + interval '1.001 s')});
wait_for_left("message = 'expires'", 0);

# So are cancelled messages.
my $cancelled = run_sql($node,
	q{SELECT sms3300_send('09123456789', 'cancelled', send_after => now() + interval '1 day')});
run_sql($node, "SELECT sms3300_cancel($cancelled)");
wait_for_left("message = 'cancelled'", 0);

# Many are deleted in batches, whose size depends on how long one takes.
run_sql($node, 'DELETE FROM sms_outbox WHERE account = $$sms3300$$');
alter_account($node, retention => '1 month');
run_sql($node, <<'END');
CREATE TABLE batches (xid xid8, n bigint);
CREATE FUNCTION batch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.batches SELECT pg_current_xact_id(), count(*) FROM deleted HAVING count(*) > 0;
	RETURN NULL;
END $$;
CREATE TRIGGER batch AFTER DELETE ON sms_outbox REFERENCING OLD TABLE AS deleted EXECUTE FUNCTION batch();
END
make_old('sms3300', 2500, 'many', '1 year');
queue($node, 'go');
wait_for_left("message = 'many'", 0);
is(run_sql($node, 'SELECT sum(n), max(n) <= 1000, min(n) > 0 FROM batches'), '2500|t|t',
	'a transaction takes no more than 1000, and the work in batches ends');
cmp_ok(run_sql($node, 'SELECT max(n) FROM batches'), '>', 1, 'batches grow');
run_sql($node, 'DROP TABLE batches; DROP FUNCTION batch() CASCADE');

# A locked row is left for later and delays nothing.
run_sql($node, 'DELETE FROM sms_outbox WHERE account = $$sms3300$$');
make_old('sms3300', 3, 'locked', '3 years');
make_old('sms3300', 3, 'free', '2 years');
my $session = $node->background_psql('postgres');
$session->query_safe("BEGIN; SELECT 1 FROM sms_outbox WHERE message = 'locked' FOR UPDATE");
queue($node, 'go');
wait_for_left("message = 'free'", 0);
wait_for_left("message = 'go' AND status = 'sent'", 1);
wait_for_left("message = 'locked'", 3);
$session->query_safe('COMMIT');
$session->quit;
queue($node, 'go');
wait_for_left("message = 'locked'", 0);

# A row that a user's foreign key or trigger keeps is passed over; the log says so once,
# and the worker does not spin.
run_sql($node, <<'END');
CREATE TABLE orders (sms bigint REFERENCES sms_outbox ON DELETE RESTRICT);
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF OLD.message = 'kept' THEN
		RAISE EXCEPTION 'keep this';
	END IF;
	RETURN coalesce(NEW, OLD);
END $$;
CREATE TRIGGER keep BEFORE DELETE OR UPDATE OF message ON sms_outbox FOR EACH ROW EXECUTE FUNCTION keep();
ALTER SERVER sms3300 OPTIONS (ADD paused 'true');
DELETE FROM sms_outbox WHERE account = 'sms3300';
END
make_old('sms3300', 1,   'referenced', '4 years');
make_old('sms3300', 30, 'free',       '3 years');
make_old('sms3300', 1,   'kept',       '2 years');
make_old('sms3300', 30, 'free',       '1 years');
run_sql($node, "INSERT INTO orders SELECT id FROM sms_outbox WHERE message = 'referenced'");
my $offset = -s $node->logfile;
run_sql($node, "ALTER SERVER sms3300 OPTIONS (SET paused 'false')");
wait_for_left("message = 'free'", 0);
wait_for_left("message IN ('referenced', 'kept')", 2);
make_old('sms3300', 10, 'free', '1 year');
my $passes = sub { scalar(() = slurp_file($node->logfile, $offset) =~ /could not delete or redact/g) };
queue($node, "later $_") for 1 .. 5;
wait_for_left("message LIKE 'later%' AND status = 'sent'", 5);
is($passes->(), 1, 'the log says once that rows are passed over');
like(slurp_file($node->logfile, $offset), qr/LOG:  .*could not delete or redact.*violates (?:RESTRICT setting of )?foreign key constraint/, 'the log says why a row is not deleted');
wait_for_left("message = 'free'", 10);
alter_account($node, retention => '2 months');
wait_for_left("message = 'free'", 0);
is($passes->(), 1, 'a pass that fails is followed by one');

# It is the same with a text.
alter_account($node, retention => undef);
make_old('sms3300', 30, 'free', '1 year');
alter_account($node, redact_after => '1 month');
wait_for_left("message = 'free'", 0);
wait_for_left("message = 'kept'", 1);
wait_for_left("message = 'referenced'", 0);

# A row whose removal a trigger suppresses remains, and delays nothing.
run_sql($node, <<'END');
CREATE OR REPLACE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF OLD.message = 'kept' THEN
		RETURN NULL;
	END IF;
	RETURN coalesce(NEW, OLD);
END $$;
END
make_old('sms3300', 1500, 'kept', '5 years');
make_old('sms3300', 10, 'free', '1 year');
alter_account($node, retention => '1 month');
wait_for_left("message = 'free'", 0);
wait_for_left("message = 'kept'", 1501);

# Once it is let go, it goes.
run_sql($node, 'DROP TABLE orders; DROP FUNCTION keep() CASCADE');
alter_account($node, retention => '3 weeks');
wait_for_left("message = 'kept' OR message IS NULL", 0);

unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC/, 'no worker crashed');
$node->stop;
done_testing();
