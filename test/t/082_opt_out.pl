
# sms_opt_out: who is in it gets no message, except by a route with a fallback; and what
# the gateway's codes 27 and 33 put into it.

use strict;
use warnings;
use utf8;

use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');
my ($ours, $other) = ('983000330000', '983000331111');

# Return the error of SQL: its SQLSTATE and its message.
sub error_of
{
	my ($sql) = @_;
	my ($status, undef, $error) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql");
	return $error;
}

# Return the entries of the table.
sub entries
{
	return run_sql($node, 'SELECT mobile, line, reason, by FROM sms_opt_out ORDER BY 1, 2 NULLS FIRST');
}

# Return how often the index was searched, once the worker has reported it.
sub probes
{
	my $pid = worker_pid($node, 'postgres');
	run_sql($node, "SELECT pg_terminate_backend($pid)");
	wait_for_sql($node, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
	return run_sql($node, "SELECT idx_scan FROM pg_stat_all_indexes WHERE indexrelname = 'sms_opt_out_idx'");
}

#
# The table
#

queue_until($node, 'sent', \"'empty ' || n", n => 50);
is(probes(), 0, 'no index probe while the table is empty');

run_sql($node, <<"END");
INSERT INTO sms_opt_out (mobile, line, reason) VALUES
	(' +98 912 000 0001', NULL, 'by telephone'), ('۰۹۱۲۰۰۰۰۰۰۲', '$ours', 'by SMS'), ('9120000003', '$other', NULL);
INSERT INTO sms_opt_out (mobile, line) VALUES ('00989120000001', NULL), ('09120000002', '$ours') ON CONFLICT DO NOTHING;
END
is(entries(), <<"END" =~ s/\n\z//r, 'entries are canonical, and unique also without a line');
989120000001||by telephone|${\ run_sql($node, 'SELECT CURRENT_USER')}
989120000002|$ours|by SMS|${\ run_sql($node, 'SELECT CURRENT_USER')}
989120000003|$other||${\ run_sql($node, 'SELECT CURRENT_USER')}
END
like(error_of("INSERT INTO sms_opt_out (mobile) VALUES ('09120000001')"), qr/23505/, 'an entry is unique');
like(error_of("INSERT INTO sms_opt_out (mobile) VALUES ('02188888888')"), qr/22023: .*mobile number/, 'a mobile number is checked');
like(error_of("INSERT INTO sms_opt_out (mobile, line) VALUES ('09120000009', 'abc')"), qr/22023: .*line/, 'a line is checked');
like(error_of("INSERT INTO sms_opt_out (line) VALUES ('$ours')"), qr/23502/, 'a recipient is required');
run_sql($node, "UPDATE sms_opt_out SET mobile = '0912-000-0004', by = NULL WHERE mobile = '989120000003'");
is(run_sql($node, "SELECT by = CURRENT_USER FROM sms_opt_out WHERE mobile = '989120000004'"), 't',
	'an update is brought to canonical form, too');

#
# Who gets a message
#

my $all  = qr/the recipient has opted out/;
my $line = qr/the recipient has opted out of line $ours/;
my @kept = queue_until($node, 'suppressed', [ 'a', 'b' ], mobile => '09120000001');
my ($row) = read_rows($node, "id = $kept[0]");
like($row->{error}, qr/^$all$/, 'suppressed whatever the line');
queue_until($node, 'suppressed', 'c', mobile => '09120000001', line => $other, line2 => $ours);
queue_until($node, 'suppressed', 'd', mobile => '09120000001', type => 2);
my $kept = queue_until($node, 'suppressed', 'e', mobile => '09120000002');
like(run_sql($node, "SELECT sms3300_explain($kept)"),
	qr/^suppressed at .*: $line; sms3300_resend\($kept\) queues it again$/, 'suppressed on that line');
queue_until($node, 'suppressed', 'f', mobile => '09120000002', line => $ours, type => 0);
queue_until($node, 'sent', 'another line', mobile => '09120000002', line => $other);
queue_until($node, 'sent', 'line2', mobile => '09120000002', line2 => $other);
queue_until($node, 'sent', 'Chelcheleh', mobile => '09120000002', type => 1);
queue_until($node, 'sent', 'service line as backup', mobile => '09120000002', line => $ours, type => 2);
queue_until($node, 'sent', 'service line alone', mobile => '09120000002', type => 2);
queue_until($node, 'sent', 'opted out of another line', mobile => '09120000004');
alter_account($node, line2 => $other);
run_sql($node, "SELECT sms3300_resend($kept)");
wait_for_status($node, $kept, 'sent');
pass('sent again, by a fallback of the account');
alter_account($node, line2 => undef);

my $later = queue($node, 'later', mobile => '09120000001', send_after => \"now() + interval '1 day'");
like(run_sql($node, "SELECT reason FROM sms_report WHERE id = $later"), qr/^it will be suppressed: $all$/, 'the report says it before');
run_sql($node, "SELECT sms3300_cancel($later)");
like(error_of("SELECT sms3300_send_now('09120000002', 'now')"),
	qr/55000: a rule of account "sms3300" forbids the message: $line/, 'send_now is refused');
run_sql($node, "SELECT sms3300_send_now('09120000002', 'now', line2 => '$other')");
is_taken($gateway, 'now', 1, 'send_now with a fallback is sent');

my $before = probes();
queue_until($node, 'sent', \"'probe ' || n", n => 50, mobile => '09125555555');
is(probes() - $before, 50, 'one index probe a claim');


#
# The list changes while messages are under way
#

my $held = queue_until_taken($node, $gateway, '#hold', mobile => '09126666666');
my $waits = queue($node, 'behind', mobile => '09126666666', send_after => \"now() + interval '2 s'");
run_sql($node, "INSERT INTO sms_opt_out (mobile) VALUES ('09126666666')");
$gateway->release;
wait_for_statuses($node, [ $held, $waits ], 'sent 1, suppressed 1');
is(statuses($node, [$held]), 'sent 1', 'what is on the wire is sent, what is queued is not');
run_sql($node, "DELETE FROM sms_opt_out WHERE mobile = '989126666666'; SELECT sms3300_resend($waits)");
wait_for_status($node, $waits, 'sent');

# A list that is being replaced holds up messages, and is then obeyed.
my $session = $node->background_psql('postgres');
$session->query_safe("BEGIN; LOCK TABLE sms_opt_out; INSERT INTO sms_opt_out (mobile) VALUES ('09127777777')");
my @both = map { queue($node, 'while it is replaced', mobile => $_) } '09127777777', '09127777778';
wait_for_sql($node, 'postgres', 'SELECT state FROM sms3300_stat_worker', 'blocked');
$session->query_safe('COMMIT');
$session->quit;
wait_for_statuses($node, \@both, 'sent 1, suppressed 1');
is(statuses($node, [ $both[0] ]), 'suppressed 1', 'a list that is replaced is read when it is complete');

# That the list was empty when a claim failed is not believed after that, here by what a
# trigger asks when the worker records a result.
run_sql($node, <<'END');
TRUNCATE sms_opt_out;
CREATE TABLE answers AS SELECT sms3300_explain(0) AS answer LIMIT 0;
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not today'; END $$;
CREATE TRIGGER fail BEFORE UPDATE ON sms_outbox FOR EACH ROW
	WHEN (NEW.status = 'sending' AND NEW.message = 'cannot be claimed') EXECUTE FUNCTION fail();
ALTER TABLE sms_outbox ENABLE ALWAYS TRIGGER fail;
CREATE FUNCTION ask() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.sms_opt_out (mobile) VALUES ('09126666660');
	INSERT INTO public.answers SELECT public.sms3300_explain(id) FROM public.sms_outbox WHERE mobile = '989126666660';
	RETURN NULL;
END $$;
CREATE TRIGGER ask AFTER UPDATE ON sms_outbox FOR EACH ROW
	WHEN (NEW.status = 'sent' AND NEW.mobile = '989126666661') EXECUTE FUNCTION ask();
END
my $about = queue($node, 'asked about', mobile => '09126666660', send_after => \"now() + interval '1 day'");
my $asks  = queue_until_taken($node, $gateway, '#hold', mobile => '09126666661');
my $fails = queue($node, 'cannot be claimed', mobile => '09126666662');
wait_for_log($node, qr/a transaction on sms_outbox failed: not today/);
$gateway->release;
wait_for_status($node, $asks, 'sent');
like(run_sql($node, 'SELECT answer FROM answers'), qr/^queued: it will be suppressed: $all$/,
	'a list that was empty when a claim failed');
run_sql($node, "DROP FUNCTION fail(), ask() CASCADE; DELETE FROM sms_opt_out; SELECT sms3300_cancel($about)");
wait_for_status($node, $fails, 'sent');

# A campaign: one in twenty has opted out before it, and one in a hundred does so when it is
# half done, where the gateway holds its answers so that no further message is claimed.
my $n         = $ENV{SMS3300_CAMPAIGN} // 2000;
my $in_flight = $n > 10_000 ? 64 : 4;
my $half      = $n / 2 + 10;
my $on        = $half + int 1.1 * $in_flight + 2;
run_sql($node, <<"END");
CREATE TABLE customers AS SELECT n, '98935' || to_char(n, 'fm0000000') AS mobile FROM generate_series(1, $n) AS n;
INSERT INTO sms_opt_out (mobile, reason) SELECT mobile, 'before' FROM customers WHERE n % 20 = 0;
END
alter_account($node, max_in_flight => $in_flight);
run_sql($node, <<"END");
INSERT INTO sms_outbox (mobile, message)
SELECT mobile, CASE WHEN n BETWEEN $half AND $on THEN '#hold ' ELSE '' END || 'campaign ' || n FROM customers ORDER BY n
END
my $campaign = "sms_outbox JOIN customers USING (mobile) LEFT JOIN sms_opt_out USING (mobile) WHERE message LIKE '%campaign %'";
my $left;
wait_until(
	sub {
		$left = count_rows($node, "status = 'queued'");
		return count_rows($node, "status = 'sending' AND message LIKE '#hold campaign %'") == $in_flight;
	},
	'the middle of the campaign', sub { $left });
run_sql($node, "INSERT INTO sms_opt_out (mobile, reason) SELECT mobile, 'during' FROM customers WHERE n % 100 = 1");
my $at = run_sql($node, 'SELECT extract(epoch FROM clock_timestamp())');
wait_until(
	sub { $gateway->release; return !($left = count_rows($node, "status IN ('queued', 'sending')")) },
	'the end of the campaign', sub { $left });

is(run_sql($node, "SELECT reason, status, count(*) FROM $campaign GROUP BY 1, 2 ORDER BY 1, 2"), join("\n",
		'before|suppressed|' . $n / 20, 'during|sent|' . ($n / 200 + 1), 'during|suppressed|' . ($n / 200 - 1),
		'|sent|' . ($n - $n / 20 - $n / 100)),
	'a campaign: who opted out before the claim got nothing, and all others got it');
my %out = map { split /\|/ } split /\n/, run_sql($node, 'SELECT mobile, reason FROM sms_opt_out');
my @against = grep { my $reason = $out{ $_->{fields}{mobile} }; $reason && ($reason eq 'before' || $_->{at} > $at) }
  grep { $_->{fields}{message} =~ /campaign / } $gateway->log;
is(scalar @against, 0, 'a campaign: nor did the gateway get anything for them');
alter_account($node, max_in_flight => undef);

#
# What the gateway tells
#

run_sql($node, 'DELETE FROM sms_opt_out');
queue_until($node, 'rejected', '#status 27', mobile => '09128888880');
is(entries(), '', 'nothing is recorded without the option');
alter_account($node, record_opt_outs => 'true');
queue_until($node, 'rejected', '#status 33', mobile => '09128888881');
queue_until($node, 'rejected', '#status 27', mobile => '09128888882', line => $other, line2 => $ours);
queue_until($node, 'rejected', '#status 27', mobile => '09128888883', type => 2);
queue_until($node, 'rejected', '#status 1',  mobile => '09128888884');
queue_until($node, 'rejected', '#status 27', mobile => '09128888882', line => $other, type => 1);
is(entries(), "989128888881|$ours|33|gateway\n989128888882|$other|27|gateway", 'codes 27 and 33 are recorded with the line, once');
queue_until($node, 'suppressed', 'no more', mobile => '09128888881');

# An entry that cannot be made does not keep the result from being recorded.
run_sql($node, "ALTER TABLE sms_opt_out ADD CHECK (mobile <> '989128888885')");
my $refused = queue_until($node, 'rejected', '#status 33', mobile => '09128888885');
wait_for_log($node, qr/the recipient of message $refused has opted out, but could not be recorded in sms_opt_out: new row .* violates check constraint/);
queue_until($node, 'sent', 'after that', mobile => '09128888885');

# One that takes too long is undone like any other trigger's work, with the results that were
# written with it: the limit of time is for all of them. Both come while the table is locked.
run_sql($node, <<'END');
CREATE SEQUENCE calls;
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_sleep(CASE nextval('public.calls') WHEN 1 THEN 3600 WHEN 2 THEN 5 ELSE 0 END);
	RETURN NEW;
END $$;
CREATE TRIGGER dawdle BEFORE INSERT ON sms_opt_out FOR EACH ROW EXECUTE FUNCTION dawdle();
END
my @slow = map { queue_until_taken($node, $gateway, '#hold #status 33', mobile => $_) } '09128888886', '09128888887';
my $lock = $node->background_psql('postgres', on_error_stop => 1);
my $pid  = worker_pid($node);
$lock->query_safe('BEGIN; LOCK TABLE sms_outbox IN SHARE MODE');
$gateway->release;
wait_for_sql($node, 'postgres', 'SELECT in_flight FROM sms3300_stat_worker', 0);
unlock($lock);
wait_for_status($node, \@slow, 'rejected');
is(worker_pid($node), $pid, 'a trigger on the list that takes too long does not end the worker');
is(run_sql($node, q{SELECT count(*) FROM sms_opt_out WHERE mobile IN ('989128888886', '989128888887')}), 2, 'and both are recorded');
run_sql($node, 'DROP FUNCTION dawdle() CASCADE');

#
# Rights
#

run_sql($node, 'CREATE ROLE app LOGIN; CREATE ROLE support LOGIN; GRANT USAGE ON FOREIGN SERVER sms3300 TO app;'
	. 'GRANT SELECT, INSERT, DELETE ON sms_opt_out TO support');
is(run_as($node, 'app', 'SELECT count(*) FROM sms_opt_out'), '42501', 'the list is not for everybody');
is(run_as($node, 'app', "INSERT INTO sms_opt_out (mobile) VALUES ('09123456789')"), '42501', 'nor can everybody add to it');
is(run_as($node, 'support', "INSERT INTO sms_opt_out (mobile) VALUES ('09129999999') RETURNING by"), 'support',
	'who it is granted to can');

# Who made an entry is not for them to say. MERGE is not in PostgreSQL 14.
run_sql($node, 'GRANT UPDATE ON sms_opt_out TO support; CREATE VIEW list AS SELECT * FROM sms_opt_out; GRANT ALL ON list TO support;'
	. "ALTER TABLE sms_opt_out ALTER by SET DEFAULT 'default'");
my $made = q{SELECT string_agg(DISTINCT by, ',') FROM sms_opt_out WHERE mobile = '989129999990'};
my $give = q{sms_opt_out (mobile, by) VALUES ('09129999990', 'boss')};
my $again = 'ON CONFLICT (mobile, (COALESCE(line, $$$$))) DO UPDATE';
my %forgery = (
	'INSERT'                => "INSERT INTO $give",
	'a default'             => q{INSERT INTO sms_opt_out (mobile) VALUES ('09129999990')},
	'INSERT into a view'    => q{INSERT INTO list (mobile, by) VALUES ('09129999990', 'boss')},
	'UPDATE'                => "INSERT INTO $give; UPDATE sms_opt_out SET by = 'boss'",
	'UPDATE of the reason'  => 'UPDATE sms_opt_out SET reason = $$x$$',
	'ON CONFLICT'           => "INSERT INTO $give $again SET by = 'boss'",
	'ON CONFLICT, excluded' => "INSERT INTO $give $again SET by = excluded.by",
	'COPY'                  => "COPY sms_opt_out (mobile, by) FROM stdin;\n09129999990\tboss\n\\.\n",
);
$forgery{MERGE} = q{MERGE INTO sms_opt_out USING (VALUES ('989129999990')) AS v (m) ON mobile = m}
  . q{ WHEN MATCHED THEN UPDATE SET by = 'boss' WHEN NOT MATCHED THEN INSERT (mobile, by) VALUES (m, 'boss')}
  if $node->pg_version >= 15;
for my $how (sort keys %forgery)
{
	run_sql($node, q{DELETE FROM sms_opt_out WHERE mobile = '989129999990'});
	run_sql($node, q{INSERT INTO sms_opt_out (mobile, by) VALUES ('09129999990', 'alice')}) if $how =~ /CONFLICT|MERGE|of the/;
	$node->safe_psql('postgres', "SET ROLE support;\n$forgery{$how}");
	is(run_sql($node, $made), 'support', "by cannot be forged: $how");
}
run_sql($node, 'DELETE FROM sms_opt_out; ALTER TABLE sms_opt_out ALTER by SET DEFAULT CURRENT_USER; DROP VIEW list');
$node->safe_psql('postgres', "COPY sms_opt_out (mobile, by) FROM stdin;\n09129999990\tformer\n\\.\n");
is(run_sql($node, $made), 'former', 'the owner keeps it when entries are restored');
my $owner = run_sql($node, 'SELECT CURRENT_USER');
is(run_sql($node, "UPDATE sms_opt_out SET reason = 'x' RETURNING by"), $owner, 'an update by the owner names the owner');
is(run_sql($node, q{UPDATE sms_opt_out SET by = 'another' RETURNING by}), 'another', 'unless the owner sets another role');
run_sql($node, q{INSERT INTO sms_opt_out (mobile) VALUES ('09129999999')});
queue_until($node, 'suppressed', 'of another role', role => 'app', mobile => '09129999999');
is(run_as($node, 'app', "SELECT sms3300_send_now('09129999999', 'x')"), '55000', 'it holds for those who cannot read it');
run_sql($node, 'ALTER TABLE sms_opt_out ENABLE ROW LEVEL SECURITY; ALTER TABLE sms_opt_out FORCE ROW LEVEL SECURITY');
queue_until($node, 'suppressed', 'in spite of policies', mobile => '09129999999');

done_testing();
