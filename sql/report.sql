--
-- sms_report: the outbox in readable form.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS sms3300;
RESET client_min_messages;
SET client_encoding = 'UTF8';

CREATE SERVER regress_sms3300 FOREIGN DATA WRAPPER sms3300
	OPTIONS (url 'http://127.0.0.1:1/', line '983000330000', paused 'true');
CREATE USER MAPPING FOR PUBLIC SERVER regress_sms3300 OPTIONS (username 'user', password 'secret');
CREATE ROLE regress_sms3300_app;
CREATE ROLE regress_sms3300_other;
GRANT USAGE ON FOREIGN SERVER regress_sms3300 TO regress_sms3300_app, regress_sms3300_other;
SET sms3300.account = 'regress_sms3300';

-- a message of each status
SET ROLE regress_sms3300_app;
SELECT count(sms3300_send('0912 345 678' || n, CASE n WHEN 1 THEN repeat('سلام ', 6) || '!' WHEN 3 THEN repeat('س', 71) ELSE repeat('x', 30) END))
FROM generate_series(0, 9) AS n;
SET ROLE regress_sms3300_other;
SELECT count(sms3300_send('09350000000', 'of another'));
RESET ROLE;
UPDATE sms_outbox SET attempts = 1 WHERE mobile = '989123456782';
UPDATE sms_outbox AS o SET status = v.status, sent_line = v.line, error = v.error,
	due_at = CASE v.status WHEN 'sending' THEN due_at END,
	started_at = CASE WHEN v.status <> 'cancelled' THEN created_at + interval '1 hour' END,
	finished_at = CASE WHEN v.status <> 'sending' THEN created_at + interval '2 hours' END
FROM (VALUES (3, 'sending'::sms_status, NULL, NULL), (4, 'sent', '983000330000', NULL), (5, 'rejected', NULL, 'error 27: opted out'),
	(6, 'failed', NULL, 'error 23: busy'), (7, 'unknown', NULL, 'no reply came'), (8, 'expired', NULL, 'its time is over'),
	(9, 'cancelled', NULL, NULL), (0, 'suppressed', NULL, 'the recipient has opted out')) AS v (n, status, line, error)
WHERE mobile = '98912345678' || v.n;

-- each role sees its own messages
SET ROLE regress_sms3300_app;
SELECT mobile, message, status, line, reason, parts FROM sms_report ORDER BY mobile;
SET ROLE regress_sms3300_other;
SELECT mobile, message, status, line, reason, parts FROM sms_report ORDER BY mobile;
RESET ROLE;
SELECT count(*) FROM sms_report WHERE id IN (SELECT id FROM sms_outbox WHERE account = 'regress_sms3300');

-- local time, to the second
SET TimeZone = 'Asia/Tehran';
SELECT bool_and(queued_at = date_trunc('second', created_at AT TIME ZONE 'Asia/Tehran')) AS queued,
	array_agg(DISTINCT changed_at - queued_at) AS changed
FROM sms_report JOIN sms_outbox AS o USING (id) WHERE account = 'regress_sms3300';
RESET TimeZone;

-- a condition reaches the table, and only displayed rows are explained
EXPLAIN (COSTS off) SELECT * FROM sms_report WHERE id = 1;

DELETE FROM sms_outbox WHERE account = 'regress_sms3300';
DROP SERVER regress_sms3300 CASCADE;
DROP ROLE regress_sms3300_app, regress_sms3300_other;
