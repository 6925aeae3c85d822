\echo Use "CREATE EXTENSION sms3300" to load this file. \quit

-- 1.0 as it was in its first days, under a number of its own.

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

-- due_at is NULL once a message is finished: it makes the queue's indexes. A
-- claim changes no indexed column. The source counts on the columns' order.
CREATE TABLE @extschema@.sms_outbox
(
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	mobile text NOT NULL,
	message text,
	line text,
	line2 text,
	type smallint CHECK (type BETWEEN 0 AND 2),
	template integer CHECK (template >= 0),
	account name NOT NULL,
	priority smallint NOT NULL DEFAULT 0 CHECK (priority BETWEEN 0 AND 9),
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
		CHECK ((due_at IS NOT NULL) OPERATOR(pg_catalog.=) (status IN ('queued', 'sending')))
)
WITH (fillfactor = 80,
	autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000,
	autovacuum_analyze_scale_factor = 0.1);

CREATE INDEX sms_outbox_queue_idx ON @extschema@.sms_outbox
	(origin, account, priority DESC, due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX sms_outbox_expiry_idx ON @extschema@.sms_outbox
	(origin, send_before) WHERE due_at IS NOT NULL;
CREATE UNIQUE INDEX sms_outbox_dedup_idx ON @extschema@.sms_outbox
	(sender, dedup_key) WHERE dedup_key IS NOT NULL;

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
	BEFORE UPDATE OF mobile, message, line, line2, type, template, account, priority, send_after
	ON @extschema@.sms_outbox
	FOR EACH ROW EXECUTE FUNCTION @extschema@.sms3300_outbox_update();
COMMENT ON TRIGGER sms3300_update ON @extschema@.sms_outbox IS
	'checks a queued row that is changed by hand';

-- ---------------------------------------------------------------------------
-- What callers call
-- ---------------------------------------------------------------------------

CREATE FUNCTION @extschema@.sms3300_send(
	mobile text, message text, line text DEFAULT NULL, line2 text DEFAULT NULL,
	type integer DEFAULT NULL, template integer DEFAULT NULL, account name DEFAULT NULL,
	priority integer DEFAULT NULL, send_after timestamptz DEFAULT NULL,
	send_before timestamptz DEFAULT NULL, dedup_key text DEFAULT NULL,
	metadata jsonb DEFAULT NULL) RETURNS bigint
	AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION @extschema@.sms3300_send(text, text, text, text, integer, integer, name, integer, timestamptz, timestamptz, text, jsonb) IS
	'queues a message in the current transaction; returns its id, or that of the message with the same dedup_key';

CREATE FUNCTION @extschema@.sms3300_send_now(
	mobile text, message text, line text DEFAULT NULL, line2 text DEFAULT NULL,
	type integer DEFAULT NULL, template integer DEFAULT NULL, account name DEFAULT NULL)
	RETURNS jsonb
	AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION @extschema@.sms3300_send_now(text, text, text, text, integer, integer, name) IS
	'asks the gateway at once and returns its reply; for trying an account out: nothing is queued, and a rollback does not unsend';

CREATE FUNCTION @extschema@.sms3300_cancel(id bigint) RETURNS boolean
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION @extschema@.sms3300_cancel(bigint) IS
	'a queued message will not be sent; false if it is not queued, or not the caller''s to see';

CREATE FUNCTION @extschema@.sms3300_resend(id bigint) RETURNS boolean
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION @extschema@.sms3300_resend(bigint) IS
	'queues a finished message again, any but one that was sent; false if there is none, or not the caller''s to see';

CREATE FUNCTION @extschema@.sms3300_adopt() RETURNS bigint
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION @extschema@.sms3300_adopt() IS
	'makes queued rows that came from another database (restored, copied, replicated) this one''s; returns how many';

-- ---------------------------------------------------------------------------
-- Who may do what
-- ---------------------------------------------------------------------------

ALTER TABLE @extschema@.sms_outbox ENABLE ROW LEVEL SECURITY;
CREATE POLICY sms_outbox_own ON @extschema@.sms_outbox
	USING (sender OPERATOR(pg_catalog.=) CURRENT_USER);
COMMENT ON POLICY sms_outbox_own ON @extschema@.sms_outbox IS
	'a role sees the messages that it queued';

REVOKE ALL ON @extschema@.sms_outbox FROM PUBLIC;
GRANT SELECT, INSERT (mobile, message, line, line2, type, template, account, priority,
	send_after, send_before, dedup_key, metadata) ON @extschema@.sms_outbox TO PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.sms3300_adopt() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.sms3300_outbox_insert() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.sms3300_outbox_update() FROM PUBLIC;
