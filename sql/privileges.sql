--
-- Privileges.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS sms3300;
RESET client_min_messages;
SET client_encoding = 'UTF8';
\pset format unaligned
\pset tuples_only

CREATE SERVER regress_sms3300 FOREIGN DATA WRAPPER sms3300
	OPTIONS (url 'http://127.0.0.1:1/', line '983000330000', paused 'true');
CREATE USER MAPPING FOR PUBLIC SERVER regress_sms3300 OPTIONS (username 'user', password 'secret');
CREATE ROLE regress_sms3300_app;
CREATE ROLE regress_sms3300_other;
CREATE ROLE regress_sms3300_auditor BYPASSRLS;
SET sms3300.account = 'regress_sms3300';

-- Return the error of a statement, whose effect is undone.
CREATE FUNCTION pg_temp.answer(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text;
	detail text;
	hint text;
BEGIN
	EXECUTE statement;
	RAISE SQLSTATE 'TAKEN';
EXCEPTION
	WHEN SQLSTATE 'TAKEN' THEN
		RETURN 'taken';
	WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS message = MESSAGE_TEXT,
			detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
		RETURN concat_ws(E'\n\t', SQLSTATE || ' ' || message, nullif(detail, ''), nullif(hint, ''));
END $$;

--
-- Privileges of PUBLIC
--

SELECT privilege, has_table_privilege('public', 'sms_outbox', privilege),
	has_table_privilege('public', 'sms_report', privilege)
FROM unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS privilege;
SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute
WHERE attrelid = 'sms_outbox'::regclass AND attnum > 0
	AND has_column_privilege('public', attrelid, attnum, 'INSERT');
SELECT p.oid::regprocedure FROM pg_proc AS p
	JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
WHERE extname = 'sms3300' AND NOT has_function_privilege('public', p.oid, 'EXECUTE')
ORDER BY proname;
-- functions that run as their owner, and their search_path
SELECT p.oid::regprocedure, p.proconfig[1] FROM pg_proc AS p
	JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
WHERE extname = 'sms3300' AND prosecdef
ORDER BY proname;
SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = 'sms_outbox'::regclass;
SELECT has_foreign_data_wrapper_privilege('public', 'sms3300', 'USAGE'),
	has_server_privilege('public', 'regress_sms3300', 'USAGE'),
	has_sequence_privilege('public', pg_get_serial_sequence('sms_outbox', 'id'), 'USAGE, UPDATE'),
	has_sequence_privilege('public', pg_get_serial_sequence('sms_outbox', 'id'), 'SELECT');

--
-- USAGE on the account is necessary and sufficient to send
--

SET ROLE regress_sms3300_app;
SELECT statement, pg_temp.answer(statement)
FROM (VALUES
	($$INSERT INTO sms_outbox (mobile, message) VALUES ('09123456789', 'x')$$),
	($$SELECT sms3300_send('09123456789', 'x')$$),
	($$SELECT sms3300_send_now('09123456789', 'x')$$)) AS v (statement);
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER regress_sms3300 TO regress_sms3300_app, regress_sms3300_other;
SET ROLE regress_sms3300_app;
INSERT INTO sms_outbox (mobile, message) VALUES ('09120000001', 'by app') RETURNING sender;
SELECT sms3300_send('09120000002', 'by app') AS app \gset

-- the columns of the extension take no value but the default, or null
SELECT attname, pg_temp.answer(format(
	'INSERT INTO sms_outbox (mobile, message, %I) OVERRIDING SYSTEM VALUE VALUES (''09123456789'', ''x'', %L)',
	attname, CASE atttypid WHEN 'timestamptz'::regtype THEN '2000-01-01' WHEN 'boolean'::regtype THEN 'true' WHEN 'jsonb'::regtype THEN '[1]'
		WHEN 'sms_status'::regtype THEN 'sent' WHEN 'sms_delivery'::regtype THEN 'delivered' ELSE '1000' END)), split_part(pg_temp.answer(format(
	'INSERT INTO sms_outbox (mobile, message, %I) OVERRIDING SYSTEM VALUE VALUES (''09123456789'', ''x'', NULL)',
	attname)), E'\n', 1)
FROM pg_attribute
WHERE attrelid = 'sms_outbox'::regclass AND (attnum = 1 OR attnum > 13)
ORDER BY attnum;
SELECT statement, pg_temp.answer(statement)
FROM (VALUES
	($$INSERT INTO sms_outbox VALUES (DEFAULT, '09123456789', 'x')$$),
	($$UPDATE sms_outbox SET message = 'y'$$),
	($$UPDATE sms_outbox SET metadata = '{}'$$),
	($$DELETE FROM sms_outbox$$),
	($$TRUNCATE sms_outbox$$),
	($$INSERT INTO sms_outbox (mobile, message, dedup_key) VALUES ('09123456789', 'x', 'k')
		ON CONFLICT (id) DO UPDATE SET message = 'y'$$),
	($$SELECT nextval('sms_outbox_id_seq')$$),
	($$SELECT sms3300_adopt()$$),
	($$CREATE TRIGGER t BEFORE INSERT ON sms_outbox FOR EACH ROW EXECUTE FUNCTION _sms3300_outbox_insert()$$),
	($$CREATE TEMP TABLE t (); CREATE TRIGGER t BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION _sms3300_outbox_insert()$$),
	($$CREATE SERVER regress_sms3300_mine FOREIGN DATA WRAPPER sms3300$$),
	($$ALTER SERVER regress_sms3300 OPTIONS (SET paused 'false')$$)) AS v (statement);
-- PostgreSQL rejects COPY into a table with row-level security
SELECT mobile FROM sms_outbox ORDER BY id;
\copy sms_outbox (mobile, message) FROM '/dev/null'

-- a role may use its own credentials, and cannot see those of PUBLIC
SELECT srvname, usename, umoptions FROM pg_user_mappings WHERE srvname = 'regress_sms3300';
SELECT count(*) FROM information_schema.user_mapping_options WHERE option_value = 'secret';
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_sms3300 OPTIONS (username 'app', password 'own');
SELECT pg_temp.answer($$DROP USER MAPPING FOR PUBLIC SERVER regress_sms3300$$);

--
-- A role sees the messages that it queued
--

SET ROLE regress_sms3300_other;
INSERT INTO sms_outbox (mobile, message) VALUES ('09120000003', 'by other') RETURNING sender;
SELECT mobile, sender FROM sms_outbox ORDER BY id;
SELECT sms3300_cancel(:app), sms3300_resend(:app);
-- membership in another role is not enough; SET ROLE is
RESET ROLE;
GRANT regress_sms3300_app TO regress_sms3300_other;
SET SESSION AUTHORIZATION regress_sms3300_other;
SELECT mobile, sender FROM sms_outbox ORDER BY id;
SET ROLE regress_sms3300_app;
SELECT mobile, sender FROM sms_outbox ORDER BY id;
SELECT sms3300_cancel(:app);
RESET SESSION AUTHORIZATION;
-- the owner and auditors see all messages
SELECT mobile, sender, status FROM sms_outbox ORDER BY id;
SET ROLE regress_sms3300_auditor;
SELECT mobile, sender FROM sms_outbox ORDER BY id;
-- but auditors may not cancel or resend them, even if they may send
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER regress_sms3300 TO regress_sms3300_auditor;
SET ROLE regress_sms3300_auditor;
SELECT replace(pg_temp.answer(format('SELECT sms3300_cancel(%s)', :app)), 'message ' || :app, 'message N');
SELECT replace(pg_temp.answer(format('SELECT sms3300_resend(%s)', :app)), 'message ' || :app, 'message N');
SELECT sender, status FROM sms_outbox WHERE id = :app;
RESET ROLE;
SELECT sms3300_resend(:app);

-- a SECURITY DEFINER function sends as its owner
SET ROLE regress_sms3300_app;
CREATE FUNCTION pg_temp.greet(mobile text) RETURNS bigint SECURITY DEFINER
	LANGUAGE sql AS $$ SELECT sms3300_send(mobile, 'greetings') $$;
RESET ROLE;
REVOKE USAGE ON FOREIGN SERVER regress_sms3300 FROM regress_sms3300_auditor;
SET ROLE regress_sms3300_auditor;
SELECT pg_temp.greet('09120000004') AS id \gset
SELECT sender FROM sms_outbox WHERE id = :id;
RESET ROLE;

-- another policy may show more
CREATE POLICY regress_sms3300_desk ON sms_outbox FOR SELECT TO regress_sms3300_other USING (message = 'greetings');
SET ROLE regress_sms3300_other;
SELECT mobile, sender FROM sms_outbox ORDER BY id;
SELECT split_part(pg_temp.answer(format('SELECT sms3300_cancel(%s)', :id)), ' ', 1);
RESET ROLE;
SELECT sms3300_cancel(:id);
DROP POLICY regress_sms3300_desk ON sms_outbox;

--
-- Triggers
--

-- the extension's trigger functions work on their own table only
CREATE TEMP TABLE sms_outbox_copy (LIKE sms_outbox);
CREATE TRIGGER regress_sms3300 BEFORE INSERT ON sms_outbox_copy FOR EACH ROW EXECUTE FUNCTION _sms3300_outbox_insert();
SELECT pg_temp.answer($$INSERT INTO sms_outbox_copy (mobile, message) VALUES ('09123456789', 'x')$$);
CREATE TABLE regress_sms3300_copy (LIKE sms_outbox);
CREATE TRIGGER regress_sms3300 BEFORE INSERT ON regress_sms3300_copy FOR EACH ROW EXECUTE FUNCTION _sms3300_outbox_insert();
SELECT pg_temp.answer($$INSERT INTO regress_sms3300_copy (mobile, message) VALUES ('09123456789', 'x')$$);
DROP TABLE regress_sms3300_copy;
CREATE SCHEMA regress_sms3300;
CREATE TABLE regress_sms3300.sms_outbox (LIKE sms_outbox);
CREATE TRIGGER regress_sms3300 BEFORE INSERT ON regress_sms3300.sms_outbox FOR EACH ROW EXECUTE FUNCTION _sms3300_outbox_insert();
SELECT pg_temp.answer($$INSERT INTO regress_sms3300.sms_outbox (mobile, message) VALUES ('09123456789', 'x')$$);
DROP TABLE regress_sms3300.sms_outbox;
DROP SCHEMA regress_sms3300;
CREATE TRIGGER regress_sms3300 BEFORE INSERT ON sms_outbox FOR EACH STATEMENT EXECUTE FUNCTION _sms3300_outbox_insert();
SELECT pg_temp.answer($$INSERT INTO sms_outbox (mobile, message) VALUES ('09123456789', 'x')$$);
CREATE OR REPLACE TRIGGER regress_sms3300 AFTER INSERT ON sms_outbox FOR EACH ROW EXECUTE FUNCTION _sms3300_outbox_insert();
SELECT pg_temp.answer($$INSERT INTO sms_outbox (mobile, message) VALUES ('09123456789', 'x')$$);
DROP TRIGGER regress_sms3300 ON sms_outbox;
SELECT pg_temp.answer('SELECT _sms3300_outbox_insert()');

--
-- Rows from another database
--

-- as in a restored dump, a copied database or a subscriber
BEGIN;
DELETE FROM sms_outbox;
INSERT INTO sms_outbox (mobile, message, metadata)
	SELECT '09123456789', status, to_jsonb(status) FROM unnest(enum_range(NULL::sms_status)) AS status;
UPDATE sms_outbox SET origin = origin + 1, status = message::sms_status,
	due_at = CASE WHEN message IN ('queued', 'sending') THEN due_at END,
	finished_at = CASE WHEN message NOT IN ('queued', 'sending') THEN now() END;
INSERT INTO sms_outbox (mobile, message) VALUES ('09123456789', 'own');
SELECT origin AS own FROM sms_outbox WHERE message = 'own' \gset

-- finished messages stay as they are; those on the wire may have been sent
SELECT sms3300_adopt();
SELECT message, status, origin = :own, due_at IS NOT NULL, finished_at IS NOT NULL, error
FROM sms_outbox ORDER BY id;
SELECT sms3300_adopt();
-- a message that is queued again belongs to this database
SELECT sms3300_resend(id) FROM sms_outbox WHERE message = 'failed';
SELECT origin = :own FROM sms_outbox WHERE message = 'failed';

-- a row with an origin is kept as it is if it satisfies the constraints
INSERT INTO sms_outbox (mobile, message, account, sender, send_before, due_at, origin)
	VALUES ('0912', '', 'nowhere', 'nobody', 'infinity', now(), 1)
	RETURNING mobile, message, account, sender, origin;
SELECT split_part(pg_temp.answer(
	$$INSERT INTO sms_outbox (mobile, message, origin) VALUES ('09123456789', 'x', 1)$$), E'\n', 1);
SELECT name, value, split_part(pg_temp.answer(format(
	$$INSERT INTO sms_outbox (mobile, account, sender, send_before, due_at, origin, %I)
		VALUES ('0912', 'nowhere', 'nobody', 'infinity', now(), 1, %s)$$, name, value)), E'\n', 1)
FROM (VALUES ('type', -1), ('type', 3), ('template', -1), ('priority', -1), ('priority', 10)) AS v (name, value);
-- it does not belong to this database even if it returns to it
WITH gone AS (DELETE FROM sms_outbox WHERE message = 'own' RETURNING *)
INSERT INTO sms_outbox OVERRIDING SYSTEM VALUE SELECT * FROM gone
	RETURNING message, status, origin = :own AS own;
-- a row without an origin is new
SELECT pg_temp.answer(format(
	$$INSERT INTO sms_outbox (mobile, message, status) VALUES ('09123456789', 'x', %L)$$, status))
FROM unnest(ARRAY['sending', 'sent']) AS status;
INSERT INTO sms_outbox (mobile, message, status) VALUES ('09123456789', 'x', 'queued')
	RETURNING status;
-- the right to adopt can be granted
GRANT EXECUTE ON FUNCTION sms3300_adopt() TO regress_sms3300_auditor;
SET LOCAL ROLE regress_sms3300_auditor;
SELECT sms3300_adopt();
ROLLBACK;

--
-- Settings
--

SET ROLE regress_sms3300_app;
SELECT statement, pg_temp.answer(statement)
FROM (VALUES
	($$SET sms3300.account = 'another'$$),
	($$SET sms3300.enabled = off$$),
	($$SET sms3300.max_workers = 1$$),
	($$SET sms3300.worker_idle_timeout = 0$$),
	($$SET sms3300.poll_interval = '1s'$$)) AS v (statement);
RESET ROLE;
SELECT name, boot_val, min_val, max_val, unit, context FROM pg_settings WHERE name LIKE 'sms3300.%' ORDER BY name;

SET client_min_messages = warning;
DELETE FROM sms_outbox;
DROP SERVER regress_sms3300 CASCADE;
DROP FUNCTION pg_temp.greet(text);
DROP ROLE regress_sms3300_app, regress_sms3300_other, regress_sms3300_auditor;
