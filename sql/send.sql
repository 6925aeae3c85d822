--
-- Functions that queue, cancel and resend.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS sms3300;
RESET client_min_messages;
SET client_encoding = 'UTF8';
SET timezone = 'UTC';
SET datestyle = 'ISO';
\pset format unaligned
\pset tuples_only

CREATE SERVER regress_sms3300 FOREIGN DATA WRAPPER sms3300
	OPTIONS (url 'http://127.0.0.1:1/', line '983000330000', paused 'true');
CREATE USER MAPPING FOR PUBLIC SERVER regress_sms3300 OPTIONS (username 'user', password 'secret');
CREATE SERVER regress_sms3300_bare FOREIGN DATA WRAPPER sms3300
	OPTIONS (url 'http://127.0.0.1:1/', paused 'true');
CREATE USER MAPPING FOR PUBLIC SERVER regress_sms3300_bare OPTIONS (username 'user', password 'secret');
CREATE ROLE regress_sms3300_app;
CREATE ROLE regress_sms3300_other;
GRANT USAGE ON FOREIGN SERVER regress_sms3300, regress_sms3300_bare
	TO regress_sms3300_app, regress_sms3300_other;
SET sms3300.account = 'regress_sms3300';

-- Return the result or error of an expression, whose effect is undone.
CREATE FUNCTION pg_temp.answer(expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text;
	detail text;
	hint text;
BEGIN
	EXECUTE 'SELECT ' || expression;
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
-- sms3300_send
--

SET ROLE regress_sms3300_app;

-- required arguments only
SELECT sms3300_send('09123456789', 'سلام') AS id \gset
SELECT mobile, message, line, line2, type, template, account, priority, send_after = created_at,
	send_before - send_after, dedup_key, metadata, sender, status, due_at = created_at
FROM sms_outbox WHERE id = :id;

-- all arguments, in order and by name
SELECT sms3300_send('+98 912 345 6789', 'hello', '3000330001', '3000330002', 0, NULL,
	'regress_sms3300_bare', 9, '2100-01-01', '2100-01-02', 'key', '{"a": 1}') AS id \gset
SELECT mobile, message, line, line2, type, template, account, priority, send_after, send_before,
	dedup_key, metadata, sender, status, due_at
FROM sms_outbox WHERE id = :id;
SELECT sms3300_send(metadata => '{"b": 2}', dedup_key => 'named', send_before => '2100-01-02',
	send_after => '2100-01-01', priority => 1, account => 'regress_sms3300_bare', template => 7,
	type => 2, line2 => NULL, line => '3000330001', message => 'hello', mobile => '09123456789') AS id \gset
SELECT mobile, message, line, line2, type, template, account, priority, send_after, send_before,
	dedup_key, metadata, sender, status, due_at
FROM sms_outbox WHERE id = :id;

-- NULL is the same as an omitted argument
SELECT sms3300_send('09123456789', 'x', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL) AS id \gset
SELECT account, priority, send_after = created_at, send_before - send_after, due_at = created_at
FROM sms_outbox WHERE id = :id;

-- the result is the id of the row, and ids increase
SELECT sms3300_send('09123456789', 'x') < sms3300_send('09123456789', 'x');
-- a rollback removes the message
BEGIN;
SELECT sms3300_send('09123456789', 'x') AS id \gset
ROLLBACK;
SELECT count(*) FROM sms_outbox WHERE id = :id;

-- rejected messages
SELECT expression, pg_temp.answer(expression)
FROM (VALUES
	($$sms3300_send(NULL, 'x')$$),
	($$sms3300_send('0912', 'x')$$),
	($$sms3300_send('09123456789', NULL)$$),
	($$sms3300_send('09123456789', '')$$),
	($$sms3300_send('09123456789', 'x', '1')$$),
	($$sms3300_send('09123456789', 'x', line2 => '1')$$),
	($$sms3300_send('09123456789', 'x', account => 'regress_sms3300_bare')$$),
	($$sms3300_send('09123456789', 'x', account => 'regress_sms3300_none')$$),
	($$sms3300_send('09123456789', 'x', type => 3)$$),
	($$sms3300_send('09123456789', 'x', type => -1)$$),
	($$sms3300_send('09123456789', 'x', type => 65538)$$),
	($$sms3300_send('09123456789', 'x', priority => 10)$$),
	($$sms3300_send('09123456789', 'x', priority => -1)$$),
	($$sms3300_send('09123456789', 'x', send_after => 'infinity')$$),
	($$sms3300_send('09123456789', 'x', template => -1)$$),
	($$sms3300_send('09123456789', 'x', template => 5)$$),
	($$sms3300_send('09123456789', 'x', send_after => '2100-01-02', send_before => '2100-01-01')$$),
	($$sms3300_send('09123456789', 'x', dedup_key => '')$$),
	($$sms3300_send('09123456789', 'x', dedup_key => repeat('ک', 501))$$)) AS v (expression);

--
-- dedup_key
--

-- the second call returns the id of the first, whatever its other arguments
SET client_min_messages = warning;
SELECT sms3300_send('09123456789', 'first', dedup_key => 'order 1') AS id \gset
SELECT sms3300_send('09120000000', 'second', dedup_key => 'order 1') = :id;
SELECT sms3300_send('09120000000', 'third', dedup_key => 'order 2') <> :id;
SELECT mobile, message FROM sms_outbox WHERE dedup_key LIKE 'order %' ORDER BY id;
-- also within a statement and within a transaction
SELECT count(DISTINCT sms3300_send('09123456789', 'x', dedup_key => 'same')) FROM generate_series(1, 5);
BEGIN;
SELECT sms3300_send('09123456789', 'x', dedup_key => 'rolled back') AS id \gset
SELECT sms3300_send('09123456789', 'x', dedup_key => 'rolled back') = :id;
ROLLBACK;
SELECT sms3300_send('09123456789', 'x', dedup_key => 'rolled back') > :id;
-- an invalid message is rejected nevertheless
SELECT split_part(pg_temp.answer($$sms3300_send('0912', 'x', dedup_key => 'order 1')$$), E'\n', 1);
-- unless it was cancelled
SELECT sms3300_send('09123456789', 'x', dedup_key => 'order 1') AS id \gset
SELECT sms3300_cancel(:id);
SELECT sms3300_send('09123456789', 'first', dedup_key => 'order 1') <> :id;
SELECT message, status, dedup_released FROM sms_outbox WHERE dedup_key = 'order 1' ORDER BY id;
SELECT sms3300_send('09123456789', 'first', dedup_key => 'order 1') AS id \gset
-- each sender has its own keys
SET ROLE regress_sms3300_other;
SELECT sms3300_send('09123456789', 'x', dedup_key => 'order 1') <> :id;
SELECT sms3300_cancel(:id), sms3300_resend(:id);
RESET ROLE;
SELECT sender, status FROM sms_outbox WHERE dedup_key = 'order 1' ORDER BY id;
-- for as long as the row exists
DELETE FROM sms_outbox WHERE id = :id;
SET ROLE regress_sms3300_app;
SELECT sms3300_send('09123456789', 'again', dedup_key => 'order 1') > :id;
SELECT message FROM sms_outbox WHERE dedup_key = 'order 1';
-- by INSERT, with ON CONFLICT
INSERT INTO sms_outbox (mobile, message, dedup_key)
	VALUES ('09123456789', 'x', 'order 1'), ('09123456789', 'x', 'order 3')
	ON CONFLICT DO NOTHING RETURNING dedup_key;
INSERT INTO sms_outbox (mobile, message, dedup_key) VALUES ('09123456789', 'x', 'order 3')
	ON CONFLICT (sender, dedup_key, (CASE WHEN dedup_released THEN id ELSE 0 END)) WHERE dedup_key IS NOT NULL
	DO NOTHING RETURNING dedup_key;
SELECT sms3300_send('09123456789', 'x', dedup_key => 'order 3') = id FROM sms_outbox WHERE dedup_key = 'order 3';

-- a trigger that suppresses the row causes an error, with and without a key
RESET ROLE;
CREATE FUNCTION pg_temp.keep_out() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER keep_out BEFORE INSERT ON sms_outbox FOR EACH ROW EXECUTE FUNCTION pg_temp.keep_out();
SET statement_timeout = '10s';
SELECT pg_temp.answer($$sms3300_send('09123456789', 'x')$$);
SELECT pg_temp.answer($$sms3300_send('09123456789', 'x', dedup_key => 'kept out')$$);
RESET statement_timeout;
DROP TRIGGER keep_out ON sms_outbox;

--
-- sms3300_cancel and sms3300_resend
--

-- a row of each status, as the worker would leave it; rolled back, so that the worker sees none
BEGIN;
DELETE FROM sms_outbox;
SET LOCAL ROLE regress_sms3300_app;
INSERT INTO sms_outbox (mobile, message, metadata)
	SELECT '09123456789', status, to_jsonb(status) FROM unnest(enum_range(NULL::sms_status)) AS status;
RESET ROLE;
UPDATE sms_outbox SET send_after = now() - interval '3 hours', send_before = now() - interval '1 hour';
UPDATE sms_outbox SET status = message::sms_status, attempts = 3, error = 'why',
	due_at = CASE WHEN message IN ('queued', 'sending') THEN due_at END,
	finished_at = CASE WHEN message NOT IN ('queued', 'sending') THEN now() END;
SET LOCAL ROLE regress_sms3300_app;

SAVEPOINT each_status;
SELECT message, sms3300_cancel(id) FROM sms_outbox ORDER BY id;
SELECT message, status, due_at IS NULL, finished_at >= now() FROM sms_outbox ORDER BY id;
ROLLBACK TO each_status;
SELECT message, sms3300_resend(id) FROM sms_outbox ORDER BY id;
SELECT message, status, attempts, due_at - now(), finished_at, send_after - now(), send_before - now(), error
FROM sms_outbox WHERE message NOT IN ('queued', 'sending', 'sent') ORDER BY id;
-- a second call has no effect
SELECT count(*) FROM sms_outbox WHERE sms3300_resend(id);
-- and cancelled again
SELECT count(*) FROM sms_outbox WHERE sms3300_cancel(id);
-- who did what, and when, is in the events
SELECT event - 'at', (event ->> 'at')::timestamptz BETWEEN now() AND clock_timestamp()
FROM sms_outbox CROSS JOIN LATERAL jsonb_array_elements(events) WITH ORDINALITY AS e (event, n)
WHERE message = 'failed' ORDER BY n;
-- the last 50
RESET ROLE;
UPDATE sms_outbox SET events = (SELECT jsonb_agg(n) FROM generate_series(1, 50) AS n) WHERE message = 'failed';
SET LOCAL ROLE regress_sms3300_app;
SELECT sms3300_resend(id) FROM sms_outbox WHERE message = 'failed';
SELECT jsonb_array_length(events), events -> 0, events -> -1 ->> 'action' FROM sms_outbox WHERE message = 'failed';
ROLLBACK TO each_status;
-- other conditions are evaluated first
SELECT message FROM sms_outbox WHERE sms3300_cancel(id) AND metadata #>> '{}' = 'sent';
SELECT message FROM sms_outbox WHERE sms3300_resend(id) AND metadata #>> '{}' = 'failed';
SELECT message FROM sms_outbox WHERE status = 'queued' ORDER BY id;
ROLLBACK TO each_status;

-- a message keeps a send_after in the future
RESET ROLE;
UPDATE sms_outbox SET send_after = '2100-01-01', send_before = '2100-01-02' WHERE status = 'rejected';
UPDATE sms_outbox SET send_before = 'infinity' WHERE status = 'failed';
UPDATE sms_outbox SET message = NULL WHERE status = 'unknown';
SET LOCAL ROLE regress_sms3300_app;
SELECT sms3300_resend(id), status, due_at, send_before FROM sms_outbox WHERE status = 'rejected';
SELECT status, due_at, send_after, send_before FROM sms_outbox WHERE message = 'rejected';
SAVEPOINT endless;
SELECT sms3300_resend(id) FROM sms_outbox WHERE status = 'failed';
SELECT status, due_at = now(), send_before FROM sms_outbox WHERE message = 'failed';
ROLLBACK TO endless;
-- a message whose text was removed cannot be sent again
SELECT replace(pg_temp.answer(format('sms3300_resend(%s)', id)), 'message ' || id, 'message N') FROM sms_outbox WHERE message IS NULL;
-- nor a message of an account that the sender may no longer use
RESET ROLE;
REVOKE USAGE ON FOREIGN SERVER regress_sms3300 FROM regress_sms3300_app;
SET LOCAL ROLE regress_sms3300_app;
SELECT pg_temp.answer(format('sms3300_resend(%s)', id)) FROM sms_outbox WHERE status = 'expired';
-- it can still be cancelled
SELECT sms3300_cancel(id) FROM sms_outbox WHERE status = 'queued' AND message = 'queued';
ROLLBACK;

-- there is nothing to cancel
SELECT sms3300_cancel(-1), sms3300_resend(-1), sms3300_cancel(NULL), sms3300_resend(NULL), sms3300_explain(NULL);

--
-- sms3300_send_now
--

-- rejects the same messages as sms3300_send
SET ROLE regress_sms3300_app;
SELECT expression, pg_temp.answer(expression)
FROM (VALUES
	($$sms3300_send_now(NULL, 'x')$$),
	($$sms3300_send_now('09123456789', NULL)$$),
	($$sms3300_send_now('09123456789', '')$$),
	($$sms3300_send_now('0912', 'x')$$),
	($$sms3300_send_now('09123456789', 'x', '1')$$),
	($$sms3300_send_now('09123456789', 'x', type => 3)$$),
	($$sms3300_send_now('09123456789', 'x', type => 2, template => -1)$$),
	($$sms3300_send_now('09123456789', 'x', account => 'regress_sms3300_bare')$$),
	($$sms3300_send_now('09123456789', 'x', line2 => '1000', account => 'regress_sms3300_bare')$$),
	($$sms3300_send_now('09123456789', 'x', account => 'regress_sms3300_none')$$)) AS v (expression);
-- nor is a paused account asked; nothing is queued
SELECT count(*) AS before FROM sms_outbox \gset
SELECT pg_temp.answer($$sms3300_send_now('09123456789', 'x')$$);
SELECT count(*) = :before FROM sms_outbox;
RESET ROLE;
REVOKE USAGE ON FOREIGN SERVER regress_sms3300 FROM regress_sms3300_app;
SET ROLE regress_sms3300_app;
SELECT pg_temp.answer($$sms3300_send_now('09123456789', 'x')$$);
RESET ROLE;

SET client_min_messages = warning;
DELETE FROM sms_outbox;
DROP SERVER regress_sms3300, regress_sms3300_bare CASCADE;
DROP ROLE regress_sms3300_app, regress_sms3300_other;
