
# The limits of an account: max_parts_per_day, which stops it until midnight, and
# max_per_mobile, which suppresses what is too much for one number. Both hold across a
# restart of the server, a crash of the worker, midnight and a step of the clock.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use SMS3300::Clock;
use Test::More;

my $gateway = new_gateway();
my $node = new_shifted_node('main', conf => "sms3300.worker_idle_timeout = 1h\ntimezone = 'UTC'\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');

# Return the error of SQL: its SQLSTATE and its message.
sub error_of
{
	my ($sql) = @_;
	my (undef, undef, $error) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql");
	return $error;
}

# Return what the statistics say of the account.
sub account
{
	my ($columns) = @_;
	return run_sql($node, "SELECT $columns FROM sms3300_stat_account");
}

# Return how many texts the gateway took that begin with a word.
sub taken_like
{
	my ($word) = @_;
	return scalar grep { ($_->{fields}{message} // '') =~ /^$word / } $gateway->log;
}

# Wait until the parts of today are counted as so many.
sub wait_for_parts
{
	my ($parts) = @_;
	wait_for_sql($node, 'postgres', 'SELECT parts_today FROM sms3300_stat_account', $parts);
	return;
}

#
# max_parts_per_day
#

set_time($node, '2027-06-01 12:00:00+03:30');
is(account('parts_today'), '', 'without a limit parts are not counted');
queue_until($node, 'sent', 'before the limit was set');
alter_account($node, max_parts_per_day => 10);
queue_until($node, 'sent', 'x' x 161);
wait_for_parts(3);
queue_until($node, 'rejected', '#status 1');
queue_until($node, 'unknown',  '#status 0');
wait_for_parts(4);
pass('accepted and unknown messages count, refused ones do not');
run_sql($node, "SELECT sms3300_send_now('09123456789', 'now')");
wait_for_parts(5);
my $held = queue_until_taken($node, $gateway, '#hold ' . 'x' x 155);
wait_for_parts(7);
pass('by send_now, and on the wire, too');
my $offset = -s $node->logfile;
my $four   = queue($node, 'z' x (153 * 3 + 1), priority => 9);
wait_for_log($node, qr/account "sms3300" stopped: the account may send 10 parts a day, and 7 may have been sent today/, $offset);
is(account('state, reason, next_probe_at, parts_today'),
	'stopped|the account may send 10 parts a day, and 7 may have been sent today|2027-06-01 20:30:00+00|7',
	'a message that would cross the limit stops the account');
my $two   = queue($node, 'y' x 161);
my $small = queue($node, 'small', priority => 9);
like(run_sql($node, "SELECT sms3300_explain($small)"),
	qr/^queued: the account may send 10 parts a day, and 7 may .*; it may be sent from 2027-06-01 20:30:00\+00 on$/, 'explained');
like(error_of("SELECT sms3300_send_now('09123456789', 'now')"), qr/53400: a rule of account "sms3300" forbids/, 'send_now is refused');
is(statuses($node, [ $two, $four, $small ]), 'queued 3', 'nothing more is sent');
$gateway->release;
wait_for_status($node, $held, 'sent');

# A higher limit opens at once.
$offset = -s $node->logfile;
alter_account($node, max_parts_per_day => 12);
wait_for_status($node, $four, 'sent');
wait_for_log($node, qr/account "sms3300" is sending again/, $offset);
wait_for_status($node, $small, 'sent');
is(account('parts_today'), 12, 'a higher limit opens the account at once, and is kept');
is(statuses($node, [$two]), 'queued 1', 'to the part');

# Restarts do not forget; what send_now sent is known as long as the server runs.
restart_shifted($node);
alter_account($node, max_parts_per_day => 11);
my $after = queue($node, 'after the restart');
wait_for_parts(11);
wait_for_sql($node, 'postgres', 'SELECT state FROM sms3300_stat_account', 'stopped');
is(statuses($node, [ $two, $after ]), 'queued 2', 'after a restart they are counted from the table');

# Midnight.
set_time($node, '2027-06-01 23:59:57+03:30');
wait_for_status($node, [ $two, $after ], 'sent');
is(run_sql($node, "SELECT count(*) FROM sms_outbox WHERE id IN ($two, $after) AND started_at >= '2027-06-02 00:00:00+03:30'"), 2,
	'it opens at midnight in its time zone, not before');
wait_for_parts(3);
is(account('state'), 'ok', 'after midnight it counts from nothing');

# The clock is set back to yesterday, whose parts are counted again.
set_time($node, '2027-06-01 23:00:00+03:30');
my $yesterday = queue($node, 'yesterday again');
wait_for_sql($node, 'postgres', 'SELECT state FROM sms3300_stat_account', 'stopped');
set_time($node, '2027-06-02 00:10:00+03:30');
wait_for_status($node, $yesterday, 'sent');

# A worker that crashes while messages are on the wire.
alter_account($node, max_parts_per_day => 6);
queue_until_taken($node, $gateway, '#hold', n => 2);
wait_for_parts(6);
my $pid = worker_pid($node, 'postgres');
run_sql($node, "SELECT pg_terminate_backend($pid)");
wait_for_status($node, '#hold', 'unknown');
queue($node, 'one more');
wait_for_sql($node, 'postgres', 'SELECT state FROM sms3300_stat_account', 'stopped');
is(statuses($node, 'one more'), 'queued 1', 'what may have been sent when a worker ended counts');
alter_account($node, max_parts_per_day => undef);
wait_for_status($node, 'one more', 'sent');
is(account('state, parts_today'), 'ok|', 'without the limit');

# Exactly the limit, by many requests at once.
set_time($node, '2027-06-03 12:00:00+03:30');
alter_account($node, max_parts_per_day => 500);
queue($node, \"'many ' || n", n => 800);
wait_for_sql($node, 'postgres', 'SELECT state FROM sms3300_stat_account', 'stopped');
wait_for_sql($node, 'postgres', "SELECT count(*) FROM sms_outbox WHERE message LIKE 'many %' AND status = 'sent'", 500);
is(taken_like('many'), 500, 'no part more than the limit, at full speed');
run_sql($node, "SELECT count(sms3300_cancel(id)) FROM sms_outbox WHERE message LIKE 'many %' AND status = 'queued'");
alter_account($node, max_parts_per_day => undef);

# Requests that are cancelled before they have left use up nothing.
my $deaf = new_gateway(early => 'never-read');
create_account($node, 'postgres', account => 'deaf', url => $deaf->early_url =~ s/^http/https/r, line => '983000330000',
	max_parts_per_day => 2);
for (1 .. 3)
{
	like(error_of("SET statement_timeout = '200ms'; SELECT sms3300_send_now('09123456789', 'does not leave', account => 'deaf')"),
		qr/57014: /, 'cancelled in the handshake');
}
is(run_sql($node, "SELECT parts_today, unknown FROM sms3300_stat_account WHERE account = 'deaf'"), '0|0',
	'what was cancelled before it left does not count');
run_sql($node, 'DROP SERVER deaf CASCADE');

# A session whose snapshot is old, and that is the first to count a day, counts what was sent
# since, too. The lock keeps the worker from counting, but not a reader.
set_time($node, '2027-06-04 12:00:00+03:30');
my $later = queue($node, 'later', send_after => \"now() + interval '1 hour'");
my $old   = $node->background_psql('postgres', on_error_stop => 1);
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM sms_outbox');
queue_until($node, 'sent', \"'new ' || n", n => 3);
my ($lock, undef, $waits) = lock_by($node, 'LOCK TABLE sms_outbox IN SHARE MODE', 'waits');
alter_account($node, max_parts_per_day => 100);
like($old->query_safe("SELECT sms3300_explain($later)"), qr/^queued: it is scheduled for /, 'explained by an old snapshot');
is(account('parts_today'), 3, 'a session with an old snapshot counts the parts of now');
$old->query_safe('COMMIT');
$old->quit;
unlock($lock);
wait_for_status($node, $waits, 'sent');
run_sql($node, "SELECT sms3300_cancel($later)");
alter_account($node, max_parts_per_day => undef);

#
# max_per_mobile
#

my $phone = '09351111111';
alter_account($node, max_per_mobile => '3/10min');
queue_until($node, 'sent', "loop $_", mobile => $phone) for 1, 2;
queue_until($node, 'rejected', '#status 1', mobile => $phone);
queue_until($node, 'unknown', '#status 0', mobile => $phone);
my $fourth = queue_until($node, 'suppressed', 'loop 4', mobile => $phone);
my ($row) = read_rows($node, "id = $fourth");
is($row->{error}, 'the recipient may have received 3 messages already (max_per_mobile 3/10min)', 'the error names the rule');
queue_until($node, 'sent', 'to another', mobile => '09352222222');
my $soon = queue($node, 'soon', mobile => $phone, send_after => \"now() + interval '5 min'");
my $late = queue($node, 'late', mobile => $phone, send_after => \"now() + interval '15 min'");
like(run_sql($node, "SELECT sms3300_explain($soon)"), qr/^queued: it will be suppressed: the recipient may have received 3/, 'explained before');
like(run_sql($node, "SELECT sms3300_explain($late)"), qr/^queued: it is scheduled for/, 'for the time when it is due');
run_sql($node, "SELECT sms3300_cancel($soon)");
like(error_of("SELECT sms3300_send_now('$phone', 'now')"), qr/55000: a rule of account .* may have received 3/, 'send_now is refused');

# A loop in a trigger.
queue($node, \"'flood ' || n", mobile => '09353333333', n => 500);
wait_for_sql($node, 'postgres', "SELECT count(*) FROM sms_outbox WHERE message LIKE 'flood %' AND status = 'suppressed'", 497);
wait_for_sql($node, 'postgres', "SELECT count(*) FROM sms_outbox WHERE message LIKE 'flood %' AND status = 'sent'", 3);
is(taken_like('flood'), 3, 'a flood to one number is three messages');

# After a restart it is read from the table, also what was redacted.
run_sql($node, "UPDATE sms_outbox SET message = NULL WHERE message = 'loop 1'");
restart_shifted($node);
queue_until($node, 'suppressed', 'after a restart', mobile => $phone);

# The time passes.
set_time($node, '2027-06-04 13:00:00+03:30');
wait_for_status($node, $late, 'sent');
run_sql($node, "SELECT sms3300_resend($fourth)");
wait_for_status($node, $fourth, 'sent');
pass('when the time has passed it can be sent again');
queue_until($node, 'sent', 'the third', mobile => $phone);
queue_until($node, 'suppressed', 'the fourth', mobile => $phone);

# A clock that was set back does not suppress for ever.
set_time($node, '2027-05-01 12:00:00+03:30');
mark($node);
queue_until($node, 'sent', 'a month before', mobile => $phone);

# A message whose claim a trigger sends to another number counts there.
run_sql($node, <<'END');
CREATE FUNCTION redirect() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.status = 'sending' AND NEW.message LIKE 'redirected%' THEN NEW.mobile := '989354444444'; END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER redirect BEFORE UPDATE ON sms_outbox FOR EACH ROW EXECUTE FUNCTION redirect();
END
queue($node, [ map { "redirected $_" } 1 .. 5 ], mobile => '09355555555');
wait_for_sql($node, 'postgres', "SELECT string_agg(status || ' ' || n, ', ' ORDER BY status) FROM (SELECT status, count(*) AS n"
	. " FROM sms_outbox WHERE message LIKE 'redirected%' GROUP BY 1) AS s", 'sent 3, suppressed 2');
pass('triggers do not get past the limit');
run_sql($node, 'DROP TRIGGER redirect ON sms_outbox');

# A failing trigger, by which the claims of a round are rolled back, does not use it up.
run_sql($node, <<'END');
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.status = 'sending' AND NEW.message = 'fails' THEN RAISE 'no'; END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER fail BEFORE UPDATE ON sms_outbox FOR EACH ROW EXECUTE FUNCTION fail();
END
queue_until($node, 'sent', [ 'fails', 'a', 'b' ], mobile => '09356666666');
queue_until($node, 'suppressed', 'c', mobile => '09356666666');

# More messages than are kept in memory: what is not there is looked up in the table, also
# after a restart, and what is still on the wire is kept.
run_sql($node, 'DELETE FROM sms_outbox');
alter_account($node, max_per_mobile => '1/10h', max_in_flight => 300, timeout => '1h');
queue_until_taken($node, $gateway, '#hold', mobile => '09361111111');
queue_until($node, 'sent', 'before many', mobile => '09362222222');
my $from = -s $node->logfile;
queue($node, 'to many', mobile => \"'0937' || lpad(n::text, 7, '0')", n => 2500);
wait_for_statuses($node, 'to many', 'sent 2500');
queue_until($node, 'suppressed', 'a second one', mobile => '09361111111');
queue_until($node, 'suppressed', 'a second one', mobile => '09362222222');
queue_until($node, 'sent', 'to another', mobile => '09363333333');
queue($node, 'planned', mobile => $_, send_after => \"now() + interval '5 min'")
  for '09361111111', '09362222222', '09370000001', '09365555555';
is(run_sql($node, "SELECT string_agg((sms3300_explain(id) LIKE '%it will be suppressed%')::text, ' ' ORDER BY id) FROM sms_outbox WHERE message = 'planned'"),
	'true true true false', 'a session that asks for many knows all of them, too');
run_sql($node, "SELECT sms3300_cancel(id) FROM sms_outbox WHERE message = 'planned'");
is(() = slurp_file($node->logfile, $from) =~ /more messages within the time of max_per_mobile than are kept.*\n.*\n.*HINT:  CREATE INDEX ON public.sms_outbox \(mobile, finished_at\)/g,
	1, 'the log recommends an index, once');
$gateway->release;
wait_for_status($node, '#hold', 'sent');
run_sql($node, 'CREATE INDEX recipients ON sms_outbox (mobile, finished_at)');
$from = -s $node->logfile;
restart_shifted($node);
queue_until($node, 'suppressed', 'a third one', mobile => $_) for '09361111111', '09362222222', '09370000001', '09370002500';
queue_until($node, 'sent', 'to one more', mobile => '09364444444');
unlike(slurp_file($node->logfile, $from), qr/than are kept in memory/, 'not where there is one');
run_sql($node, 'DROP INDEX recipients');

# All that is kept in memory is on the wire, and none of it is in the table as sent.
run_sql($node, 'DELETE FROM sms_outbox');
queue_until_taken($node, $gateway, '#hold all', mobile => \"'0938' || lpad(n::text, 7, '0')", n => 150);
queue_until($node, 'suppressed', 'a second one', mobile => $_) for '09380000001', '09380000150';
$gateway->release;
wait_for_status($node, '#hold all', 'sent');

# Parts that come back, as their messages were not sent, open the account again.
run_sql($node, 'DROP TRIGGER fail ON sms_outbox; DELETE FROM sms_outbox');
alter_account($node, max_per_mobile => undef, max_parts_per_day => undef);
$gateway->mode('#http 503 retry-after=1');
alter_account($node, max_parts_per_day => 5);
my @back = queue($node, 'comes back', n => 5);
push @back, queue($node, 'beyond');
wait_for_sql($node, 'postgres', q{SELECT state = 'stopped' FROM sms3300_stat_account});
$gateway->mode('');
run_sql($node, "SELECT sms3300_cancel($back[5])");
wait_for_statuses($node, \@back, 'sent 5, cancelled 1');
pass('what was not sent does not use up the limit');
$node->stop;

done_testing();
