--
-- The table sms_outbox: its columns, how rows are completed when they are queued or
-- changed by hand, and which rows are rejected.
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
	OPTIONS (url 'http://127.0.0.1:1/', validity '2 hours', paused 'true');
CREATE USER MAPPING FOR PUBLIC SERVER regress_sms3300_bare OPTIONS (username 'user', password 'secret');
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

-- Return the error for a row, written as in INSERT.
CREATE FUNCTION pg_temp.row_of(columns text, value text) RETURNS text LANGUAGE sql AS $$
	SELECT pg_temp.answer('INSERT INTO sms_outbox (' || columns || ') VALUES (' || value || ')')
$$;

--
-- Definition
--

SELECT attname, format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN 'not null' END,
	CASE attidentity WHEN 'a' THEN 'identity' ELSE pg_get_expr(adbin, adrelid) END
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = 'sms_outbox'::regclass AND attnum > 0
ORDER BY attnum;
SELECT enum_range(NULL::sms_status);

-- every object of the extension has a comment, and so has each part of it
WITH member AS (
	SELECT classid, objid FROM pg_depend
	WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
		AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'sms3300')
), object AS (
	SELECT 'pg_extension'::regclass AS classid, oid AS objid, 0 AS objsubid FROM pg_extension
	WHERE extname = 'sms3300'
	UNION ALL
	SELECT classid, objid, 0 FROM member
	WHERE NOT EXISTS (	-- an identity's sequence is part of the table
		SELECT FROM pg_depend AS part
		WHERE (part.classid, part.objid, part.deptype) = (member.classid, member.objid, 'i'))
	UNION ALL
	SELECT 'pg_class'::regclass, attrelid, attnum
	FROM member JOIN pg_class AS c ON classid = 'pg_class'::regclass AND objid = c.oid
		JOIN pg_attribute ON attrelid = c.oid
	WHERE relkind IN ('r', 'v') AND attnum > 0
	UNION ALL
	SELECT 'pg_trigger'::regclass, oid, 0 FROM pg_trigger
	WHERE tgrelid = 'sms_outbox'::regclass AND NOT tgisinternal
	UNION ALL
	SELECT 'pg_policy'::regclass, oid, 0 FROM pg_policy WHERE polrelid = 'sms_outbox'::regclass
)
SELECT pg_describe_object(classid, objid, objsubid) FROM object
WHERE NOT EXISTS (
	SELECT FROM pg_description AS d
	WHERE (d.classoid, d.objoid, d.objsubid) = (object.classid, object.objid, object.objsubid));

--
-- How rows are completed
--

-- a row with required columns only
INSERT INTO sms_outbox (mobile, message) VALUES ('09123456789', 'سلام')
	RETURNING mobile, message, account, priority, send_after = now(), send_before - send_after,
		sender = current_user, created_at = now(), status, attempts, due_at = now(), events,
		num_nulls(line, line2, type, template, dedup_key, metadata, started_at, finished_at,
			http_status, api_status, message_id, sent_line, response, error);

-- a row with all columns
INSERT INTO sms_outbox (mobile, message, line, line2, type, template, account, priority,
		send_after, send_before, dedup_key, metadata)
	VALUES ('+98 (0) 912 345 6789', E' two\n\tlines ', '3000330001', '3000330002', 0, NULL,
		'regress_sms3300_bare', 9, '2100-01-01 10:00', '2100-01-01 10:00:01', 'key', '{"a": [1]}')
	RETURNING mobile, to_json(message), line, line2, type, template, account, priority,
		send_after, send_before, dedup_key, metadata, due_at;

-- NULL is the same as an omitted column
INSERT INTO sms_outbox (mobile, message, account, priority, send_after, send_before)
	VALUES ('9123456789', 'x', NULL, NULL, NULL, NULL)
	RETURNING account, priority, send_after = now(), send_before - send_after, due_at = now();

-- the validity of the account starts at send_after
INSERT INTO sms_outbox (mobile, message, account, type, send_after)
	VALUES ('9123456789', 'x', 'regress_sms3300_bare', 2, '2100-01-01') RETURNING send_before;
-- and does not overflow a timestamp
ALTER SERVER regress_sms3300_bare OPTIONS (SET validity '100 years');
INSERT INTO sms_outbox (mobile, message, account, type, send_after)
	VALUES ('9123456789', 'x', 'regress_sms3300_bare', 2, '294276-12-31'),
		('9123456789', 'x', 'regress_sms3300_bare', 2, '294200-01-01')
	RETURNING send_before;
-- a message may never expire; a send_after that has passed is now
INSERT INTO sms_outbox (mobile, message, send_after, send_before)
	VALUES ('9123456789', 'x', now() - interval '23 hours', 'infinity')
	RETURNING send_before, send_after = now(), due_at = now();
INSERT INTO sms_outbox (mobile, message, send_after)
	VALUES ('9123456789', 'x', now() - interval '1 minute') RETURNING send_before - now();

-- the parts of the text
INSERT INTO sms_outbox (mobile, message)
	SELECT '09123456789', message FROM (VALUES (1, 'x'), (2, repeat('س', 70)), (3, repeat('س', 71)), (4, repeat('x', 307)))
		AS v (n, message) ORDER BY n
	RETURNING parts;

-- several rows, by SELECT and by COPY
INSERT INTO sms_outbox (mobile, message)
	SELECT '0912000000' || i, 'message ' || i FROM generate_series(1, 3) AS i
	RETURNING mobile, message, status;
BEGIN;
DELETE FROM sms_outbox;
COPY sms_outbox (mobile, message, line) FROM stdin;
۰۹۱۲۳۴۵۶۷۸۹	سلام	۳۰۰۰۳۳۰۰۰۰
0912-345-6780	hello	\N
\.
SELECT mobile, message, line, account, sender = current_user, due_at = now() FROM sms_outbox ORDER BY id;
ROLLBACK;

--
-- Lines
--

INSERT INTO sms_outbox (mobile, message, line, line2, metadata)
	SELECT '09123456789', 'x', line, '2000', to_jsonb(line)
	FROM (VALUES
		('983000330000'), ('3000330000'), ('+98 3000 330000'), ('0098 3000330000'),
		('۹۸۳۰۰۰۳۳۰۰۰۰'), ('۳۰۰۰ ۳۳۰ ۰۰۰'), ('٣٠٠٠٣٣٠٠٠٠'), (U&'\200E3000\2013330000'),
		('02191000000'), ('+98 (0)21 9100 0000'),
		('1000'), ('+98 98123'), ('9812345'), ('12345678901234')) AS v (line)
	RETURNING metadata #>> '{}', line;
INSERT INTO sms_outbox (mobile, message, line2) VALUES ('09123456789', 'x', '۰۲۱-۹۱۰۰ ۰۰۰۰') RETURNING line2;
SELECT line, split_part(pg_temp.row_of('mobile, message, line', format('%L, %L, %L', '09123456789', 'x', line)), E'\n', 1)
FROM (VALUES
	(''), (' '), ('123'), ('98123'), ('00983'), ('+123456'), ('0044123456'), ('003000330000'),
	('98003000'), ('+03000330000'), ('98+3000330000'), ('3000,2000'), ('3000330000a'),
	(repeat('1', 15)), (repeat('1', 65))) AS v (line);
SELECT pg_temp.row_of('mobile, message, line', $$'09123456789', 'x', '123'$$);
SELECT pg_temp.row_of('mobile, message, line, line2', $$'09123456789', 'x', '1000', 'سلام'$$);

--
-- Rejected
--

SELECT columns, value, pg_temp.row_of(columns, value)
FROM (VALUES
	-- the recipient and the text
	('message', $$'x'$$),
	('mobile, message', $$NULL, 'x'$$),
	('mobile, message', $$'', 'x'$$),
	('mobile, message', $$'02191000000', 'x'$$),
	('mobile, message', $$'0912345678O', 'x'$$),
	('mobile', $$'09123456789'$$),
	('mobile, message', $$'09123456789', NULL$$),
	('mobile, message', $$'09123456789', ''$$),
	('mobile, message', $$'09123456789', E' \n\t\r'$$),
	('mobile, message', $$'09123456789', U&'\200C\00A0\FEFF\202B'$$),
	-- times
	('mobile, message, send_after', $$'09123456789', 'x', '1405-09-07 10:00'$$),
	('mobile, message, send_after', $$'09123456789', 'x', '2000-01-01'$$),
	('mobile, message, send_before', $$'09123456789', 'x', '2000-01-01'$$),
	('mobile, message, send_after', $$'09123456789', 'x', 'infinity'$$),
	('mobile, message, send_after', $$'09123456789', 'x', '-infinity'$$),
	('mobile, message, send_after, send_before', $$'09123456789', 'x', '2100-01-02', '2100-01-01'$$),
	('mobile, message, send_after, send_before', $$'09123456789', 'x', '2100-01-01', '2100-01-01'$$),
	('mobile, message, send_after, send_before', $$'09123456789', 'x', '2100-01-01', '-infinity'$$),
	-- numbers
	('mobile, message, type', $$'09123456789', 'x', 3$$),
	('mobile, message, type', $$'09123456789', 'x', -1$$),
	('mobile, message, type', $$'09123456789', 'x', 40000$$),
	('mobile, message, priority', $$'09123456789', 'x', 10$$),
	('mobile, message, priority', $$'09123456789', 'x', -1$$),
	('mobile, message, template', $$'09123456789', 'x', -1$$),
	-- a key that is no key
	('mobile, message, dedup_key', $$'09123456789', 'x', ''$$)) AS v (columns, value);
SELECT columns, value, split_part(pg_temp.row_of(columns, value), E'\n', 1)
FROM (VALUES
	('mobile, message, send_after', $$'09123456789', 'x', now() - interval '25 hours'$$),
	('mobile, message, send_before', $$'09123456789', 'x', now()$$),
	('mobile, message, send_after, send_before', $$'09123456789', 'x', now() - interval '2 hours', now() - interval '1 hour'$$)) AS v (columns, value);
-- a text with something to see in it
SELECT pg_temp.row_of('mobile, message', $$'09123456789', E'\n.'$$);
-- one invalid row aborts the whole statement
SELECT pg_temp.answer($$INSERT INTO sms_outbox (mobile, message) VALUES ('09123456789', 'x'), ('0912', 'x')$$);

-- the account
CREATE FOREIGN DATA WRAPPER regress_sms3300_wrapper;
CREATE SERVER "regress_sms3300 other" FOREIGN DATA WRAPPER regress_sms3300_wrapper;
CREATE SERVER "regress_sms3300 unmapped" FOREIGN DATA WRAPPER sms3300 OPTIONS (line '1000');
CREATE ROLE regress_sms3300_app;
GRANT USAGE ON FOREIGN SERVER "regress_sms3300 unmapped" TO regress_sms3300_app;
SET ROLE regress_sms3300_app;
SELECT account, pg_temp.row_of('mobile, message, account', format('%L, %L, %L', '09123456789', 'x', account))
FROM (VALUES
	('regress_sms3300_none'),
	('regress sms3300 none'),
	(''),
	('regress_sms3300 other'),
	('regress_sms3300'),
	('regress_sms3300 unmapped')) AS v (account);
RESET ROLE;
SET sms3300.account = 'regress_sms3300_none';
SELECT pg_temp.row_of('mobile, message', $$'09123456789', 'x'$$);
SELECT pg_temp.row_of('mobile, message, account', $$'09123456789', 'x', 'regress_sms3300'$$);
-- its name is truncated at a character boundary, as everywhere
SELECT set_config('sms3300.account', repeat('ش', 40), false) = repeat('ش', 40);
SELECT split_part(pg_temp.row_of('mobile, message', $$'09123456789', 'x'$$), E'\n', 1);
SET sms3300.account = 'regress_sms3300';

-- the constraints of the table
SELECT pg_temp.answer($$INSERT INTO sms_outbox (id, mobile, message) VALUES (1, '09123456789', 'x')$$);
INSERT INTO sms_outbox (mobile, message, dedup_key) VALUES ('09123456789', 'x', 'twice');
SELECT split_part(pg_temp.row_of('mobile, message, dedup_key', $$'09123456789', 'y', 'twice'$$), E'\n', 1);

--
-- Scenarios
--

-- Return the error for a message's line, line2, type and template with the account's defaults.
CREATE FUNCTION pg_temp.route(defaults text, own text) RETURNS text LANGUAGE sql AS $$
	SELECT pg_temp.answer(format($i$
		CREATE SERVER regress_sms3300_route FOREIGN DATA WRAPPER sms3300 OPTIONS (%s);
		CREATE USER MAPPING FOR PUBLIC SERVER regress_sms3300_route OPTIONS (username 'user', password 'secret');
		SELECT sms3300_send('09123456789', 'x', account => 'regress_sms3300_route'%s)$i$,
		concat_ws(', ', $i$paused 'true'$i$, defaults), ', ' || own))
$$;

-- the gateway's scenarios
SELECT defaults, own, pg_temp.route(defaults, own)
FROM (VALUES
	-- a line
	(NULL, $$line => '1000'$$),
	($$line '1000'$$, NULL),
	(NULL, $$line => '1000', type => 0$$),
	-- the service line
	(NULL, $$type => 2$$),
	($$type '2'$$, NULL),
	(NULL, $$type => 2, template => 5$$),
	($$type '2', template '5'$$, $$template => 6$$),
	($$line '1000', line2 '2000', template '5'$$, $$type => 2$$),
	-- a second line as backup
	(NULL, $$line => '1000', line2 => '2000'$$),
	($$line '1000', line2 '2000'$$, NULL),
	($$line '1000'$$, $$line2 => '2000'$$),
	($$line '1000', type '1'$$, $$line2 => '2000'$$),
	($$line '1000', type '2', template '5'$$, $$line2 => '2000'$$),
	-- Chelcheleh as backup
	(NULL, $$line => '1000', type => 1$$),
	($$line '1000', line2 '2000', template '5'$$, $$type => 1$$),
	-- the service line as backup
	(NULL, $$line => '1000', type => 2, template => 0$$),
	($$line '1000', type '2', template '0'$$, NULL),
	($$line '1000', line2 '2000'$$, $$line => '3000', type => 2$$),
	-- a line of its own, which is the account's second
	($$line '1000', line2 '2000'$$, $$line => '2000'$$)) AS v (defaults, own);

-- combinations that are not scenarios
SELECT defaults, own, pg_temp.route(defaults, own)
FROM (VALUES
	(NULL, NULL),
	(NULL, $$type => 0$$),
	(NULL, $$type => 1$$),
	($$type '2'$$, $$type => 0$$),
	($$type '1'$$, NULL),
	(NULL, $$line2 => '2000'$$),
	(NULL, $$line2 => '2000', type => 2$$),
	($$type '2'$$, $$line2 => '2000'$$),
	(NULL, $$line => '1000', line2 => '+98 1000'$$),
	($$line '1000'$$, $$line2 => '1000'$$),
	(NULL, $$line => '1000', line2 => '2000', type => 1$$),
	($$line '1000'$$, $$line2 => '2000', type => 2$$),
	(NULL, $$line => '1000', template => 5$$),
	($$line '1000', type '1'$$, $$template => 5$$),
	($$line '1000', line2 '2000'$$, $$template => 5$$),
	($$line '1000', type '2', template '5'$$, $$type => 1, template => 5$$),
	($$line '1000', line2 '2000', type '1'$$, NULL)) AS v (defaults, own);

-- the row keeps the message's own values: those of the account are read when it is sent
INSERT INTO sms_outbox (mobile, message, type) VALUES ('09123456789', 'x', 1) RETURNING line, line2, type, template;

--
-- Changes by the table's owner
--

DELETE FROM sms_outbox;
INSERT INTO sms_outbox (mobile, message) VALUES ('09123456789', 'x');

UPDATE sms_outbox SET mobile = '۰۹۱۲ ۰۰۰ ۰۰۰۰', line = '1000' RETURNING mobile, line;
UPDATE sms_outbox SET account = NULL, priority = NULL, send_after = NULL, send_before = NULL
	RETURNING account, priority, send_after = now(), send_before - send_after, due_at = now();
UPDATE sms_outbox SET account = 'regress_sms3300_bare', send_before = NULL
	RETURNING account, send_before > send_after + interval '1 year';
UPDATE sms_outbox SET send_after = '2100-01-01', send_before = '2100-02-01' RETURNING due_at;
SELECT change, pg_temp.answer('UPDATE sms_outbox SET ' || change)
FROM (VALUES
	($$mobile = '0912'$$),
	($$mobile = NULL$$),
	($$message = NULL$$),
	($$message = ''$$),
	($$line = '1'$$),
	($$line = NULL$$),
	($$line = NULL, line2 = '1000'$$),
	($$line = NULL, type = 2$$),
	($$account = 'regress_sms3300_none'$$),
	($$account = 'regress_sms3300 other'$$),
	($$send_after = 'infinity'$$),
	($$send_after = '2100-03-01'$$),
	($$send_before = '2099-01-01'$$),
	($$send_before = 'infinity'$$),
	($$metadata = '{}', dedup_key = 'new'$$)) AS v (change);

-- numbers must fit; a row has due_at exactly as long as it is in the queue
SELECT change, split_part(pg_temp.answer('UPDATE sms_outbox SET ' || change), E'\n', 1)
FROM (VALUES
	($$priority = 10$$),
	($$type = 3$$),
	($$template = -1$$),
	($$line2 = 'backup'$$),
	($$dedup_key = ''$$),
	($$status = 'sent'$$),
	($$due_at = NULL$$),
	($$status = 'sending', due_at = NULL$$),
	($$status = 'sent', due_at = NULL$$),
	($$due_at = now()$$)) AS v (change);

-- a message whose times the owner has removed can be changed
BEGIN;
ALTER TABLE sms_outbox ALTER send_after DROP NOT NULL, DISABLE TRIGGER USER;
UPDATE sms_outbox SET send_after = NULL;
ALTER TABLE sms_outbox ENABLE TRIGGER USER;
UPDATE sms_outbox SET priority = 1 RETURNING send_after = now();
ROLLBACK;

-- a finished message may be changed, for example to remove personal data
UPDATE sms_outbox SET status = 'sent', due_at = NULL, finished_at = now();
UPDATE sms_outbox SET mobile = 'removed', message = NULL RETURNING mobile, message, status;

-- the parts follow the text, but stay when it is removed, and when the message has been sent
INSERT INTO sms_outbox (mobile, message) VALUES ('09123456789', repeat('س', 71));
UPDATE sms_outbox SET message = repeat('س', 135) WHERE status = 'queued' RETURNING parts;
UPDATE sms_outbox SET status = 'failed', due_at = NULL, finished_at = now() WHERE status = 'queued';
UPDATE sms_outbox SET message = NULL WHERE status = 'failed' RETURNING parts;
UPDATE sms_outbox SET message = repeat('س', 71) WHERE status = 'failed' RETURNING parts;
UPDATE sms_outbox SET metadata = '{}' WHERE status = 'sent' RETURNING parts;

-- what was sent, or may have been, can be removed, but not replaced
INSERT INTO sms_outbox (mobile, message, line) VALUES ('09123456789', 'x', '1000') RETURNING id AS id \gset
SELECT status, change, regexp_replace(pg_temp.answer(format(
	'UPDATE sms_outbox SET status = %1$L, due_at = %2$s WHERE id = %3$s; UPDATE sms_outbox SET %4$s WHERE id = %3$s' ,
	status, CASE status WHEN 'sending' THEN 'now()' ELSE 'NULL' END, :'id', change)), '(message) \d+', '\1 N')
FROM unnest('{sending,sent,unknown,failed}'::sms_status[]) AS status,
	unnest(ARRAY[$$message = 'y'$$, 'message = NULL', $$mobile = '09120000000'$$, $$mobile = 'removed'$$,
		$$line = '2000'$$, $$account = 'regress_sms3300_bare'$$, $$message = 'x', mobile = '989123456789'$$, 'priority = 1']) AS change;

SET client_min_messages = warning;
DELETE FROM sms_outbox;
DROP SERVER regress_sms3300, regress_sms3300_bare, "regress_sms3300 unmapped" CASCADE;
DROP FOREIGN DATA WRAPPER regress_sms3300_wrapper CASCADE;
DROP ROLE regress_sms3300_app;
