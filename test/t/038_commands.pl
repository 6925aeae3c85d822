
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

# The last 50 events are kept.
run_sql($node, <<"END");
SELECT sms3300_cancel($queued), sms3300_resend($queued) FROM generate_series(1, 30);
SELECT sms3300_cancel($queued);
END
my ($row) = read_rows($node, "id = $queued");
is(scalar @{ $row->{events} }, 50, 'the last 50 events are kept');
is($row->{events}[-1]{action}, 'cancel', 'the newest is among them');

$node->stop;
done_testing();
