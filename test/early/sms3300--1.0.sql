\echo Use "CREATE EXTENSION sms3300" to load this file. \quit

-- 1.0 as it was in the end. It was never released: the tests of updates install it.

-- ---------------------------------------------------------------------------
-- Numbers and texts
-- ---------------------------------------------------------------------------

CREATE FUNCTION @extschema@.sms3300_mobile(text) RETURNS text
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION @extschema@.sms3300_mobile(text) IS
	'canonical form of an Iranian mobile number, 989XXXXXXXXX; error 22023 if it is none';

CREATE FUNCTION @extschema@.sms3300_is_mobile(text) RETURNS boolean
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION @extschema@.sms3300_is_mobile(text) IS
	'whether sms3300_mobile takes the text for a mobile number';

CREATE FUNCTION @extschema@.sms3300_segments(text,
	OUT encoding text, OUT units integer, OUT parts integer, OUT units_left integer) RETURNS record
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION @extschema@.sms3300_segments(text) IS
	'how a text is split: encoding GSM-7 or UCS-2, units in all, parts, and units left in the last part';

-- ---------------------------------------------------------------------------
-- Accounts
-- ---------------------------------------------------------------------------

CREATE FUNCTION @extschema@.sms3300_fdw_validator(text[], oid) RETURNS void
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION @extschema@.sms3300_fdw_validator(text[], oid) IS
	'checks the options of accounts and their user mappings';

CREATE FOREIGN DATA WRAPPER sms3300 VALIDATOR @extschema@.sms3300_fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER sms3300 IS
	'accounts of the 3300 SMS gateway; USAGE on a server of this wrapper lets a role send with it';

-- ---------------------------------------------------------------------------
-- The queue and its history
-- ---------------------------------------------------------------------------

CREATE TYPE @extschema@.sms_status AS ENUM
	('queued', 'sending', 'sent', 'rejected', 'failed', 'unknown', 'expired', 'cancelled');
COMMENT ON TYPE @extschema@.sms_status IS
	'queued, sending; sent: the gateway accepted it; rejected: it refused it; failed: given up; unknown: it may have been sent; expired; cancelled';

-- due_at is NULL once a message is finished: it makes the queue's index. A claim
-- changes no indexed column, and half of each page is left free: so it finds room
-- beside the row and touches no index. The source counts on the columns' order.
CREATE TABLE @extschema@.sms_outbox
(
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	mobile text NOT NULL,
	message text,
	line text,
	line2 text,
	type smallint CHECK (type OPERATOR(pg_catalog.>=) 0 AND type OPERATOR(pg_catalog.<=) 2),
	template integer CHECK (template OPERATOR(pg_catalog.>=) 0),
	account name NOT NULL,
	priority smallint NOT NULL DEFAULT 0
		CHECK (priority OPERATOR(pg_catalog.>=) 0 AND priority OPERATOR(pg_catalog.<=) 9),
	send_after timestamptz NOT NULL DEFAULT pg_catalog.now(),
	send_before timestamptz NOT NULL,
	dedup_key text,
	metadata jsonb,
	sender name NOT NULL,
	created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	status @extschema@.sms_status NOT NULL DEFAULT 'queued',
	attempts smallint NOT NULL DEFAULT 0,
	due_at timestamptz,
	started_at timestamptz,
	finished_at timestamptz,
	http_status smallint,
	api_status integer,
	message_id bigint,
	sent_line text,
	response jsonb,
	error text,
	errors jsonb NOT NULL DEFAULT '[]',
	origin bigint NOT NULL,
	CONSTRAINT sms_outbox_due_check
		CHECK ((due_at IS NOT NULL) OPERATOR(pg_catalog.=)
			(status OPERATOR(pg_catalog.=) ANY (ARRAY['queued', 'sending']::@extschema@.sms_status[])))
)
WITH (fillfactor = 50,
	autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000,
	autovacuum_analyze_scale_factor = 0.1);

CREATE INDEX sms_outbox_queue_idx ON @extschema@.sms_outbox
	(origin, account, priority DESC, due_at, id) WHERE due_at IS NOT NULL;

-- What waits for another try is found apart from what waits for its time.
CREATE INDEX sms_outbox_retry_idx ON @extschema@.sms_outbox
	(origin, account, due_at) WHERE due_at OPERATOR(pg_catalog.>) send_after;

-- What expires is not asked for by due_at, so that the planner cannot take this index
-- for the queue's while the table is small, and keep to it.
CREATE INDEX sms_outbox_expiry_idx ON @extschema@.sms_outbox
	(origin, send_before) WHERE finished_at IS NULL;
CREATE UNIQUE INDEX sms_outbox_dedup_idx ON @extschema@.sms_outbox
	(sender, dedup_key) WHERE dedup_key IS NOT NULL;

CREATE INDEX sms_outbox_finished_idx ON @extschema@.sms_outbox
	(account, ((message IS NULL)::integer), finished_at) WHERE finished_at IS NOT NULL;

COMMENT ON TABLE @extschema@.sms_outbox IS
	'SMS: queued by INSERT or sms3300_send(), sent by a background worker, with the gateway''s reply';
COMMENT ON COLUMN @extschema@.sms_outbox.id IS 'the message''s number';
COMMENT ON COLUMN @extschema@.sms_outbox.mobile IS 'recipient; any spelling of an Iranian mobile, stored as 989XXXXXXXXX';
COMMENT ON COLUMN @extschema@.sms_outbox.message IS 'the text, sent as it is; NULL once it was redacted';
COMMENT ON COLUMN @extschema@.sms_outbox.line IS 'sender number; NULL: the account''s';
COMMENT ON COLUMN @extschema@.sms_outbox.line2 IS 'second line, for recipients who opted out of the first; NULL: the account''s';
COMMENT ON COLUMN @extschema@.sms_outbox.type IS '0 ordinary, 1 with Chelcheleh, 2 with Negin Rayaneh''s service line; NULL: the account''s';
COMMENT ON COLUMN @extschema@.sms_outbox.template IS 'number of the registered text template; NULL: the account''s';
COMMENT ON COLUMN @extschema@.sms_outbox.account IS 'the foreign server to send with; NULL in an INSERT: the setting sms3300.account';
COMMENT ON COLUMN @extschema@.sms_outbox.priority IS '0 to 9, higher first';
COMMENT ON COLUMN @extschema@.sms_outbox.send_after IS 'not sent before this time';
COMMENT ON COLUMN @extschema@.sms_outbox.send_before IS 'expires at this time; NULL in an INSERT: send_after plus the account''s validity';
COMMENT ON COLUMN @extschema@.sms_outbox.dedup_key IS 'unique for a sender while the row exists';
COMMENT ON COLUMN @extschema@.sms_outbox.metadata IS 'the caller''s own';
COMMENT ON COLUMN @extschema@.sms_outbox.sender IS 'the role that queued it';
COMMENT ON COLUMN @extschema@.sms_outbox.created_at IS 'when it was queued';
COMMENT ON COLUMN @extschema@.sms_outbox.status IS 'see the type sms_status';
COMMENT ON COLUMN @extschema@.sms_outbox.attempts IS 'requests made since it was queued; those that never left do not count';
COMMENT ON COLUMN @extschema@.sms_outbox.due_at IS 'next time it may be sent; NULL once it is finished';
COMMENT ON COLUMN @extschema@.sms_outbox.started_at IS 'when the last request began';
COMMENT ON COLUMN @extschema@.sms_outbox.finished_at IS 'when the final status was reached';
COMMENT ON COLUMN @extschema@.sms_outbox.http_status IS 'HTTP status of the last reply';
COMMENT ON COLUMN @extschema@.sms_outbox.api_status IS '"status" of the last reply: negative is success';
COMMENT ON COLUMN @extschema@.sms_outbox.message_id IS '"data.message_id" of the last reply: the gateway''s number of the message';
COMMENT ON COLUMN @extschema@.sms_outbox.sent_line IS '"data.line" of the last reply: the line that carried it';
COMMENT ON COLUMN @extschema@.sms_outbox.response IS 'the last reply; {"raw": "..."} where it was no JSON; cut at 64 kB';
COMMENT ON COLUMN @extschema@.sms_outbox.error IS 'why the last attempt failed';
COMMENT ON COLUMN @extschema@.sms_outbox.errors IS 'an object for each failed attempt, the last 50: attempt, at, phase, http_status, api_status, error';
COMMENT ON COLUMN @extschema@.sms_outbox.origin IS 'hash of the cluster and database that queued it; others do not send it';

-- What is queued, what became of it, and the numbering, belong in a dump.
SELECT pg_catalog.pg_extension_config_dump('@extschema@.sms_outbox', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.sms_outbox_id_seq', '');

CREATE FUNCTION @extschema@.sms3300_outbox_insert() RETURNS trigger
	AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION @extschema@.sms3300_outbox_insert() IS
	'checks and completes a row of sms_outbox, and wakes the worker at commit';
CREATE TRIGGER sms3300_insert BEFORE INSERT ON @extschema@.sms_outbox
	FOR EACH ROW EXECUTE FUNCTION @extschema@.sms3300_outbox_insert();
COMMENT ON TRIGGER sms3300_insert ON @extschema@.sms_outbox IS
	'checks and completes each row, and wakes the worker at commit';

CREATE FUNCTION @extschema@.sms3300_outbox_update() RETURNS trigger
	AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION @extschema@.sms3300_outbox_update() IS
	'checks a queued row of sms_outbox that is changed by hand';
CREATE TRIGGER sms3300_update
	BEFORE UPDATE OF mobile, message, line, line2, type, template, account, priority,
		send_after, send_before, dedup_key
	ON @extschema@.sms_outbox
	FOR EACH ROW EXECUTE FUNCTION @extschema@.sms3300_outbox_update();
COMMENT ON TRIGGER sms3300_update ON @extschema@.sms_outbox IS
	'checks a queued row that is changed by hand';

-- ---------------------------------------------------------------------------
-- What callers call
--
-- They cost much, so that in a WHERE clause the other conditions come first.
-- ---------------------------------------------------------------------------

CREATE FUNCTION @extschema@.sms3300_send(
	mobile text, message text, line text DEFAULT NULL, line2 text DEFAULT NULL,
	type integer DEFAULT NULL, template integer DEFAULT NULL, account name DEFAULT NULL,
	priority integer DEFAULT NULL, send_after timestamptz DEFAULT NULL,
	send_before timestamptz DEFAULT NULL, dedup_key text DEFAULT NULL,
	metadata jsonb DEFAULT NULL) RETURNS bigint
	AS 'MODULE_PATHNAME' LANGUAGE C COST 10000;
COMMENT ON FUNCTION @extschema@.sms3300_send(text, text, text, text, integer, integer, name, integer, timestamptz, timestamptz, text, jsonb) IS
	'queues a message in the current transaction; returns its id, or that of the message with the same dedup_key';

CREATE FUNCTION @extschema@.sms3300_send_now(
	mobile text, message text, line text DEFAULT NULL, line2 text DEFAULT NULL,
	type integer DEFAULT NULL, template integer DEFAULT NULL, account name DEFAULT NULL)
	RETURNS jsonb
	AS 'MODULE_PATHNAME' LANGUAGE C COST 10000;
COMMENT ON FUNCTION @extschema@.sms3300_send_now(text, text, text, text, integer, integer, name) IS
	'asks the gateway at once and returns its reply; for trying an account out: nothing is queued, and a rollback does not unsend';

CREATE FUNCTION @extschema@.sms3300_cancel(id bigint) RETURNS boolean
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT COST 10000;
COMMENT ON FUNCTION @extschema@.sms3300_cancel(bigint) IS
	'a queued message will not be sent; false if it is not queued, or not the caller''s to see';

CREATE FUNCTION @extschema@.sms3300_resend(id bigint) RETURNS boolean
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT COST 10000;
COMMENT ON FUNCTION @extschema@.sms3300_resend(bigint) IS
	'queues a finished message again, any but one that was sent; false if there is none, or not the caller''s to see';

CREATE FUNCTION @extschema@.sms3300_adopt() RETURNS bigint
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION @extschema@.sms3300_adopt() IS
	'makes queued rows that came from another database (restored, copied, replicated) this one''s; returns how many';

CREATE FUNCTION @extschema@.sms3300_explain(id bigint) RETURNS text
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT COST 10000;
COMMENT ON FUNCTION @extschema@.sms3300_explain(bigint) IS
	'one line: why this message is where it is, and what it waits for';

-- ---------------------------------------------------------------------------
-- What DBAs look at
--
-- The counters are in shared memory. What is queued is counted in the queue's
-- index, however many messages are finished: the settings of the functions that do
-- so leave the planner nothing else, whatever it knows of a table whose queue comes
-- and goes. The view calls each of them where its column is asked for only.
-- ---------------------------------------------------------------------------

CREATE FUNCTION @extschema@.sms3300_stat_get_worker(database oid,
	OUT pid integer, OUT state text, OUT started_at timestamptz, OUT in_flight integer,
	OUT last_error text, OUT last_error_at timestamptz) RETURNS record
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION @extschema@.sms3300_stat_get_worker(oid) IS
	'a row of sms3300_stat_worker';

CREATE FUNCTION @extschema@.sms3300_stat_get_account(account name,
	OUT origin bigint, OUT state text, OUT reason text, OUT next_probe_at timestamptz,
	OUT in_flight integer, OUT sent bigint, OUT rejected bigint, OUT failed bigint,
	OUT unknown bigint, OUT expired bigint, OUT retried bigint, OUT requests bigint,
	OUT request_time_sum double precision, OUT request_time_p50 double precision,
	OUT request_time_p95 double precision, OUT request_time_p99 double precision,
	OUT wait_time_sum double precision, OUT wait_time_p50 double precision,
	OUT wait_time_p95 double precision, OUT wait_time_p99 double precision,
	OUT stats_reset timestamptz) RETURNS record
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION @extschema@.sms3300_stat_get_account(name) IS
	'a row of sms3300_stat_account, without what is counted in the table';

-- A message that is due later is not on its way, so that the index alone tells that it
-- is queued. The time is taken once the snapshot is: no claim that this has is later.
CREATE FUNCTION @extschema@.sms3300_stat_get_queued(origin bigint, account name) RETURNS bigint
	LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off SET enable_bitmapscan = off
	SET max_parallel_workers_per_gather = 0 SET jit = off
BEGIN ATOMIC
	SELECT pg_catalog.sum((SELECT pg_catalog.count(*) FROM @extschema@.sms_outbox AS o
			WHERE o.origin OPERATOR(pg_catalog.=) $1 AND o.account OPERATOR(pg_catalog.=) $2
			AND o.priority OPERATOR(pg_catalog.=) p.priority
			AND o.due_at OPERATOR(pg_catalog.<=) t.now AND o.status OPERATOR(pg_catalog.=) 'queued')
		OPERATOR(pg_catalog.+) (SELECT pg_catalog.count(*) FROM @extschema@.sms_outbox AS o
			WHERE o.origin OPERATOR(pg_catalog.=) $1 AND o.account OPERATOR(pg_catalog.=) $2
			AND o.priority OPERATOR(pg_catalog.=) p.priority
			AND o.due_at OPERATOR(pg_catalog.>) t.now))::pg_catalog.int8
	FROM pg_catalog.generate_series(9, 0, -1) AS p (priority),
		(SELECT pg_catalog.clock_timestamp() AS now) AS t;
END;
COMMENT ON FUNCTION @extschema@.sms3300_stat_get_queued(bigint, name) IS
	'how many messages of an account wait';

CREATE FUNCTION @extschema@.sms3300_stat_get_oldest_due_at(origin bigint, account name)
	RETURNS timestamptz
	LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off SET enable_bitmapscan = off
	SET max_parallel_workers_per_gather = 0 SET jit = off
BEGIN ATOMIC
	SELECT pg_catalog.min(q.due_at) FROM pg_catalog.generate_series(9, 0, -1) AS p (priority)
	CROSS JOIN LATERAL (SELECT o.due_at FROM @extschema@.sms_outbox AS o
		WHERE o.origin OPERATOR(pg_catalog.=) $1 AND o.account OPERATOR(pg_catalog.=) $2
		AND o.priority OPERATOR(pg_catalog.=) p.priority
		AND o.due_at IS NOT NULL AND o.status OPERATOR(pg_catalog.=) 'queued'
		ORDER BY o.due_at, o.id LIMIT 1) AS q;
END;
COMMENT ON FUNCTION @extschema@.sms3300_stat_get_oldest_due_at(bigint, name) IS
	'when the first of the messages of an account that wait was, or is, due';

CREATE FUNCTION @extschema@.sms3300_stat_get_foreign_rows(origin bigint, account name)
	RETURNS bigint
	LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off SET enable_bitmapscan = off
	SET max_parallel_workers_per_gather = 0 SET jit = off
BEGIN ATOMIC
	SELECT (SELECT pg_catalog.count(*) FROM @extschema@.sms_outbox AS o
			WHERE o.origin OPERATOR(pg_catalog.<) $1 AND o.account OPERATOR(pg_catalog.=) $2
			AND o.due_at IS NOT NULL)
		OPERATOR(pg_catalog.+) (SELECT pg_catalog.count(*) FROM @extschema@.sms_outbox AS o
			WHERE o.origin OPERATOR(pg_catalog.>) $1 AND o.account OPERATOR(pg_catalog.=) $2
			AND o.due_at IS NOT NULL);
END;
COMMENT ON FUNCTION @extschema@.sms3300_stat_get_foreign_rows(bigint, name) IS
	'how many unfinished messages of an account another database queued';

CREATE FUNCTION @extschema@.sms3300_stat_reset() RETURNS void
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION @extschema@.sms3300_stat_reset() IS
	'the counters of this database''s accounts begin anew';

CREATE VIEW @extschema@.sms3300_stat_worker AS
SELECT d.datname, w.pid, w.state, w.started_at, w.in_flight, w.last_error, w.last_error_at
FROM pg_catalog.pg_database AS d
CROSS JOIN LATERAL @extschema@.sms3300_stat_get_worker(d.oid) AS w
WHERE w.state IS NOT NULL;
COMMENT ON VIEW @extschema@.sms3300_stat_worker IS
	'the workers: a row for each database that sends, or may have to';
COMMENT ON COLUMN @extschema@.sms3300_stat_worker.datname IS 'the database';
COMMENT ON COLUMN @extschema@.sms3300_stat_worker.pid IS 'the worker''s process; NULL: none';
COMMENT ON COLUMN @extschema@.sms3300_stat_worker.state IS
	'running; starting; waiting: all workers are in use; restarting: it has ended, and comes back after a pause; none: there is nothing to do';
COMMENT ON COLUMN @extschema@.sms3300_stat_worker.started_at IS 'when the worker started';
COMMENT ON COLUMN @extschema@.sms3300_stat_worker.in_flight IS 'requests on the wire';
COMMENT ON COLUMN @extschema@.sms3300_stat_worker.last_error IS 'the last error of a worker of this database';
COMMENT ON COLUMN @extschema@.sms3300_stat_worker.last_error_at IS 'when that was';

CREATE VIEW @extschema@.sms3300_stat_account AS
SELECT s.srvname AS account, a.state, a.reason, a.next_probe_at,
	@extschema@.sms3300_stat_get_queued(a.origin, s.srvname) AS queued,
	@extschema@.sms3300_stat_get_oldest_due_at(a.origin, s.srvname) AS oldest_due_at, a.in_flight,
	a.sent, a.rejected, a.failed, a.unknown, a.expired, a.retried,
	@extschema@.sms3300_stat_get_foreign_rows(a.origin, s.srvname) AS foreign_rows, a.requests,
	a.request_time_sum, a.request_time_p50, a.request_time_p95, a.request_time_p99,
	a.wait_time_sum, a.wait_time_p50, a.wait_time_p95, a.wait_time_p99, a.stats_reset
FROM pg_catalog.pg_foreign_server AS s
JOIN pg_catalog.pg_foreign_data_wrapper AS w
	ON w.oid OPERATOR(pg_catalog.=) s.srvfdw AND w.fdwname OPERATOR(pg_catalog.=) 'sms3300'
CROSS JOIN LATERAL @extschema@.sms3300_stat_get_account(s.srvname) AS a;
COMMENT ON VIEW @extschema@.sms3300_stat_account IS
	'the accounts of this database: how each is doing, and what it has done since stats_reset';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.account IS 'the foreign server';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.state IS 'ok; paused: by an option or a setting; stopped: by a refusal, and probing';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.reason IS 'why it is paused or stopped';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.next_probe_at IS 'stopped: when a message is tried next; NULL while one is being tried';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.queued IS 'messages that wait, those for later included';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.oldest_due_at IS 'when the first of them was, or is, due';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.in_flight IS 'requests on the wire';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.sent IS 'messages that the gateway accepted';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.rejected IS 'messages that it refused';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.failed IS 'messages given up after max_attempts';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.unknown IS 'messages that may have been sent';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.expired IS 'messages that were not sent in time';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.retried IS 'requests after which the message was queued again';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.foreign_rows IS 'unfinished messages that another database queued; see sms3300_adopt()';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.requests IS 'requests that ended';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.request_time_sum IS 'from the start to the end of all requests, in milliseconds';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.request_time_p50 IS 'the median of that, in milliseconds; percentiles are right to an eighth';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.request_time_p95 IS '95 of 100 requests took no longer, in milliseconds';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.request_time_p99 IS '99 of 100 requests took no longer, in milliseconds';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.wait_time_sum IS 'from when messages were due to their last request, in milliseconds; of those sent, rejected, failed and unknown';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.wait_time_p50 IS 'the median of that, in milliseconds';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.wait_time_p95 IS '95 of 100 messages waited no longer, in milliseconds';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.wait_time_p99 IS '99 of 100 messages waited no longer, in milliseconds';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.stats_reset IS 'since when is counted: the first use after the servers start, or sms3300_stat_reset(); NULL: not used yet';

-- ---------------------------------------------------------------------------
-- Who may do what
-- ---------------------------------------------------------------------------

ALTER TABLE @extschema@.sms_outbox ENABLE ROW LEVEL SECURITY;
CREATE POLICY sms_outbox_own ON @extschema@.sms_outbox FOR SELECT
	USING (sender OPERATOR(pg_catalog.=) CURRENT_USER);
COMMENT ON POLICY sms_outbox_own ON @extschema@.sms_outbox IS
	'a role sees the messages that it queued';

-- There is none for UPDATE and DELETE: a message that is changed by hand would be sent
-- without asking who may send, also by who has these rights on all tables.
CREATE POLICY sms_outbox_queue ON @extschema@.sms_outbox FOR INSERT
	WITH CHECK (sender OPERATOR(pg_catalog.=) CURRENT_USER);
COMMENT ON POLICY sms_outbox_queue ON @extschema@.sms_outbox IS
	'a role queues messages in its own name';

REVOKE ALL ON @extschema@.sms_outbox FROM PUBLIC;
GRANT SELECT, INSERT (mobile, message, line, line2, type, template, account, priority,
	send_after, send_before, dedup_key, metadata) ON @extschema@.sms_outbox TO PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.sms3300_adopt() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.sms3300_outbox_insert() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.sms3300_outbox_update() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.sms3300_stat_reset() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.sms3300_stat_get_worker(oid) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.sms3300_stat_get_account(name) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.sms3300_stat_get_queued(bigint, name) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.sms3300_stat_get_oldest_due_at(bigint, name) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.sms3300_stat_get_foreign_rows(bigint, name) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.sms3300_stat_get_worker(oid) TO pg_monitor;
GRANT EXECUTE ON FUNCTION @extschema@.sms3300_stat_get_account(name) TO pg_monitor;
GRANT EXECUTE ON FUNCTION @extschema@.sms3300_stat_get_queued(bigint, name) TO pg_monitor;
GRANT EXECUTE ON FUNCTION @extschema@.sms3300_stat_get_oldest_due_at(bigint, name) TO pg_monitor;
GRANT EXECUTE ON FUNCTION @extschema@.sms3300_stat_get_foreign_rows(bigint, name) TO pg_monitor;
REVOKE ALL ON @extschema@.sms3300_stat_worker, @extschema@.sms3300_stat_account FROM PUBLIC;
GRANT SELECT ON @extschema@.sms3300_stat_worker, @extschema@.sms3300_stat_account TO pg_monitor;
