\echo Use "ALTER EXTENSION sms3300 UPDATE TO '1.2'" to load this file. \quit

-- The update from 1.1, and through it from 1.0. Make every change of SQL here and in
-- sms3300.sql, from which a new installation is made: an updated database and a new one
-- must be alike, and 120_upgrade.pl compares their catalogs.

-- ---------------------------------------------------------------------------
-- What early installations lack
--
-- 1.0 and 1.1 were never released, and 1.0 was changed while it was in use. What is
-- costly to make, or to have locked, is made only where it is missing.
-- ---------------------------------------------------------------------------

DO $repair$
DECLARE
	outbox pg_catalog.oid := '@extschema@.sms_outbox'::pg_catalog.regclass::pg_catalog.oid;
BEGIN
	IF EXISTS (SELECT FROM pg_catalog.pg_policy AS p
		WHERE p.polrelid OPERATOR(pg_catalog.=) outbox
		AND p.polname OPERATOR(pg_catalog.=) 'sms_outbox_own' AND p.polcmd OPERATOR(pg_catalog.=) '*')
	THEN
		DROP POLICY sms_outbox_own ON @extschema@.sms_outbox;
		CREATE POLICY sms_outbox_own ON @extschema@.sms_outbox FOR SELECT
			USING (sender OPERATOR(pg_catalog.=) CURRENT_USER);
		COMMENT ON POLICY sms_outbox_own ON @extschema@.sms_outbox IS
			'a role sees the messages that it queued';
		CREATE POLICY sms_outbox_queue ON @extschema@.sms_outbox FOR INSERT
			WITH CHECK (sender OPERATOR(pg_catalog.=) CURRENT_USER);
		COMMENT ON POLICY sms_outbox_queue ON @extschema@.sms_outbox IS
			'a role queues messages in its own name';
	END IF;

	IF EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.oid OPERATOR(pg_catalog.=) outbox
		AND 'fillfactor=80' OPERATOR(pg_catalog.=) ANY (c.reloptions))
	THEN
		ALTER TABLE @extschema@.sms_outbox SET (fillfactor = 50);
	END IF;

	IF (SELECT pg_catalog.array_length(t.tgattr::pg_catalog.int2[], 1) OPERATOR(pg_catalog.<) 11
		FROM pg_catalog.pg_trigger AS t WHERE t.tgrelid OPERATOR(pg_catalog.=) outbox
		AND t.tgname OPERATOR(pg_catalog.=) 'sms3300_update')
	THEN
		DROP TRIGGER sms3300_update ON @extschema@.sms_outbox;
		CREATE TRIGGER sms3300_update
			BEFORE UPDATE OF mobile, message, line, line2, type, template, account, priority,
				send_after, send_before, dedup_key
			ON @extschema@.sms_outbox
			FOR EACH ROW EXECUTE FUNCTION @extschema@.sms3300_outbox_update();
		COMMENT ON TRIGGER sms3300_update ON @extschema@.sms_outbox IS
			'checks a queued row that is changed by hand';
	END IF;

	IF EXISTS (SELECT FROM pg_catalog.pg_index AS i
		JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid
		WHERE i.indrelid OPERATOR(pg_catalog.=) outbox
		AND c.relname OPERATOR(pg_catalog.=) 'sms_outbox_expiry_idx'
		AND pg_catalog.pg_get_expr(i.indpred, i.indrelid) OPERATOR(pg_catalog.=) '(due_at IS NOT NULL)')
	THEN
		DROP INDEX @extschema@.sms_outbox_expiry_idx;
		CREATE INDEX sms_outbox_expiry_idx ON @extschema@.sms_outbox
			(origin, send_before) WHERE finished_at IS NULL;
	END IF;

	IF NOT EXISTS (SELECT FROM pg_catalog.pg_index AS i
		JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid
		WHERE i.indrelid OPERATOR(pg_catalog.=) outbox
		AND c.relname OPERATOR(pg_catalog.=) 'sms_outbox_finished_idx')
	THEN
		CREATE INDEX sms_outbox_finished_idx ON @extschema@.sms_outbox
			(account, ((message IS NULL)::integer), finished_at) WHERE finished_at IS NOT NULL;
	END IF;

	IF NOT EXISTS (SELECT FROM pg_catalog.pg_index AS i
		JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid
		WHERE i.indrelid OPERATOR(pg_catalog.=) outbox
		AND c.relname OPERATOR(pg_catalog.=) 'sms_outbox_retry_idx')
	THEN
		CREATE INDEX sms_outbox_retry_idx ON @extschema@.sms_outbox
			(origin, account, due_at) WHERE due_at OPERATOR(pg_catalog.>) send_after;
	END IF;
END
$repair$;

ALTER FUNCTION @extschema@.sms3300_send(text, text, text, text, integer, integer, name, integer, timestamptz, timestamptz, text, jsonb) COST 10000;
ALTER FUNCTION @extschema@.sms3300_send_now(text, text, text, text, integer, integer, name) COST 10000;
ALTER FUNCTION @extschema@.sms3300_cancel(bigint) COST 10000;
ALTER FUNCTION @extschema@.sms3300_resend(bigint) COST 10000;

-- ---------------------------------------------------------------------------
-- Views and what they call
--
-- They are made again, as they are in sms3300.sql.
-- ---------------------------------------------------------------------------

DROP VIEW @extschema@.sms_report;
DROP VIEW IF EXISTS @extschema@.sms3300_stat_account, @extschema@.sms3300_stat_worker;
DROP FUNCTION @extschema@.sms3300_report();
DROP FUNCTION IF EXISTS @extschema@.sms3300_stat_get_worker(oid), @extschema@.sms3300_stat_get_account(name),
	@extschema@.sms3300_stat_get_queued(bigint, name), @extschema@.sms3300_stat_get_oldest_due_at(bigint, name),
	@extschema@.sms3300_stat_get_foreign_rows(bigint, name), @extschema@.sms3300_stat_reset();

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

-- The view reads through a function, because a function in a view has the rights of
-- whoever asks: row-level security shows each role its own messages. The planner
-- puts the function's query in its place, with all its conditions.
CREATE FUNCTION @extschema@.sms3300_report(
	OUT id bigint, OUT queued_at timestamp(0), OUT mobile text, OUT message text, OUT status text,
	OUT changed_at timestamp(0), OUT line text, OUT reason text) RETURNS SETOF record
	LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT o.id, pg_catalog.date_trunc('second', o.created_at)::pg_catalog.timestamp(0),
		'0' OPERATOR(pg_catalog.||) pg_catalog.substr(o.mobile, 3),
		CASE WHEN pg_catalog.length(o.message) OPERATOR(pg_catalog.<=) 30 THEN o.message
			ELSE pg_catalog.left(o.message, 27) OPERATOR(pg_catalog.||) '...' END,
		CASE WHEN o.status OPERATOR(pg_catalog.=) 'queued' AND o.attempts OPERATOR(pg_catalog.=) 0 THEN 'waiting'
			WHEN o.status OPERATOR(pg_catalog.=) 'queued' THEN 'waiting for its next try'
			WHEN o.status OPERATOR(pg_catalog.=) 'sending' THEN 'on its way'
			WHEN o.status OPERATOR(pg_catalog.=) 'rejected' THEN 'refused'
			WHEN o.status OPERATOR(pg_catalog.=) 'failed' THEN 'given up'
			WHEN o.status OPERATOR(pg_catalog.=) 'unknown' THEN 'may have been sent'
			ELSE o.status::pg_catalog.text END,
		pg_catalog.date_trunc('second', COALESCE(o.finished_at, o.started_at, o.created_at))::pg_catalog.timestamp(0),
		o.sent_line,
		CASE WHEN o.status OPERATOR(pg_catalog.=) 'queued'
			THEN pg_catalog.substr(@extschema@.sms3300_explain(o.id), 9)
			ELSE o.error END
	FROM @extschema@.sms_outbox AS o;
END;
COMMENT ON FUNCTION @extschema@.sms3300_report() IS
	'the rows of sms_report';

CREATE VIEW @extschema@.sms_report AS
SELECT r.id, r.queued_at, r.mobile, r.message, r.status, r.changed_at, r.line, r.reason
FROM @extschema@.sms3300_report() AS r;
COMMENT ON VIEW @extschema@.sms_report IS
	'sms_outbox for a person: a line for each message that the caller may see, times in the session''s time zone';
COMMENT ON COLUMN @extschema@.sms_report.id IS 'the message''s number';
COMMENT ON COLUMN @extschema@.sms_report.queued_at IS 'when it was queued, local time';
COMMENT ON COLUMN @extschema@.sms_report.mobile IS 'recipient, as it is dialled in Iran';
COMMENT ON COLUMN @extschema@.sms_report.message IS 'the first 30 characters of the text';
COMMENT ON COLUMN @extschema@.sms_report.status IS
	'waiting, waiting for its next try, on its way, sent, refused, given up, may have been sent, expired, cancelled';
COMMENT ON COLUMN @extschema@.sms_report.changed_at IS 'when it came to that, local time; of one that waits: its last try';
COMMENT ON COLUMN @extschema@.sms_report.line IS 'the line that carried it';
COMMENT ON COLUMN @extschema@.sms_report.reason IS 'what it waits for, or why it was not sent';

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
GRANT SELECT ON @extschema@.sms_report TO PUBLIC;
