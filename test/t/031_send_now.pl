
# sms3300_send_now returns the reply at once. It can be interrupted, and the session
# remains usable afterwards.

use strict;
use warnings;
use utf8;

use Encode qw(decode encode);
use JSON::PP qw(decode_json);
use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $timeout = $PostgreSQL::Test::Utils::timeout_default;
my $number  = '09123456789';
my $gateway = new_gateway();
my $node    = new_node('main');
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');
run_sql($node, <<'END');
CREATE SERVER other FOREIGN DATA WRAPPER sms3300 OPTIONS (line '983000330001');
CREATE USER MAPPING FOR PUBLIC SERVER other OPTIONS (username 'other', password 'hidden');
CREATE ROLE stranger LOGIN;
END

# Call it, with more arguments or none.
sub call
{
	my ($message, $more) = @_;
	return 'SELECT sms3300_send_now(' . join(', ', quote($number), quote($message), $more // ()) . ')';
}

# Expect an error: its SQLSTATE, and what its text matches. Texts never show a secret.
sub fails_with
{
	my ($sqlstate, $pattern, $sql, $what) = @_;
	my ($status, $stdout, $stderr) =
	  $node->psql('postgres', encode('UTF-8', "\\set VERBOSITY verbose\n$sql"));
	like(decode('UTF-8', $stderr), qr/ERROR:  $sqlstate: .*$pattern/s, $what);
	unlike($stderr, qr/secret|hidden/, 'an error shows no secret');
	return;
}

# The reply; the request that was made for it; and nothing is queued.
my $reply = decode_json(run_sql($node, call('سلام')));
my ($request) = $gateway->log;
is_deeply($reply, {
		status => -1,
		msg    => 'success',
		data   => {
			message_id => $request->{answer}{message_id},
			line       => 983000330000,
			mobile     => '989123456789'
		}
	}, 'the reply');
is($request->{fields}{message}, 'سلام', 'the message');
run_sql($node, call('with a template', "'983000330001', type => 2, template => 3"));
is_deeply([ @{ ($gateway->log)[-1]{fields} }{qw(line type template)} ],
	[ '983000330001', 2, 3 ], 'the fields');
is(decode_json(run_sql($node, call('#status 27 no')))->{status}, 27, 'a refusal is a reply');
run_sql($node, 'BEGIN; ' . call('rolled back') . '; ROLLBACK');
is($gateway->count->{taken}, 4, 'a rollback does not unsend');
is(count_rows($node), 0, 'nothing is queued');

# Errors before anything is sent.
my $taken = $gateway->count->{taken};
fails_with('22023', 'mobile',  "SELECT sms3300_send_now('0912', 'x')", 'a bad number');
fails_with('22023', 'text',    call(''), 'an empty text');
fails_with('23502', 'recipient', "SELECT sms3300_send_now(NULL, 'x')", 'no recipient');
fails_with('22023', 'line',    call('x', "line => 'abc'"), 'a bad line');
fails_with('22023', 'type',    call('x', 'type => 3'),      'a bad type');
fails_with('42704', 'account', call('x', "account => 'nobody'"), 'an unknown account');
fails_with('42501', 'permission denied', "SET ROLE stranger;\n" . call('x'), 'no USAGE');
fails_with('25006', 'read-only transaction', "BEGIN READ ONLY;\n" . call('x'), 'a transaction that only reads');
run_sql($node, q{ALTER SERVER other OPTIONS (ADD paused 'true')});
fails_with('55000', 'forbids the message.*paused', call('x', "account => 'other'"), 'a paused account');
run_sql($node, q{ALTER SERVER other OPTIONS (DROP paused)});
is($gateway->count->{taken}, $taken, 'none was sent');

# Errors of the network and the gateway say whether the message may have been sent. If it
# may, they are of a class that nothing repeats.
fails_with('38000', 'did not answer.*may have been sent', call("#$_"), $_)
  for qw(reset half close);
fails_with('38000', 'HTTP status 500.*may have been sent.*panel', call('#http 500'), 'a failure of the gateway');
fails_with('38000', 'not readable.*DETAIL:  Its reply was \{"raw": "<!DOCTYPE.*may have been sent', call('#html'), 'a page');
fails_with('38000', 'status 0, which does not say.*may have been sent', call('#status 0'), 'an ambiguous code');
fails_with('38000', 'empty reply.*may have been sent', call('#empty'), 'an empty reply');
fails_with('08001', "HTTP status $_.*busy.*was not sent", call("#http $_ body=busy"), "a refusal by HTTP status $_")
  for qw(301 400 401 404 429 503);
run_sql($node, "ALTER SERVER other OPTIONS (ADD url 'http://127.0.0.1:1/', ADD timeout '1 s')");
fails_with('08001', 'was not sent', call('x', "account => 'other'"), 'no connection');
run_sql($node, "ALTER SERVER other OPTIONS (SET url '" . $gateway->url . "')");
fails_with('38000', 'timed out.*may have been sent', call('#hang', "account => 'other'"),
	'the time-out of the account');

# Each request is counted, by its outcome.
is(run_sql($node, 'SELECT account, requests, sent, rejected, failed, unknown FROM sms3300_stat_account ORDER BY 1'),
	"other|2|0|0|1|1\nsms3300|17|3|7|0|7", 'requests are counted');

# It is refused beyond the account's rate, also by what the worker sends.
alter_account($node, account => 'other', rate => '0.01');
run_sql($node, call('first', "account => 'other'"));
fails_with('53400', 'the rate of account "other", 0\.01 messages per second.*allows the next one at',
	call('too early', "account => 'other'"), 'beyond the rate');
my $paced = queue($node, 'paced', account => 'other');
queue_until($node, 'sent', 'of the other account');
is(statuses($node, $paced), 'queued 1', 'the worker waits for its turn after it');
run_sql($node, "SELECT sms3300_cancel($paced)");
create_account($node, 'postgres', account => 'slow', url => $gateway->url, line => '983000330000', rate => '0.01');
queue_until($node, 'sent', 'by the worker', account => 'slow');
fails_with('53400', 'the rate of account "slow"', call('too early', "account => 'slow'"), 'beyond what the worker has sent');
is_taken($gateway, 'too early', 0, 'nothing was sent');

# It works while the account is stopped. Failure stops nothing, success opens the account.
my $held = queue($node, '#http 503 retry-after=3600', send_before => \q{now() + interval '2 hours'});
wait_for_sql($node, 'postgres', "SELECT state FROM sms3300_stat_account WHERE account = 'sms3300'", 'stopped');
my $tried = $gateway->taken('#http 503 retry-after=3600');
fails_with('08001', '503', call('#http 503'), 'it is refused as the worker is');
is(run_sql($node, "SELECT state FROM sms3300_stat_account WHERE account = 'sms3300'"), 'stopped', 'it stays stopped');
run_sql($node, call('opens'));
wait_until(sub { $gateway->taken('#http 503 retry-after=3600') > $tried }, 'the account to be opened');
wait_for_sql($node, 'postgres', "SELECT state FROM sms3300_stat_account WHERE account = 'sms3300'", 'stopped');
is(run_sql($node, "SELECT sms3300_cancel($held)"), 't', 'the message is taken back');
run_sql($node, 'SELECT sms3300_retry()');
wait_for_end($node);
queue_until($node, 'sent', 'open');
run_sql($node, call('#http 503') =~ s/SELECT/DO \$\$ BEGIN PERFORM/r . '; EXCEPTION WHEN OTHERS THEN NULL; END $$');
is(run_sql($node, "SELECT state FROM sms3300_stat_account WHERE account = 'sms3300'"), 'ok', 'a failure does not stop it');
run_sql($node, 'DELETE FROM sms_outbox');

# It can be interrupted while it hangs, and the session goes on.
run_sql($node, "ALTER SERVER sms3300 OPTIONS (ADD timeout '1 hour')");
my ($status, $stdout, $stderr) = $node->psql('postgres', <<"END", on_error_stop => 0, timeout => $timeout);
SET statement_timeout = 500;
@{[ call('#hang') ]};
RESET statement_timeout;
@{[ call('after that') ]};
END
like($stderr, qr/canceling statement due to statement timeout\nCONTEXT:  request to the gateway: the message may have been sent/,
	'statement_timeout');
like($stdout, qr/success/, 'the session goes on after a cancelled request');

my $session = $node->background_psql('postgres', on_error_stop => 0);
my $pid     = $session->query_safe('SELECT pg_backend_pid()');
$taken = $gateway->count->{taken};
$session->query_until(qr/asking/, "\\echo asking\n" . call('#hang') . ";\n");
$gateway->wait_for_taken($taken + 1);
run_sql($node, "SELECT pg_cancel_backend($pid)");
like($session->query(call('after that')), qr/success/, 'pg_cancel_backend: the session goes on');
wait_for_log($node, qr/canceling statement due to user request/);
$session->quit;

# It leaves no descriptor open in the session, however it ends.
SKIP:
{
	skip 'no /proc', 1 unless -d '/proc/self/fd';
	my $calls = <<"END";
DO \$\$
BEGIN
	FOR i IN 1 .. 50 LOOP
		PERFORM sms3300_send_now('$number', 'again');
		BEGIN
			PERFORM sms3300_send_now('$number', '#close');
		EXCEPTION WHEN external_routine_exception THEN NULL;
		END;
	END LOOP;
END \$\$;
SELECT count(*) FROM pg_ls_dir('/proc/self/fd');
END
	my ($before, $after) = split /\n/, run_sql($node, $calls x 2);
	is($after, $before, 'no descriptor is left open');
}

# The worker had no part in this.
is(count_rows($node), 0, 'nothing is queued by failed calls either');

$node->stop;
done_testing();
