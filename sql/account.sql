--
-- Options of servers and user mappings.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS sms3300;
RESET client_min_messages;
SET client_encoding = 'UTF8';
\pset format unaligned
\pset tuples_only

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

-- Return the error for a server with these options.
CREATE FUNCTION pg_temp.server(options text) RETURNS text LANGUAGE sql AS $$
	SELECT pg_temp.answer('CREATE SERVER regress_sms3300_trial FOREIGN DATA WRAPPER sms3300 OPTIONS (' || options || ')')
$$;

--
-- Servers
--

-- a server needs no options
SELECT pg_temp.answer('CREATE SERVER regress_sms3300_trial FOREIGN DATA WRAPPER sms3300');

-- valid values of each option
SELECT options, pg_temp.server(options)
FROM (VALUES
	($$url 'http://sms.3300.ir/api/wsSend.ashx'$$),
	($$url 'https://[::1]:8443/api/wsSend.ashx'$$),
	($$line '983000330000'$$),
	($$line '۳۰۰۰ ۳۳۰ ۰۰۰', line2 '+98 (0)21 9100 0000'$$),
	($$type '0'$$),
	($$type '2', template '0'$$),
	($$type '2', template '2147483647'$$),
	($$max_in_flight '1'$$),
	($$max_in_flight '100000'$$),
	($$rate '0'$$),
	($$rate '0.2'$$),
	($$rate '1e6'$$),
	($$timeout '30'$$),
	($$timeout '500ms', connect_timeout '00:00:01'$$),
	($$validity '1 day'$$),
	($$validity '100 years'$$),
	($$max_parts '1'$$),
	($$max_parts '255'$$),
	($$max_attempts '1'$$),
	($$max_attempts '1000'$$),
	($$stop_after_unknown '1'$$),
	($$on_unknown 'hold'$$),
	($$on_unknown 'resend'$$),
	($$transient_codes '15, 23,409', account_codes '12,16 - 20', refused_codes ''$$),
	($$refused_codes '15'$$),
	($$paused 'on'$$),
	($$paused 'false'$$),
	($$retention '0', redact_after '90 days'$$),
	($$ca_file '/etc/ssl/certs/gateway.pem'$$),
	($$record_opt_outs 'true'$$),
	($$max_parts_per_day '1'$$),
	($$max_per_mobile '3/10min'$$),
	($$max_per_mobile '1/1 day'$$),
	($$hours ' 8:00-13:00 , 16:00-24:00'$$),
	($$hours '22:00-06:00', timezone 'Europe/Berlin', urgent_priority '10'$$),
	($$keep_idle '0'$$),
	($$keep_idle '90s'$$),
	($$url 'http://sms.3300.ir/send', delivery_url 'http://sms.3300.ir/states'$$),
	($$delivery 'on', delivery_checks '1s, 2 min,3h', delivery_batch '100', delivery_interval '0'$$),
	($$delivered_codes '', undelivered_codes '2-5', waiting_codes '1'$$),
	($$delivery_items '$.data[*]', delivery_id '$.id', delivery_state '$.state'$$),
	($$notify 'sms'$$),
	($$notify 'Any channel'$$)) AS v (options);

-- invalid URLs
SELECT options, pg_temp.server(options)
FROM (VALUES
	($$url ''$$),
	($$url 'sms.3300.ir/api/wsSend.ashx'$$),
	($$url 'http://'$$),
	($$url 'http://sms.3300.ir:99999/'$$),
	($$url 'ftp://sms.3300.ir/'$$),
	($$url 'file:///etc/passwd'$$),
	($$url 'https://user@sms.3300.ir/'$$),
	($$url 'https://user:secret@sms.3300.ir/'$$),
	($$url 'https://:secret@sms.3300.ir/'$$),
	($$url 'http://sms.3300.ir/api/wsSend.ashx?username=user&password=secret'$$),
	($$url 'http://sms.3300.ir/api/wsSend.ashx?Password=secret'$$),
	($$url 'http://sms.3300.ir:0/'$$),
	($$url 'gopher://sms.3300.ir/'$$),
	($$url 'http://sms.3300.ir/ api'$$),
	($$url E'http://sms.3300.ir/\r\nHost: evil'$$),
	($$url 'http://sms.3300.ir\@evil.example/'$$),
	($$url 'http://sms.3300.ir/#secret'$$),
	($$url 'http://نمونه.ir/'$$),
	($$url E'http://sms.3300.ir/\x7F'$$)) AS v (options);

-- invalid lines, and contradictory defaults
SELECT options, pg_temp.server(options)
FROM (VALUES
	($$line ''$$),
	($$line '0044123456'$$),
	($$line '983000330000', line2 'backup'$$),
	($$line2 '983000330000'$$),
	($$line '983000330000', line2 '3000330000'$$),
	($$line '983000330000', line2 '983000330001', type '1'$$),
	($$line '983000330000', line2 '983000330001', type '2'$$)) AS v (options);

-- other invalid values
SELECT options, pg_temp.server(options)
FROM (VALUES
	($$type '3'$$),
	($$type '-1'$$),
	($$type ''$$),
	($$type '1.0'$$),
	($$type '1 '$$),
	($$type ' 1'$$),
	($$template '-1'$$),
	($$template '2147483648'$$),
	($$template 'code'$$),
	($$max_in_flight '0'$$),
	($$max_in_flight '100001'$$),
	($$rate '-1'$$),
	($$rate '1e-7'$$),
	($$rate '0.0000001'$$),
	($$rate '1000001'$$),
	($$rate 'inf'$$),
	($$rate 'nan'$$),
	($$rate '0x10'$$),
	($$rate '0,2'$$),
	($$rate '1.2.3'$$),
	($$rate ''$$),
	($$timeout '0'$$),
	($$timeout '-1 s'$$),
	($$timeout '1 day -24 hours'$$),
	($$timeout '110 years'$$),
	($$connect_timeout '0'$$),
	($$validity '0'$$),
	($$retention '-1 day'$$),
	($$redact_after '-1 day'$$),
	($$max_parts '0'$$),
	($$max_parts '256'$$),
	($$max_parts '2.5'$$),
	($$max_attempts '0'$$),
	($$max_attempts '1001'$$),
	($$stop_after_unknown '0'$$),
	($$on_unknown 'Hold'$$),
	($$on_unknown 'drop'$$),
	($$on_unknown ''$$),
	($$transient_codes '15;23'$$),
	($$transient_codes '15,,23'$$),
	($$account_codes '15,'$$),
	($$account_codes '20-16'$$),
	($$refused_codes '-1'$$),
	($$refused_codes 'all'$$),
	($$transient_codes '15', refused_codes '1-20'$$),
	($$line_codes '12', hours_codes '8-12'$$),
	($$unsent_statuses '200'$$),
	($$unsent_statuses '429 503'$$),
	($$unsent_statuses '503,'$$),
	($$paused 'maybe'$$),
	($$paused ''$$),
	($$ca_file ''$$),
	($$ca_file 'gateway.pem'$$),
	($$record_opt_outs 'perhaps'$$),
	($$max_parts_per_day '0'$$),
	($$max_per_mobile '3'$$),
	($$max_per_mobile '0/10min'$$),
	($$max_per_mobile '3/0'$$),
	($$max_per_mobile '3/25h'$$),
	($$hours '8-22'$$),
	($$hours '08:00-08:00'$$),
	($$hours '08:00-24:01'$$),
	($$timezone 'Asia/Teheran'$$),
	($$urgent_priority '11'$$),
	($$keep_idle '-1s'$$),
	($$delivery 'on', url 'http://sms.3300.ir/send'$$),
	($$delivery_checks ''$$),
	($$delivery_checks '5min, 1min'$$),
	($$delivery_checks '1s,2s,3s,4s,5s,6s,7s,8s,9s,10s,11s'$$),
	($$delivery_batch '0'$$),
	($$delivered_codes '1', waiting_codes '0-1'$$),
	($$delivery_items '$.data[*]'$$),
	($$delivery_items '$[', delivery_id '$.id', delivery_state '$.state'$$),
	($$delivery_url 'ftp://sms.3300.ir/'$$),
	($$notify ''$$),
	($$notify 'a channel whose name is longer than any identifier of PostgreSQL can be'$$)) AS v (options);
-- an invalid interval is PostgreSQL's error; the context names the option
CREATE SERVER regress_sms3300_trial FOREIGN DATA WRAPPER sms3300 OPTIONS (timeout '5s', validity 'soon');

-- a rate so small that it would become 0
SELECT left(pg_temp.server('rate ''0.' || repeat('0', 400) || '1'''), 42);
-- at most 200 codes and ranges
SELECT n, left(pg_temp.server(format('refused_codes %L', string_agg(i::text, ','))), 46)
FROM (VALUES (200), (201)) AS v (n), generate_series(1001, 1000 + n) AS i
GROUP BY n ORDER BY n;

-- options that servers do not have
SELECT options, pg_temp.server(options)
FROM (VALUES
	($$username 'user'$$),
	($$password 'secret'$$),
	($$password_file '/secret'$$),
	($$"Line" '983000330000'$$),
	($$host 'sms.3300.ir'$$),
	($$line '983000330000', line '983000330001'$$)) AS v (options);

--
-- User mappings
--

CREATE SERVER regress_sms3300 FOREIGN DATA WRAPPER sms3300
	OPTIONS (url 'http://127.0.0.1:1/', paused 'true');

SELECT options, pg_temp.answer('CREATE USER MAPPING FOR PUBLIC SERVER regress_sms3300 ' || options)
FROM (VALUES
	($$OPTIONS (username 'user', password 'secret')$$),
	($$OPTIONS (username 'کاربر', password ' pass word ')$$),
	($$OPTIONS (username 'user', password_file '/etc/sms3300/password')$$),
	($$$$),
	($$OPTIONS (username 'user')$$),
	($$OPTIONS (password 'secret')$$),
	($$OPTIONS (username 'user', password 'secret', password_file '/secret')$$),
	($$OPTIONS (username '', password 'secret')$$),
	($$OPTIONS (username 'user', password '')$$),
	($$OPTIONS (username 'user', password_file 'secret')$$),
	($$OPTIONS (username 'user', password_file '')$$),
	($$OPTIONS (username 'user', password 'secret', url 'http://127.0.0.1/')$$),
	($$OPTIONS (username 'user', password 'secret', line '983000330000')$$),
	($$OPTIONS (user 'user', password 'secret')$$)) AS v (options);

-- the wrapper has no options, and foreign tables cannot be read
SELECT pg_temp.answer($$ALTER FOREIGN DATA WRAPPER sms3300 OPTIONS (ADD url 'http://127.0.0.1/')$$);
SELECT pg_temp.answer($$CREATE FOREIGN TABLE regress_sms3300_table (mobile text) SERVER regress_sms3300 OPTIONS (line '983000330000')$$);

-- without options the validator is not called
SELECT _sms3300_fdw_validator(NULL, 'pg_foreign_server'::regclass) IS NULL;

--
-- Changes
--

-- a change is checked together with the existing options
ALTER SERVER regress_sms3300 OPTIONS (ADD line '983000330000', ADD line2 '983000330001');
SELECT change, pg_temp.answer('ALTER SERVER regress_sms3300 OPTIONS (' || change || ')')
FROM (VALUES
	($$SET line '1'$$),
	($$DROP line$$),
	($$DROP line, DROP line2$$),
	($$DROP line2$$),
	($$ADD rate '5'$$),
	($$ADD rate '-5'$$),
	($$ADD line '983000330000'$$),
	($$SET rate '5'$$),
	($$ADD password 'secret'$$)) AS v (change);

CREATE USER MAPPING FOR PUBLIC SERVER regress_sms3300 OPTIONS (username 'user', password 'secret');
SELECT change, pg_temp.answer('ALTER USER MAPPING FOR PUBLIC SERVER regress_sms3300 OPTIONS (' || change || ')')
FROM (VALUES
	($$SET password 'new'$$),
	($$SET password ''$$),
	($$DROP password$$),
	($$DROP password, ADD password_file '/secret'$$),
	($$ADD password_file '/secret'$$),
	($$DROP username$$)) AS v (change);

-- a message uses the current options of its account
INSERT INTO sms_outbox (mobile, message, account) VALUES ('09123456789', 'x', 'regress_sms3300')
	RETURNING send_before - send_after;
ALTER SERVER regress_sms3300 OPTIONS (ADD validity '90 minutes');
INSERT INTO sms_outbox (mobile, message, account) VALUES ('09123456789', 'x', 'regress_sms3300')
	RETURNING send_before - send_after;
ALTER SERVER regress_sms3300 OPTIONS (DROP line, DROP line2);
SELECT pg_temp.answer($$INSERT INTO sms_outbox (mobile, message, account) VALUES ('09123456789', 'x', 'regress_sms3300')$$);
DROP USER MAPPING FOR PUBLIC SERVER regress_sms3300;
SELECT left(pg_temp.answer($$INSERT INTO sms_outbox (mobile, message, account, type) VALUES ('09123456789', 'x', 'regress_sms3300', 2)$$), 5);

--
-- Options for superusers only
--

CREATE ROLE regress_sms3300_admin;
GRANT USAGE ON FOREIGN DATA WRAPPER sms3300 TO regress_sms3300_admin;
ALTER SERVER regress_sms3300 OWNER TO regress_sms3300_admin;
SET ROLE regress_sms3300_admin;
SELECT pg_temp.server($$line '983000330000'$$);
SELECT pg_temp.server($$ca_file '/etc/shadow'$$);
SELECT pg_temp.answer($$ALTER SERVER regress_sms3300 OPTIONS (ADD ca_file '/etc/shadow')$$);
SELECT pg_temp.answer($$CREATE USER MAPPING FOR PUBLIC SERVER regress_sms3300 OPTIONS (username 'user', password 'secret')$$);
SELECT pg_temp.answer($$CREATE USER MAPPING FOR PUBLIC SERVER regress_sms3300 OPTIONS (username 'user', password_file '/etc/shadow')$$);
RESET ROLE;

SET client_min_messages = warning;
DELETE FROM sms_outbox;
DROP SERVER regress_sms3300 CASCADE;
REVOKE USAGE ON FOREIGN DATA WRAPPER sms3300 FROM regress_sms3300_admin;
DROP ROLE regress_sms3300_admin;
