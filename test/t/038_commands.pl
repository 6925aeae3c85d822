
# To see a message is not to command it. Only its sender, the owner of the table and
# superusers cancel and resend it; "events" tells who did what.

use strict;
use warnings;

use JSON::PP qw(decode_json);
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main');
create_account($node, 'postgres', url => $gateway->url, line => '983000330000', paused => 'true');
run_sql($node, <<'END');
CREATE ROLE alice LOGIN;
CREATE ROLE deputy LOGIN IN ROLE alice;
CREATE ROLE auditor LOGIN BYPASSRLS;
CREATE ROLE desk LOGIN;
CREATE ROLE reports LOGIN IN ROLE pg_read_all_data;
CREATE ROLE clerk LOGIN IN ROLE pg_read_all_data, pg_write_all_data;
CREATE ROLE owner LOGIN;
CREATE ROLE leaver LOGIN;
GRANT USAGE ON FOREIGN SERVER sms3300 TO alice, auditor, desk, reports, clerk, owner, leaver;
CREATE POLICY desk ON sms_outbox FOR SELECT TO desk USING (true);
ALTER TABLE sms_outbox OWNER TO owner;
END

# Expect what a role gets, or the SQLSTATE of its error.
sub may
{
	my ($role, $sql, $expected, $what) = @_;
	return is(run_as($node, $role, $sql), $expected, "$role: $what");
}

# Return what was done to a message: the actions, and by whom.
sub done_to
{
	my ($id) = @_;
	my ($row) = read_rows($node, "id = $id");
	return join ', ', map { "$_->{action} by $_->{by}" } @{ $row->{events} };
}

# Those who see it, and no more.
my $queued    = queue($node, 'queued',    role => 'alice');
my $cancelled = queue($node, 'cancelled', role => 'alice');
may('alice', "SELECT sms3300_cancel($cancelled)", 't', 'cancels her own');
for my $role (qw(auditor desk reports clerk))
{
	may($role, 'SELECT string_agg(message, \' \' ORDER BY id) FROM sms_outbox', 'queued cancelled', 'sees all');
	may($role, 'SELECT count(*) FROM sms_report', 2, 'sees all in the report');
	may($role, "SELECT sms3300_explain($cancelled) ~ '^cancelled at'", 't', 'asks why');
	may($role, "SELECT sms3300_cancel($queued)",    42501, 'may not cancel');
	may($role, "SELECT sms3300_cancel($cancelled)", 42501, 'may not cancel what is finished');
	may($role, "SELECT sms3300_resend($cancelled)", 42501, 'may not resend');
	may($role, "SELECT sms3300_cancel(0)", 'f', 'cancels nothing that does not exist');
}
is(run_sql($node, 'SELECT string_agg(status::text, \' \' ORDER BY id) FROM sms_outbox'),
	'queued cancelled', 'nothing was changed');
my (undef, undef, $error) = $node->psql('postgres', "SELECT sms3300_cancel($queued)", extra_params => [ '-U', 'desk' ]);
like($error, qr/permission denied for message $queued\nDETAIL:  Role "alice" queued it\.\nHINT:  .*SET ROLE/, 'the error says whose it is');

# A member of the sender's role sees nothing, and commands by SET ROLE.
may('deputy', "SELECT sms3300_cancel($queued)", 'f', 'is not the sender');
may('deputy', "SET ROLE alice; SELECT sms3300_cancel($queued)", 't', 'is the sender after SET ROLE');
may('alice', "SELECT sms3300_resend($queued)", 't', 'resends her own');

# The owner and superusers.
may('owner', "SELECT sms3300_cancel($queued), sms3300_resend($queued)", 't|t', 'cancels and resends');
is(run_sql($node, "SELECT sms3300_cancel($queued), sms3300_resend($queued)"), 't|t', 'so does a superuser');
is(done_to($queued),
	'cancel by alice, resend by alice, cancel by owner, resend by owner, cancel by postgres, resend by postgres',
	'the events tell who did what');
is(run_sql($node, <<"END"), 'at by action note|t', 'an event has these members');
SELECT string_agg(k, ' ' ORDER BY n), bool_and((events -> 0 ->> 'at')::timestamptz BETWEEN created_at AND clock_timestamp())
FROM sms_outbox, unnest('{at,by,action,note}'::text[]) WITH ORDINALITY AS u (k, n)
WHERE id = $queued AND events -> 0 ? k
END

# Resending needs the sender's USAGE, whoever asks.
my $left = queue($node, 'left', role => 'leaver');
is(run_sql($node, "SELECT sms3300_cancel($left)"), 't', 'a superuser cancels');
run_sql($node, 'REVOKE USAGE ON FOREIGN SERVER sms3300 FROM alice, leaver');
may('alice', "SELECT sms3300_resend($cancelled)", 42501, 'may not resend without USAGE');
may('owner', "SELECT sms3300_resend($cancelled)", 42501, 'may not resend for a sender without USAGE');
(undef, undef, $error) = $node->psql('postgres', "SELECT sms3300_resend($cancelled)");
like($error, qr/permission denied for account "sms3300"\nDETAIL:  Role "alice" has no USAGE/, 'nor does a superuser');
run_sql($node, 'DROP OWNED BY leaver; DROP ROLE leaver');
(undef, undef, $error) = $node->psql('postgres', "SELECT sms3300_resend($left)");
like($error, qr/permission denied to resend message $left\nDETAIL:  Role "leaver".*does not exist/, 'nor for a sender that is gone');
is(statuses($node, [ $cancelled, $left ]), 'cancelled 2', 'none was queued again');
run_sql($node, 'GRANT USAGE ON FOREIGN SERVER sms3300 TO alice');

# Many, in one statement: those of the caller are counted.
run_sql($node, 'DELETE FROM sms_outbox');
run_sql($node, <<'END');
CREATE TABLE statements (n int);
CREATE FUNCTION note_statement() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
	AS $$ BEGIN
		INSERT INTO public.statements SELECT 1 FROM pg_stat_activity
		WHERE pid = pg_backend_pid() AND backend_type = 'client backend';
		RETURN NULL;
	END $$;
CREATE TRIGGER note AFTER UPDATE ON sms_outbox EXECUTE FUNCTION note_statement();
END
my @many = queue($node, \"'many ' || n", role => 'alice', n => 100);
my @desks = queue($node, \"'desk ' || n", role => 'desk', n => 10);
my $all = 'ARRAY(SELECT id FROM sms_outbox ORDER BY id) || ARRAY[0, NULL]::bigint[]';
may('reports', "SELECT sms3300_cancel_many($all)", 0, 'cancels none of many');
may('desk', "SELECT sms3300_cancel_many($all)", 10, 'cancels its own among all');
may('alice', 'SELECT sms3300_cancel_many(ARRAY[' . join(', ', @desks, (@many) x 2) . '])', 100, 'cancels her own, once');
may('alice', "SELECT sms3300_cancel_many($all)", 0, 'cancels them once');
is(statuses($node, [ @many, @desks ]), 'cancelled 110', 'all are cancelled');
is(done_to($many[0]), 'cancel by alice', 'the events tell of it');
run_sql($node, "UPDATE sms_outbox SET message = NULL WHERE id = $many[0]; REVOKE USAGE ON FOREIGN SERVER sms3300 FROM desk");
may('auditor', "SELECT sms3300_resend_many($all)", 0, 'resends none of many');
may('desk', "SELECT sms3300_resend_many($all)", 0, 'resends none without USAGE');
run_sql($node, 'TRUNCATE statements');
is(run_sql($node, "SELECT sms3300_resend_many($all)"), 99, 'what has a text and a sender with USAGE is queued again');
cmp_ok(run_sql($node, 'SELECT count(*) FROM statements'), '<=', 3, 'by few statements, which are not as many as the messages');
is(run_sql($node, "SELECT sms3300_resend_many($all)"), 0, 'once');
is(run_sql($node, "SELECT sms3300_cancel_many('{}'), sms3300_cancel_many(NULL), sms3300_resend_many('{}')"), '0||0', 'nothing at all');
may('owner', "SELECT sms3300_cancel_many($all)", 99, 'cancels all that is queued');
is(done_to($many[1]), 'cancel by alice, resend by postgres, cancel by owner', 'the events tell of many');
run_sql($node, 'DROP FUNCTION note_statement() CASCADE; GRANT USAGE ON FOREIGN SERVER sms3300 TO desk');

# A stopped account tries again at once, for those who may alter it.
run_sql($node, <<'END');
CREATE ROLE keeper LOGIN;
GRANT USAGE ON FOREIGN DATA WRAPPER sms3300 TO keeper;
ALTER SERVER sms3300 OWNER TO keeper;
END
alter_account($node, paused => 'false');
wait_for_end($node);
my $text = '#http 503 retry-after=3600';
my $refused = queue($node, $text);
wait_for_sql($node, 'postgres', "SELECT state = 'stopped' AND next_probe_at > now() + interval '50 min' FROM sms3300_stat_account");
my $tries = $gateway->taken($text);
may('alice', "SELECT sms3300_retry('sms3300')", 42501, 'may not retry');
may('alice', "SELECT sms3300_retry('nothing')", 42704, 'retries no account that there is not');
may('alice', 'SELECT sms3300_retry()', '', 'retries all of her accounts, none');
for my $call (q{sms3300_retry('sms3300')}, 'sms3300_retry()')
{
	run_as($node, 'keeper', "SELECT $call");
	$tries++;
	wait_until(sub { $gateway->taken($text) >= $tries }, "$call to try again");
	wait_for_sql($node, 'postgres',
		"SELECT state = 'stopped' AND next_probe_at > now() + interval '50 min' FROM sms3300_stat_account");
	is(scalar $gateway->taken($text), $tries, "$call tries at once, and once");
}
run_sql($node, "SELECT sms3300_cancel($refused)");
run_sql($node, 'DELETE FROM sms_outbox');

# The last 50 events are kept.
alter_account($node, paused => 'true');
$queued = queue($node, 'often');
run_sql($node, <<"END");
SELECT sms3300_cancel($queued), sms3300_resend($queued) FROM generate_series(1, 30);
SELECT sms3300_cancel($queued);
END
my ($row) = read_rows($node, "id = $queued");
is(scalar @{ $row->{events} }, 50, 'the last 50 events are kept');
is($row->{events}[-1]{action}, 'cancel', 'the newest is among them');

$node->stop;
done_testing();
