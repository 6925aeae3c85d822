\echo Use "ALTER EXTENSION sms3300 UPDATE TO '1.1'" to load this file. \quit

-- The answer changes with what the message waits for, not within a statement; said
-- so that a report is sorted and cut before its lines are explained.
-- The first installations of 1.0 have no such function.
DROP FUNCTION IF EXISTS @extschema@.sms3300_explain(bigint);
CREATE FUNCTION @extschema@.sms3300_explain(id bigint) RETURNS text
	AS 'MODULE_PATHNAME' LANGUAGE C STABLE STRICT COST 10000;
COMMENT ON FUNCTION @extschema@.sms3300_explain(bigint) IS
	'one line: why this message is where it is, and what it waits for';

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

GRANT SELECT ON @extschema@.sms_report TO PUBLIC;
