
# The owner of sms_outbox, who is not a superuser, puts code where planning or running the
# extension's own statements evaluates it. In a session of a superuser or of monitoring it
# runs as the owner, leaves nothing behind, and frees nothing that is in use.

use strict;
use warnings;

use SMS3300;
use Test::More;

my $gateway = new_gateway();
my $node    = new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
my $number  = '09123456789';
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');
run_sql($node, <<"END");
CREATE SERVER other FOREIGN DATA WRAPPER sms3300 OPTIONS (url '@{[ $gateway->url ]}', line '983000330000', rate '7');
CREATE USER MAPPING FOR PUBLIC SERVER other OPTIONS (username 'u', password 'p');
CREATE ROLE owner LOGIN;
CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
CREATE SCHEMA m AUTHORIZATION owner;
GRANT USAGE ON FOREIGN SERVER sms3300, other TO owner;
GRANT USAGE ON SCHEMA m TO PUBLIC;
ALTER TABLE sms_outbox OWNER TO owner;
ALTER TABLE sms3300_history OWNER TO owner;
END

# Do something as the owner.
sub as_owner
{
	my ($sql) = @_;
	return run_as($node, 'owner', $sql);
}

# The owner's code tries to do something wherever a statement on the table is planned (by
# the CHECK of a child) or writes a row (by a trigger), and notes who it was and how it ended.
as_owner(<<'END');
CREATE TABLE m.tried (what text, by_user name, result text);
GRANT INSERT ON m.tried TO PUBLIC;
CREATE TABLE m.wish (what text);
GRANT SELECT ON m.wish TO PUBLIC;
CREATE FUNCTION m.do_it() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	wish text;
	result text;
BEGIN
	FOR wish IN SELECT what FROM m.wish LOOP
		result = 'done';
		BEGIN
			EXECUTE wish;
		EXCEPTION WHEN OTHERS THEN
			result = SQLSTATE;
		END;
		INSERT INTO m.tried VALUES (wish, CURRENT_USER, result);
	END LOOP;
END $$;
CREATE FUNCTION m.evil(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS
'BEGIN PERFORM m.do_it(); RETURN 1; END';
CREATE TABLE m.child (CHECK (m.evil(1) = 1)) INHERITS (public.sms_outbox);
CREATE TABLE m.old (CHECK (m.evil(2) = 1)) INHERITS (public.sms3300_history);
ALTER TABLE public.sms3300_history ADD CHECK (m.evil(3) = 1), ALTER sent TYPE text;
CREATE FUNCTION m.on_update() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN PERFORM m.do_it(); RETURN NEW; END';
CREATE TRIGGER on_update BEFORE UPDATE ON sms_outbox FOR EACH ROW EXECUTE FUNCTION m.on_update();
END

# Call the extension as a role while the owner's code tries something, and test whom it ran
# as and that it failed.
sub is_contained
{
	my ($role, $wish, $sql, $name) = @_;

	run_sql($node, "TRUNCATE m.tried; TRUNCATE m.wish; INSERT INTO m.wish VALUES (\$w\$$wish\$w\$)");
	$node->safe_psql('postgres', $sql, extra_params => [ '-U', $role ]);
	is(run_sql($node, 'SELECT DISTINCT by_user, result FROM m.tried'), 'owner|42501', $name);
	run_sql($node, 'TRUNCATE m.wish');
}

my $id = queue($node, 'later', send_after => 'tomorrow');
my $superuser = 'ALTER ROLE owner SUPERUSER';
is_contained('watcher', $superuser, "SELECT $_ FROM sms3300_stat_account", "$_ of sms3300_stat_account")
  for qw(queued oldest_due_at foreign_rows);
is_contained('postgres', $superuser, "SELECT sms3300_explain($id)", 'sms3300_explain');

# The history is read as its owner, who may also alter its columns.
run_sql($node, "INSERT INTO sms3300_history VALUES ('sms3300', now(), true, '7', 0, 0, 1, 1); TRUNCATE m.tried;"
	. "INSERT INTO m.wish VALUES ('$superuser')");
is(run_as($node, 'watcher', q{SELECT sent FROM sms3300_stat_history WHERE account = 'sms3300' AND sent > 6}), 7, 'the history can be read');
is(run_sql($node, q{SELECT count(*) FROM m.tried WHERE by_user <> 'owner'}), 0, 'sms3300_stat_history');
run_sql($node, 'TRUNCATE m.wish');
for my $wish ($superuser, 'CREATE TEMPORARY VIEW pg_class AS SELECT 1', 'RESET ROLE', 'SET SESSION AUTHORIZATION DEFAULT')
{
	is_contained('postgres', $wish, "SELECT sms3300_cancel($id)", "sms3300_cancel, $wish");
	is_contained('postgres', $wish, "SELECT sms3300_resend($id)", "sms3300_resend, $wish");
	is_contained('postgres', $wish, "SELECT sms3300_cancel_many(ARRAY[$id])", "sms3300_cancel_many, $wish");
	is_contained('postgres', $wish, "SELECT sms3300_resend_many(ARRAY[$id])", "sms3300_resend_many, $wish");
}
is_contained('watcher', $superuser, 'SELECT queued FROM sms3300_stat_mapping', 'queued of sms3300_stat_mapping');
run_sql($node, "UPDATE sms_outbox SET status = 'unknown', due_at = NULL, finished_at = now() WHERE id = $id");
is_contained('postgres', $superuser, "SELECT sms3300_resolve($id, false)", 'sms3300_resolve');
run_sql($node, "SELECT sms3300_resend($id)");
run_sql($node, "UPDATE sms_outbox SET origin = 1 WHERE id = $id");
is_contained('postgres', $superuser, 'SELECT sms3300_adopt()', 'sms3300_adopt');
is(run_sql($node, q{SELECT rolsuper FROM pg_roles WHERE rolname = 'owner'}), 'f', 'the owner is no superuser');

# Nor at the commit, by a deferred trigger of another table.
as_owner(<<'END');
CREATE TABLE m.late (x integer);
CREATE FUNCTION m.at_commit() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN PERFORM m.do_it(); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON m.late DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION m.at_commit();
END
is_contained('postgres', 'INSERT INTO m.late VALUES (1)', "SELECT sms3300_cancel($id)", 'a trigger that is deferred');

# A deferred constraint of the caller's is not checked before the commit because of it.
is(run_sql($node, <<"END"), "t\n1", "the caller's own constraints stay deferred");
CREATE TABLE parent (id integer PRIMARY KEY);
CREATE TABLE part (id integer REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
BEGIN;
INSERT INTO part VALUES (1);
SELECT sms3300_resend($id);
INSERT INTO parent VALUES (1);
COMMIT;
SELECT count(*) FROM part;
END

# Limits of the database, on memory and on temporary files, do not keep the owner's triggers
# from running while a result is recorded.
as_owner(<<'END');
CREATE TABLE m.sorted (id bigint);
CREATE FUNCTION m.sort() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM count(*) FROM (SELECT x FROM generate_series(1, 20000) AS x ORDER BY x DESC OFFSET 0) AS s;
	INSERT INTO m.sorted VALUES (NEW.id);
	RETURN NULL;
END $$;
CREATE TRIGGER sort AFTER UPDATE ON sms_outbox FOR EACH ROW WHEN (NEW.status = 'sent') EXECUTE FUNCTION m.sort();
END
run_sql($node, q{ALTER DATABASE postgres SET work_mem = '64kB'; ALTER DATABASE postgres SET temp_file_limit = 0});
$node->restart;
my $sorted = queue($node, 'sorted');
wait_for_status($node, $sorted, 'sent');
is(run_sql($node, 'SELECT id FROM m.sorted'), $sorted, 'temp_file_limit does not keep a trigger from sorting');
run_sql($node, 'ALTER DATABASE postgres RESET ALL');
as_owner('DROP FUNCTION m.sort CASCADE');

# A trigger renames the schema and runs the statement that fired it again. The statement in
# the error is still the one that is running.
run_sql($node, <<'END');
CREATE DATABASE moving;
END
run_sql($node, <<"END", 'moving');
CREATE SCHEMA before AUTHORIZATION owner;
CREATE EXTENSION sms3300 SCHEMA before;
CREATE SERVER sms3300 FOREIGN DATA WRAPPER sms3300 OPTIONS (url '@{[ $gateway->url ]}', line '983000330000');
CREATE USER MAPPING FOR PUBLIC SERVER sms3300 OPTIONS (username 'u', password 'p');
ALTER TABLE before.sms_outbox OWNER TO owner;
GRANT CREATE ON DATABASE moving TO owner;
CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS \$\$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		ALTER SCHEMA before RENAME TO afterwards;
		PERFORM afterwards.sms3300_cancel(OLD.id + 1);
		RAISE 'here';
	END IF;
	RETURN NEW;
END \$\$;
CREATE TRIGGER again BEFORE UPDATE ON before.sms_outbox FOR EACH ROW EXECUTE FUNCTION public.again();
END
my $first = run_sql($node,
	"SELECT min(before.sms3300_send('$number', 'x', send_after => 'tomorrow')) FROM generate_series(1, 2)", 'moving');
my (undef, undef, $error) = $node->psql('moving', "SELECT before.sms3300_cancel($first)");
like($error, qr/ERROR:  here/, 'a trigger that runs the statement again');
like($error, qr/SQL statement "UPDATE before\.sms_outbox [^"]*"\s*\z/, 'the statement that runs is kept');

# Planning alters a mapping and uses another account. The account that is being explained
# is still the same.
run_sql($node, q{ALTER SERVER sms3300 OPTIONS (ADD rate '0.001')});
as_owner(q{CREATE USER MAPPING FOR owner SERVER sms3300 OPTIONS (username 'a', password 'b')});
wait_for_status($node, queue($node, 'first'), 'sent');
my $waits = queue($node, 'second');
my $expected = qr/^queued: it waits for the rate limit of account sms3300, 0\.001 messages per second/;
my $explained = run_sql($node, "SELECT sms3300_explain($waits)");
like($explained, $expected, 'what a message waits for');
as_owner(<<"END");
INSERT INTO m.wish VALUES (\$\$ALTER USER MAPPING FOR owner SERVER sms3300 OPTIONS (SET password 'c')\$\$),
	(\$\$SELECT public.sms3300_send('$number', 'n', account => 'other', send_after => 'tomorrow')\$\$);
TRUNCATE m.tried;
END
like(run_sql($node, "SELECT sms3300_explain($waits)"), $expected, 'an account stays while it is in use');
is(run_sql($node, q{SELECT DISTINCT result FROM m.tried}), 'done', 'its mapping was altered meanwhile');

$node->stop;
done_testing();
