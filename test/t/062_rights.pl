
# A role cannot read, change or send anything that belongs to another role.
# 024_privileges.pl tests the ordinary cases.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main');
my $number  = '09123456789';
my %account = (url => $gateway->url, line => '983000330000', paused => 'true');
create_account($node, 'postgres', %account);
create_account($node, 'postgres', %account, account => 'dear', username => 'dear');
run_sql($node, <<'END');
CREATE ROLE alice LOGIN;
CREATE ROLE bob LOGIN;
CREATE ROLE guest LOGIN IN ROLE pg_monitor;
CREATE ROLE reader LOGIN IN ROLE pg_read_all_data;
CREATE ROLE writer LOGIN IN ROLE pg_read_all_data, pg_write_all_data;
CREATE ROLE clerk LOGIN BYPASSRLS;
GRANT UPDATE ON sms_outbox TO clerk;
GRANT USAGE ON FOREIGN SERVER sms3300 TO alice, bob, guest, clerk;
GRANT CREATE ON SCHEMA public TO alice, bob, guest;
END

# Expect what a role gets to see, or the SQLSTATE of its error.
sub may
{
	my ($role, $sql, $expected, $what) = @_;
	return is(run_as($node, $role, $sql), $expected, "$role: $what");
}

# Queue a message as a role, and return its id.
sub send_as
{
	my ($role, $message) = @_;
	return run_as($node, $role, "SELECT sms3300_send('$number', '$message')");
}

# Let the accounts send, or not.
sub pause
{
	my ($paused) = @_;
	return run_sql($node, join '', map { "ALTER SERVER $_ OPTIONS (SET paused '$paused');" } qw(sms3300 dear));
}

# Return the texts that were sent, and by whose credentials.
sub sent
{
	return map { "$_->{fields}{message} by $_->{fields}{username}" } $gateway->log;
}

# ---------------------------------------------------------------------------
# Looking
# ---------------------------------------------------------------------------

my $secret = send_as('alice', 'the code of alice');
my %own    = map { $_ => send_as($_, "by $_") } qw(bob guest);
run_sql($node, <<'END');
SET ROLE alice;
CREATE VIEW alices AS SELECT message FROM sms_outbox;
RESET ROLE;
CREATE VIEW everybodys AS SELECT message FROM sms_outbox;
GRANT SELECT ON alices, everybodys TO PUBLIC;
ANALYZE sms_outbox;
END
for my $role (qw(bob guest))
{
	my $mine = "by $role";
	may($role, 'SELECT message FROM sms_outbox', $mine, 'the table');
	may($role, 'SELECT message FROM sms_report', $mine, 'the report');
	may($role, 'COPY sms_outbox (message) TO STDOUT', $mine, 'COPY');
	may($role, 'BEGIN; DECLARE c CURSOR FOR TABLE sms_outbox; MOVE ALL c; CLOSE c; SELECT 1',
		1, 'a cursor');
	may($role, "SELECT count(*) FROM sms_outbox WHERE id = $secret", 0, 'by id');
	may($role, "SELECT sms3300_explain($secret)", 'no such message is visible to the current role',
		'explain');
	may($role, "SELECT sms3300_cancel($secret), sms3300_resend($secret)", 'f|f', 'cancel and resend');
	may($role, 'SELECT message FROM alices', $mine, 'a view of another role');
	may($role, q{SELECT count(*) FROM pg_stats WHERE tablename = 'sms_outbox'}, 0, 'statistics');

	# What a condition of the caller's own is given, it may tell.
	my (undef, undef, $told) = $node->psql('postgres', <<"END", extra_params => [ '-U', $role ], on_error_stop => 0);
CREATE FUNCTION pg_temp.tell(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
	AS \$\$ BEGIN RAISE NOTICE 'seen: %', \$1; RETURN true; END \$\$;
CREATE OPERATOR pg_temp.<~ (FUNCTION = pg_temp.tell, RIGHTARG = text);
SELECT count(*) FROM sms_outbox WHERE pg_temp.tell(message);
SELECT count(*) FROM sms_outbox WHERE OPERATOR(pg_temp.<~) message;
SELECT count(*) FROM sms_report WHERE pg_temp.tell(message);
SELECT count(*) FROM sms_outbox WHERE message::integer = 1;
SELECT count(*) FROM sms_report WHERE message::integer = 1;
END
	my @seen = $told =~ /(?:seen: |: ")([^"\n]+)/g;
	is_deeply(\@seen, [ ($mine) x 5 ], "$role: conditions see no other row");
}

# PostgreSQL's own rule: a view shows what its owner may see, unless it is made
# to show what the caller may; and pg_read_all_data reads catalogs.
may('bob', q{SELECT count(*) FROM everybodys WHERE message = 'the code of alice'}, 1, 'a view of a superuser');
if ($node->pg_version >= 15)
{
	run_sql($node, 'ALTER VIEW everybodys SET (security_invoker = true)');
	may('bob', 'SELECT message FROM everybodys', 'by bob', 'a view with security_invoker');
}
may('reader', 'SELECT count(*) FROM pg_user_mapping WHERE umoptions IS NOT NULL', 2, 'mappings');
may('bob', 'SELECT count(*) FROM pg_user_mapping', 42501, 'mappings');

# So is who sees the options of a mapping: its own role, if it may use the server, and the
# server's owner for PUBLIC's. He also says where they are sent.
my $elsewhere = new_gateway();
create_account($node, 'postgres', url => $gateway->url, line => '983000330000', account => 'carols', password => 'for all');
run_sql($node, <<'END');
CREATE ROLE carol LOGIN;
GRANT USAGE ON FOREIGN DATA WRAPPER sms3300 TO carol;
ALTER SERVER carols OWNER TO carol;
CREATE USER MAPPING FOR bob SERVER carols OPTIONS (username 'bob', password 'own');
END
my $options = q{SELECT string_agg(o, ' ' ORDER BY o) FROM pg_user_mappings, unnest(umoptions) AS o};
may('carol', $options, 'password=for all username=user', 'the mapping for all of her own server');
may('bob', $options, '', 'own mapping without USAGE');
run_sql($node, 'GRANT USAGE ON FOREIGN SERVER carols TO bob');
may('bob', $options, 'password=own username=bob', 'own mapping');
run_sql($node, 'DROP USER MAPPING FOR bob SERVER carols');
run_as($node, 'carol', 'ALTER SERVER carols OPTIONS (SET url ' . quote($elsewhere->url) . ')');
run_as($node, 'bob', "SELECT sms3300_send_now('$number', 'x', account => 'carols')");
is(join(' ', map { $_->{fields}{password} } $elsewhere->log), 'for all', 'a password goes where the owner of its server says');
run_sql($node, 'DROP SERVER carols CASCADE');

# A function that runs as its owner acts on its owner's messages.
my $dear = send_as('alice', 'to cancel');
run_sql($node, <<'END');
SET ROLE alice;
CREATE FUNCTION take_back(bigint) RETURNS boolean LANGUAGE sql SECURITY DEFINER
	AS $$ SELECT sms3300_cancel($1) $$;
END
may('bob', "SELECT take_back($own{bob}), take_back($dear)", 'f|t', 'by a function of another role');

# ---------------------------------------------------------------------------
# Writing
# ---------------------------------------------------------------------------

# pg_write_all_data bypasses neither USAGE nor the sender.
my $origin = run_sql($node, "SELECT origin FROM sms_outbox WHERE id = $secret");
my $insert = 'INSERT INTO sms_outbox (mobile, message, account, sender, send_before, due_at, origin) VALUES'
  . " ('$number', 'forged', 'dear', '%s', 'infinity', '-infinity', %s)";
for my $role (qw(writer clerk))
{
	run_sql($node, 'GRANT INSERT ON sms_outbox TO clerk') if $role eq 'clerk';
	may($role, sprintf($insert, $role,   'NULL'),  42501, 'a message without USAGE');
	may($role, sprintf($insert, $role,   $origin), 42501, 'a finished row with the origin of this database');
	may($role, sprintf($insert, $role,   1),       42501, 'a finished row with another origin');
	may($role, sprintf($insert, 'alice', 1),       42501, 'a finished row in the name of another');
}
may('writer', 'SELECT sms3300_adopt()', 42501, 'adopts nothing');
run_sql($node, 'GRANT USAGE ON FOREIGN SERVER sms3300 TO writer');
for my $forged ([ sender => q('alice') ], [ due_at => q('-infinity') ], [ attempts => 3 ], [ status => q('sent') ])
{
	my ($column, $value) = @$forged;
	may('writer', "INSERT INTO sms_outbox (mobile, message, $column) VALUES ('$number', 'forged', $value)",
		'428C9', "a forged $column");
}
may('writer', <<"END", "writer|t|queued", 'columns of the extension by default');
INSERT INTO sms_outbox (mobile, message, sender, due_at, attempts) VALUES ('$number', 'by writer', DEFAULT, NULL, 0)
RETURNING sender, due_at = send_after, status
END
for my $sql (
	q{UPDATE sms_outbox SET account = 'dear'},
	q{UPDATE sms_outbox SET message = 'forged'},
	q{UPDATE sms_outbox SET sender = 'bob'},
	q{UPDATE sms_outbox SET priority = 9},
	'DELETE FROM sms_outbox')
{
	may('writer', "$sql RETURNING id", '', $sql);
}
may('writer', <<"END", 42501, 'ON CONFLICT DO UPDATE');
INSERT INTO sms_outbox (mobile, message, dedup_key) VALUES ('$number', 'by writer', 'k');
INSERT INTO sms_outbox (mobile, message, dedup_key) VALUES ('$number', 'x', 'k')
ON CONFLICT (sender, dedup_key, (CASE WHEN dedup_released THEN id ELSE 0 END)) WHERE dedup_key IS NOT NULL DO UPDATE SET message = 'forged'
END
may('writer', 'TRUNCATE sms_outbox', 42501, 'TRUNCATE');

# Default privileges of a superuser's new tables do not apply to the extension's tables.
run_sql($node, 'CREATE DATABASE generous');
is(run_sql($node, <<'END', 'generous'), 'sms_outbox|SELECT', 'rights of everybody where default privileges give all');
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC;
CREATE EXTENSION sms3300;
SELECT relname, privilege FROM pg_class,
	unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS privilege
WHERE relname IN ('sms_outbox', 'sms3300_stat_account', 'sms3300_stat_worker')
	AND has_table_privilege('public', pg_class.oid, privilege)
END

# A trigger of the table's owner comes after the extension's: it changes nobody's sender.
run_sql($node, <<'END');
CREATE FUNCTION as_alice() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.sender = 'alice'; RETURN NEW; END $$;
CREATE TRIGGER z BEFORE INSERT ON sms_outbox FOR EACH ROW EXECUTE FUNCTION as_alice();
END
may('bob', "SELECT sms3300_send('$number', 'forged')", 42501, 'in the name of another, by a trigger');
may('bob', "INSERT INTO sms_outbox (mobile, message) VALUES ('$number', 'forged')", 42501, 'a forged row, without RETURNING');
run_sql($node, 'DROP FUNCTION as_alice() CASCADE');

# A role that may change messages cannot send with an account that it may not use.
may('clerk', "UPDATE sms_outbox SET account = 'dear' WHERE id = $secret", 42501, 'another account');
may('clerk', "UPDATE sms_outbox SET priority = 1 WHERE id = $secret RETURNING sender", 'alice', 'the same one');
run_sql($node, 'REVOKE USAGE ON FOREIGN SERVER sms3300 FROM clerk');
may('clerk', "UPDATE sms_outbox SET message = 'forged' WHERE id = $secret", 42501, 'without USAGE');

# The owner of the table, and superusers, may bring messages back.
run_sql($node, <<"END");
INSERT INTO sms_outbox (mobile, message, account, sender, send_before, due_at, origin)
VALUES ('989123456789', 'restored', 'dear', 'bob', 'infinity', now(), $origin);
CREATE ROLE owner LOGIN;
ALTER TABLE sms_outbox OWNER TO owner;
END
run_as($node, 'owner', sprintf($insert, 'alice', 1) =~ s/forged/by owner/r);
is(count_rows($node, "origin <> $origin"), 2, 'what is restored waits');
may('owner', "UPDATE sms_outbox SET priority = 2 WHERE id = $secret RETURNING sender", 'alice', 'changes a message without USAGE');
run_sql($node, 'ALTER TABLE sms_outbox OWNER TO CURRENT_USER');

pause('false');
wait_for_sql($node, 'postgres',
	"SELECT count(*) FROM sms_outbox WHERE status IN ('queued', 'sending') AND origin = $origin", 0);
is_deeply([ sort(sent()) ],
	[ map { "$_ by user" } 'by bob', 'by guest', 'by writer', 'by writer', 'the code of alice' ],
	'what was sent, and by what credentials');

# ---------------------------------------------------------------------------
# Rights and roles that go
# ---------------------------------------------------------------------------

# USAGE is asked for when a message is queued, also in a session that has sent before,
# and not again.
pause('true');
my $session = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'alice' ]);
my $before = $session->query(q{PREPARE send AS SELECT sms3300_send('09123456789', 'with USAGE'); EXECUTE send});
run_sql($node, 'REVOKE USAGE ON FOREIGN SERVER sms3300 FROM alice');
unlike($session->query('EXECUTE send'), qr/\d/, 'alice: may no longer send in the same session');
like($session->{stderr}, qr/permission denied for account "sms3300"/, 'the error names the account that may not be used');
$session->quit;
may('alice', "SELECT sms3300_send('$number', 'x')",          42501, 'may no longer send');
may('alice', "SELECT sms3300_send_now('$number', 'x')",      42501, 'sms3300_send_now without USAGE');
may('alice', "SELECT sms3300_resend($dear)",                 42501, 'sms3300_resend without USAGE');
may('alice', "SELECT message FROM sms_outbox WHERE id = $before", 'with USAGE', 'sees what was queued');
pause('false');
wait_for_status($node, $before, 'sent');

# Rows belong to a name. Who has got another one has left them behind, and a new role of
# that name finds them; they are sent with the mapping that the name has then.
pause('true');
run_sql($node, <<'END');
CREATE ROLE erin LOGIN;
CREATE ROLE frank LOGIN;
GRANT USAGE ON FOREIGN SERVER sms3300, dear TO erin, frank;
CREATE USER MAPPING FOR erin SERVER sms3300 OPTIONS (username 'erin', password 'own');
CREATE USER MAPPING FOR frank SERVER sms3300 OPTIONS (username 'frank', password 'own');
CREATE USER MAPPING FOR frank SERVER dear OPTIONS (username 'frank', password 'own');
END
my $renamed = send_as('erin',  'queued as erin');
my $dropped = send_as('frank', 'queued as frank');
my $alone = run_as($node, 'frank', "SELECT sms3300_send('$number', 'alone', account => 'dear')");
run_sql($node, <<'END');
ALTER ROLE erin RENAME TO erica;
DROP OWNED BY frank;
DROP USER MAPPING FOR PUBLIC SERVER dear;
DROP ROLE frank;
END
may('erica', 'SELECT count(*) FROM sms_outbox', 0, 'sees nothing of what she queued');
may('erica', "SELECT sms3300_cancel($renamed)", 'f', 'a renamed role cannot cancel what it queued');
run_sql($node, 'CREATE ROLE erin LOGIN');
may('erin', 'SELECT message FROM sms_outbox', 'queued as erin', 'another role of the name sees it');
pause('false');
wait_for_sql($node, 'postgres', "SELECT error LIKE '%no user mapping%' FROM sms_outbox WHERE id = $alone");
wait_for_sql($node, 'postgres', "SELECT count(*) FROM sms_outbox WHERE id IN ($renamed, $dropped) AND status = 'sent'", 2);
is_deeply([ sort grep { /queued as/ } sent() ], [ 'queued as erin by user', 'queued as frank by user' ],
	'what a role has left is sent with the mapping for all');
run_sql($node, <<'END');
CREATE ROLE frank;
CREATE USER MAPPING FOR frank SERVER dear OPTIONS (username 'frank the second', password 'own');
END
wait_for_status($node, $alone, 'sent');
is((sent())[-1], 'alone by frank the second', "a message is sent with the mapping of a new role of its sender's name");

unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC/, 'no process crashed');
$node->stop;
done_testing();
