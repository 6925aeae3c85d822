
# One message of a sender holds a dedup_key. A message that did not reach its recipient keeps
# the key to be found by, and gives it away to the next one. Two sessions at once let each
# key in once, and claims of messages with keys are HOT updates.

use strict;
use warnings;

use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
my $number  = '09123456789';
create_account($node, 'postgres', url => $gateway->url, line => '983000330000', max_attempts => 1);

# Return the SQLSTATE and message of an error or notice, and the result.
sub answer
{
	my ($sql) = @_;
	my (undef, $out, $error) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql;", on_error_stop => 0);
	return $out unless $error =~ /(ERROR|NOTICE):  (\w+): ([^\n]*)/;
	return $1 eq 'ERROR' ? $2 : "$out $3";
}

# Queue a message by sms3300_send.
sub send_key
{
	my ($key, $message, $mobile) = @_;
	$mobile //= $number;
	return answer("SELECT sms3300_send('$mobile', '$message', dedup_key => '$key')");
}

# Bring a message of a text of its own to a status.
my %reached = (sent => 'yes', unknown => '#http 500', rejected => '#status 27', failed => '#status 15');
sub message_of
{
	my ($status, $key) = @_;
	my $later = "send_after => now() + interval '1 day'";
	my $text = $reached{$status} // $status;
	my $id = run_sql($node, "SELECT sms3300_send('$number', '$text', dedup_key => '$key'"
		  . ($reached{$status} ? ')' : ", $later)"));
	run_sql($node, "SELECT sms3300_cancel($id)") if $status eq 'cancelled';
	run_sql($node, "UPDATE sms_outbox SET send_after = now() - interval '2 hours', send_before = now() - interval '1 hour'"
		  . " WHERE id = $id") if $status eq 'expired';
	run_sql($node, "UPDATE sms_outbox SET status = 'suppressed', due_at = NULL, finished_at = now() WHERE id = $id")
	  if $status eq 'suppressed';
	wait_for_status($node, $id, $status);
	return ($id, $text);
}

for my $status (qw(queued sent unknown))
{
	my ($id, $text) = message_of($status, "holds $status");
	is(send_key("holds $status", $text), $id, "$status: holds its key");
	is(answer("INSERT INTO sms_outbox (mobile, message, dedup_key) VALUES ('$number', 'x', 'holds $status')"), 23505,
		"$status: INSERT is refused");
	is(answer("INSERT INTO sms_outbox (mobile, message, dedup_key) VALUES ('$number', 'x', 'holds $status')"
		  . ' ON CONFLICT DO NOTHING RETURNING id'), '', "$status: ON CONFLICT DO NOTHING");
}

# A target names the columns of a constraint, and the index has one more.
is(answer("INSERT INTO sms_outbox (mobile, message, dedup_key) VALUES ('$number', 'x', 'k')"
	  . ' ON CONFLICT (sender, dedup_key) WHERE dedup_key IS NOT NULL DO NOTHING'), '42P10', 'ON CONFLICT with a target is an error');

for my $status (qw(cancelled rejected failed expired suppressed))
{
	my ($id) = message_of($status, "gives $status");
	is(run_sql($node, "SELECT dedup_key, dedup_released FROM sms_outbox WHERE id = $id"), "gives $status|", "$status: keeps its key");
	my $next = answer("INSERT INTO sms_outbox (mobile, message, dedup_key) VALUES ('$number', 'next', 'gives $status')"
		  . ' ON CONFLICT DO NOTHING RETURNING id');
	cmp_ok($next, '>', $id, "$status: gives it to the next message");
	is(run_sql($node, "SELECT dedup_released FROM sms_outbox WHERE dedup_key = 'gives $status' ORDER BY id"), "t\n", "$status: and is found by it");
	is(send_key("gives $status", 'next'), $next, "$status: the next one holds it");
	is(answer("SELECT sms3300_resend($id)"), 23505, "$status: it cannot be queued again beside that one");
}

# The one that took it did not reach the recipient either.
my ($first) = message_of('cancelled', 'two');
my ($second) = message_of('cancelled', 'two');
is(answer("SELECT sms3300_resend($first)"), 't', 'resend takes the key back');
is(run_sql($node, "SELECT id, dedup_released FROM sms_outbox WHERE dedup_key = 'two' ORDER BY id"), "$first|\n$second|t",
	'from the one that had taken it');
is(answer("SELECT sms3300_resend($second)"), 23505, 'and that one cannot be queued again');
is(answer("SELECT sms3300_cancel($first); SELECT sms3300_resend($second)"), "t\nt", 'until it can');

# Many at once: the newest of a key is queued, and none beside one that holds it.
my @many = map { (message_of('cancelled', "many $_"))[0] } 1, 1, 1, 2;
my ($holder) = message_of('unknown', 'many 2');
is(answer("SELECT sms3300_resend_many(ARRAY[" . join(', ', @many) . '])'), 1, 'resend_many');
is(run_sql($node, 'SELECT string_agg(status::text, $$ $$ ORDER BY id) FROM sms_outbox WHERE dedup_key LIKE $$many%$$'),
	'cancelled cancelled queued cancelled unknown', 'the newest of each key, if none holds it');

# Without another message nothing is released.
my ($alone) = message_of('cancelled', 'alone');
is(answer("SELECT sms3300_resend($alone)"), 't', 'resend of the only one');

# Another recipient or text is told.
my $told = send_key('told', 'text');
is(send_key('told', 'text', '+98 912 345 6789'), $told, 'the same message, in another spelling: no notice');
like(send_key('told', 'other'), qr/^$told message $told has the same "dedup_key" but a different text/, 'another text');
like(send_key('told', 'text', '09120000000'), qr/^$told message $told has the same "dedup_key" but a different recipient;/, 'another recipient');
like(send_key('told', 'other', '09120000000'), qr/^$told message $told .* a different recipient and text/, 'both');
wait_for_status($node, $told, 'sent');
run_sql($node, "UPDATE sms_outbox SET message = NULL WHERE id = $told");
is(send_key('told', 'other'), $told, 'a text that was removed is not compared');

# The length of a key, in bytes.
is(answer("SELECT sms3300_send('$number', 'x', dedup_key => repeat('k', 1001))"), 22023, 'a key of 1001 bytes');
is(answer("SELECT sms3300_send('$number', 'x', dedup_key => repeat('ک', 501))"), 22023, 'a key of 1002 bytes');
like(answer("SELECT sms3300_send('$number', 'x', dedup_key => string_agg(md5(i::text), ''))"
	  . ' FROM generate_series(1, 31) AS i'), qr/^\d+$/, 'a key of 992 bytes that cannot be compressed');

# An UPDATE of the key by the table's owner.
my ($given) = message_of('cancelled', 'given');
my $takes = run_sql($node, "SELECT sms3300_send('$number', 'x', send_after => now() + interval '1 day')");
is(answer("UPDATE sms_outbox SET dedup_key = 'given' WHERE id = $takes"), '', 'UPDATE takes a key');
is(answer("UPDATE sms_outbox SET dedup_key = 'told' WHERE id = $takes"), 23505, 'unless it is held');

# Two sessions at once, beside a message that gives its key away.
my @keys = map { "both $_" } 1 .. 20;
run_sql($node, "SELECT sms3300_cancel(sms3300_send('$number', 'before', dedup_key => 'both ' || i, send_after => now() + interval '1 day'))"
	  . ' FROM generate_series(1, 20, 2) AS i');
my $insert = "INSERT INTO sms_outbox (mobile, message, dedup_key) SELECT '$number', 'both', 'both ' || i"
  . ' FROM generate_series(1, 20) AS i ON CONFLICT DO NOTHING';
my $one   = $node->background_psql('postgres');
my $other = $node->background_psql('postgres');
$one->query_safe("BEGIN; $insert");
my $pid = $other->query_safe('SELECT pg_backend_pid()');
$other->query_until(qr/begun/, "\\echo begun\n$insert;\n");
wait_for_sql($node, 'postgres', "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $pid");
$one->query_safe('COMMIT');
$other->query_safe('SELECT 1');
$_->quit for $one, $other;
is(count_rows($node, "message = 'both'"), 20, 'two sessions let each key in once');

# Claims change no column of an index. A worker that ends has told its statistics.
sub hot_updates
{
	run_sql($node, q{SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE backend_type = 'sms3300 worker'});
	return run_sql($node, q{SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'sms_outbox'});
}
alter_account($node, paused => 'true');
queue($node, 'hot', dedup_key => \q('hot ' || n), n => 50);
my $hot = hot_updates();
alter_account($node, paused => 'false');
wait_for_sql($node, 'postgres', q{SELECT count(*) FROM sms_outbox WHERE message = 'hot' AND status = 'sent'}, 50);
cmp_ok(hot_updates() - $hot, '>', 25, 'claims of messages with keys are HOT updates, where their page has room');

# What a caller leaves to a trigger of the owner is not compared.
run_sql($node, <<'END');
CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN NEW.message := ''filled''; NEW.mobile := ''09123456789''; RETURN NEW; END';
CREATE TRIGGER fill BEFORE INSERT ON sms_outbox FOR EACH ROW EXECUTE FUNCTION fill();
END
my $filled = run_sql($node, q{SELECT sms3300_send(NULL, NULL, dedup_key => 'filled')});
is(run_sql($node, q{SELECT sms3300_send(NULL, NULL, dedup_key => 'filled')}), $filled, 'a key without a recipient and a text');
run_sql($node, 'DROP FUNCTION fill CASCADE');

# Far times do not keep messages from being resent.
my @far = queue($node, '#status 3 far', send_before => \q{timestamptz '294276-12-31 20:00+00'}, n => 2);
wait_for_status($node, \@far, 'rejected');
is(run_sql($node, "SELECT sms3300_resend_many(ARRAY[$far[0], $far[1]])"), 2, 'messages that never expire are resent');

$node->stop;
done_testing();
