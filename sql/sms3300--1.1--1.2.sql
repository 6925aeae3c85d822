\echo Use "ALTER EXTENSION sms3300 UPDATE TO '1.2'" to load this file. \quit

-- The update from 1.1, and through it from 1.0. Make every change here and in sms3300.sql,
-- which new installations use. An updated database and a new one must be identical;
-- 120_upgrade.pl compares their catalogs.

-- ---------------------------------------------------------------------------
-- Differences of early installations
--
-- 1.0 and 1.1 were never released, and 1.0 was changed while it was in use. Objects that
-- are costly to build or to lock are created only where they are missing.
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
		CREATE POLICY sms_outbox_queue ON @extschema@.sms_outbox FOR INSERT
			WITH CHECK (sender OPERATOR(pg_catalog.=) CURRENT_USER);
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

-- Names that \df sms* does not show.
ALTER FUNCTION @extschema@.sms3300_outbox_insert() RENAME TO _sms3300_outbox_insert;
ALTER FUNCTION @extschema@.sms3300_outbox_update() RENAME TO _sms3300_outbox_update;
ALTER FUNCTION @extschema@.sms3300_fdw_validator(text[], oid) RENAME TO _sms3300_fdw_validator;

-- ---------------------------------------------------------------------------
-- The table and its type
--
-- A label that is added here cannot be used in this transaction. New columns are the last
-- ones.
-- ---------------------------------------------------------------------------

ALTER TYPE @extschema@.sms_status ADD VALUE 'suppressed';
ALTER TABLE @extschema@.sms_outbox RENAME COLUMN errors TO events;
-- From PostgreSQL 18 on, the constraint has a name, which is the column's.
ALTER TABLE @extschema@.sms_outbox ALTER events DROP NOT NULL, ALTER events SET NOT NULL;

CREATE TYPE @extschema@.sms_delivery AS ENUM ('waiting', 'delivered', 'undelivered', 'unconfirmed');
COMMENT ON TYPE @extschema@.sms_delivery IS
	'Delivery state of a sent message, as the gateway tells it. waiting: it will be asked for. delivered: on the handset. undelivered: it will not arrive. unconfirmed: the last look passed without a final answer.';

ALTER TABLE @extschema@.sms_outbox ADD COLUMN parts smallint;
ALTER TABLE @extschema@.sms_outbox ADD COLUMN dedup_released boolean;
DROP INDEX @extschema@.sms_outbox_dedup_idx;
CREATE UNIQUE INDEX sms_outbox_dedup_idx ON @extschema@.sms_outbox
	(sender, dedup_key, (CASE WHEN dedup_released THEN id ELSE 0 END)) WHERE dedup_key IS NOT NULL;
ALTER TABLE @extschema@.sms_outbox
	ADD COLUMN delivery @extschema@.sms_delivery,
	ADD COLUMN delivery_code integer,
	ADD COLUMN delivery_at timestamptz;
ALTER TABLE @extschema@.sms_outbox
	ALTER account SET DEFAULT pg_catalog.current_setting('sms3300.account', true)::pg_catalog.name,
	ALTER send_before SET DEFAULT NULLIF(pg_catalog.now(), pg_catalog.now()),
	ALTER sender SET DEFAULT CURRENT_USER,
	ALTER origin SET DEFAULT NULLIF(0::pg_catalog.int8, 0::pg_catalog.int8);

CREATE INDEX sms_outbox_sender_idx ON @extschema@.sms_outbox
	(origin, account, sender, priority DESC, due_at, id) WHERE finished_at IS NULL;

CREATE POLICY sms_outbox_read_all ON @extschema@.sms_outbox FOR SELECT TO pg_read_all_data
	USING (true);
COMMENT ON POLICY sms_outbox_read_all ON @extschema@.sms_outbox IS
	'Members of pg_read_all_data see all messages';

-- Estimates of the planner would tell a role about other senders' messages, because
-- row-level security does not apply to statistics.
ALTER TABLE @extschema@.sms_outbox
	ALTER mobile SET STATISTICS 0,
	ALTER message SET STATISTICS 0,
	ALTER dedup_key SET STATISTICS 0,
	ALTER metadata SET STATISTICS 0,
	ALTER sender SET STATISTICS 0,
	ALTER message_id SET STATISTICS 0,
	ALTER response SET STATISTICS 0,
	ALTER error SET STATISTICS 0,
	ALTER events SET STATISTICS 0;
DELETE FROM pg_catalog.pg_statistic
	WHERE starelid OPERATOR(pg_catalog.=) '@extschema@.sms_outbox'::pg_catalog.regclass
	AND staattnum OPERATOR(pg_catalog.=) ANY (SELECT a.attnum FROM pg_catalog.pg_attribute AS a
		WHERE a.attrelid OPERATOR(pg_catalog.=) starelid AND a.attstattarget OPERATOR(pg_catalog.=) 0);

ALTER FUNCTION @extschema@.sms3300_send(text, text, text, text, integer, integer, name, integer, timestamptz, timestamptz, text, jsonb) COST 10000;
ALTER FUNCTION @extschema@.sms3300_send_now(text, text, text, text, integer, integer, name) COST 10000;
ALTER FUNCTION @extschema@.sms3300_cancel(bigint) COST 10000;
ALTER FUNCTION @extschema@.sms3300_resend(bigint) COST 10000;

CREATE FUNCTION @extschema@.sms3300_cancel_many(ids bigint[]) RETURNS bigint
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT COST 10000;
COMMENT ON FUNCTION @extschema@.sms3300_cancel_many(bigint[]) IS
	'Cancels many queued messages in one step and returns their number. Messages that the caller may not cancel are not counted.';

CREATE FUNCTION @extschema@.sms3300_resend_many(ids bigint[]) RETURNS bigint
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT COST 10000;
COMMENT ON FUNCTION @extschema@.sms3300_resend_many(bigint[]) IS
	'Queues many finished messages again in one step and returns their number. Messages that sms3300_resend() would refuse or return false for are not counted.';

CREATE FUNCTION @extschema@.sms3300_resolve(id bigint, was_sent boolean, note text DEFAULT NULL)
	RETURNS boolean
	AS 'MODULE_PATHNAME' LANGUAGE C COST 10000;
COMMENT ON FUNCTION @extschema@.sms3300_resolve(bigint, boolean, text) IS
	'Settles a message with the status unknown by what a person has found out: sent or failed. The person and the note, of at most 1000 characters, are appended to events. Returns false if the message is not unknown or not visible to the caller. Raises 42501 unless the caller is its sender, the owner of sms_outbox or a superuser.';

CREATE FUNCTION @extschema@.sms3300_retry(account name DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION @extschema@.sms3300_retry(name) IS
	'Lets a stopped account try again at once, or all accounts that the caller owns. Raises 42501 unless the caller owns the account.';

CREATE FUNCTION @extschema@.sms3300_delivery_now(id bigint) RETURNS jsonb
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT COST 10000;
COMMENT ON FUNCTION @extschema@.sms3300_delivery_now(bigint) IS
	'Asks the gateway for the delivery state of a sent message, in this session and with the user mapping of its sender, and returns the reply as it is. Returns NULL if the message is not visible to the caller. Raises 55000 if the message was not sent or its account does not say where to ask, 42501 unless the caller is its sender, the owner of sms_outbox or a superuser, and 08006 or 08P01 if the gateway gives no usable reply.';

-- ---------------------------------------------------------------------------
-- New functions on numbers and texts
-- ---------------------------------------------------------------------------

CREATE FUNCTION @extschema@.sms3300_mobile_or_null(text) RETURNS text
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION @extschema@.sms3300_mobile_or_null(text) IS
	'Returns an Iranian mobile number in its canonical form, 989XXXXXXXXX, or NULL if the argument is not a mobile number';

-- For numbers that are kept as bigint. Calls stay unambiguous, because arguments of unknown
-- type are taken for text.
CREATE FUNCTION @extschema@.sms3300_mobile(bigint) RETURNS text
	AS 'MODULE_PATHNAME', 'sms3300_mobile_number' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION @extschema@.sms3300_mobile(bigint) IS
	'sms3300_mobile() of a number without its leading zero, such as 9123456789';

CREATE FUNCTION @extschema@.sms3300_is_mobile(bigint) RETURNS boolean
	AS 'MODULE_PATHNAME', 'sms3300_is_mobile_number' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION @extschema@.sms3300_is_mobile(bigint) IS
	'sms3300_is_mobile() of a number without its leading zero, such as 9123456789';

CREATE FUNCTION @extschema@.sms3300_mobile_or_null(bigint) RETURNS text
	AS 'MODULE_PATHNAME', 'sms3300_mobile_or_null_number' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION @extschema@.sms3300_mobile_or_null(bigint) IS
	'sms3300_mobile_or_null() of a number without its leading zero, such as 9123456789';

CREATE FUNCTION @extschema@.sms3300_preview(text,
	OUT encoding text, OUT parts integer, OUT ucs2_characters text[], OUT arabic_letters text[]) RETURNS record
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION @extschema@.sms3300_preview(text) IS
	'Returns what to look at before a text is sent to many: encoding and parts as sms3300_segments(), the characters that force UCS-2, and the Arabic letters yeh, alef maksura and kaf, which stand for Persian ones';

CREATE FUNCTION @extschema@.sms3300_send(
	mobile bigint, message text, line text DEFAULT NULL, line2 text DEFAULT NULL,
	type integer DEFAULT NULL, template integer DEFAULT NULL, account name DEFAULT NULL,
	priority integer DEFAULT NULL, send_after timestamptz DEFAULT NULL,
	send_before timestamptz DEFAULT NULL, dedup_key text DEFAULT NULL,
	metadata jsonb DEFAULT NULL) RETURNS bigint
	AS 'MODULE_PATHNAME', 'sms3300_send_number' LANGUAGE C COST 10000;
COMMENT ON FUNCTION @extschema@.sms3300_send(bigint, text, text, text, integer, integer, name, integer, timestamptz, timestamptz, text, jsonb) IS
	'sms3300_send() to a number without its leading zero, such as 9123456789';

-- ---------------------------------------------------------------------------
-- Comments
--
-- Those on the views and their functions are below.
-- ---------------------------------------------------------------------------

COMMENT ON TYPE @extschema@.sms_status IS
	'Status of a message. queued: waiting to be sent. sending: its request is on the wire. sent: the gateway accepted it. rejected: the gateway refused it. failed: given up after repeated refusals. unknown: it may have been sent. expired: not sent before send_before. cancelled: withdrawn before it was sent. suppressed: a rule of the account kept it from being sent.';
COMMENT ON POLICY sms_outbox_own ON @extschema@.sms_outbox IS
	'A role sees the messages that it queued';
COMMENT ON POLICY sms_outbox_queue ON @extschema@.sms_outbox IS
	'A role queues messages only in its own name';
COMMENT ON TABLE @extschema@.sms_outbox IS
	'Text messages and their results. Messages are queued by INSERT or sms3300_send() and sent by a background worker.';
COMMENT ON COLUMN @extschema@.sms_outbox.id IS
	'Message number, assigned when the message is queued';
COMMENT ON COLUMN @extschema@.sms_outbox.mobile IS
	'Recipient, an Iranian mobile number. Accepted in any common spelling and stored as 989XXXXXXXXX.';
COMMENT ON COLUMN @extschema@.sms_outbox.message IS
	'Text, sent unchanged. NULL after the account''s redact_after has removed it.';
COMMENT ON COLUMN @extschema@.sms_outbox.line IS
	'Sender number, 98 and 4 to 14 digits. NULL uses the line of the account.';
COMMENT ON COLUMN @extschema@.sms_outbox.line2 IS
	'Backup line, which the gateway uses for a recipient who opted out of line. NULL uses the line2 of the account.';
COMMENT ON COLUMN @extschema@.sms_outbox.type IS
	'Type of sending: 0 ordinary, 1 with Chelcheleh as backup, 2 with Negin Rayaneh''s service line. NULL uses the type of the account.';
COMMENT ON COLUMN @extschema@.sms_outbox.template IS
	'Number of the registered text template, for type 2. NULL uses the template of the account.';
COMMENT ON COLUMN @extschema@.sms_outbox.account IS
	'Foreign server to send with. An INSERT without it uses the setting sms3300.account.';
COMMENT ON COLUMN @extschema@.sms_outbox.priority IS
	'0 to 9; messages with a higher priority are sent first. The default is 0.';
COMMENT ON COLUMN @extschema@.sms_outbox.send_after IS
	'Time before which the message is not sent. The default is now.';
COMMENT ON COLUMN @extschema@.sms_outbox.send_before IS
	'Time at which the message expires. The default is send_after plus the validity of the account.';
COMMENT ON COLUMN @extschema@.sms_outbox.dedup_key IS
	'Key of at most 1000 bytes that is unique among the messages of the sender that are queued, being sent, sent or unknown. A second INSERT with the same key raises 23505; sms3300_send() returns the id of the first message.';
COMMENT ON COLUMN @extschema@.sms_outbox.metadata IS
	'Data of the caller, which is neither read nor sent';
COMMENT ON COLUMN @extschema@.sms_outbox.sender IS
	'Role that queued the message, set by the extension';
COMMENT ON COLUMN @extschema@.sms_outbox.created_at IS 'Time at which the message was queued';
COMMENT ON COLUMN @extschema@.sms_outbox.status IS
	'Status, set by the extension. See the type sms_status.';
COMMENT ON COLUMN @extschema@.sms_outbox.attempts IS
	'Number of requests made since the message was queued. Attempts that sent no request do not count.';
COMMENT ON COLUMN @extschema@.sms_outbox.due_at IS
	'Time of the next attempt. NULL once the message is finished.';
COMMENT ON COLUMN @extschema@.sms_outbox.started_at IS 'Time at which the last request began';
COMMENT ON COLUMN @extschema@.sms_outbox.finished_at IS
	'Time at which the message reached its final status';
COMMENT ON COLUMN @extschema@.sms_outbox.http_status IS 'HTTP status of the last reply';
COMMENT ON COLUMN @extschema@.sms_outbox.api_status IS
	'"status" of the last reply. A negative value means success.';
COMMENT ON COLUMN @extschema@.sms_outbox.message_id IS
	'"data.message_id" of the last reply, the gateway''s number for the message';
COMMENT ON COLUMN @extschema@.sms_outbox.sent_line IS
	'"data.line" of the last reply, the line that carried the message';
COMMENT ON COLUMN @extschema@.sms_outbox.response IS
	'The last reply. Text that is not valid JSON is kept as {"raw": "..."}. At most 64 kB are kept.';
COMMENT ON COLUMN @extschema@.sms_outbox.error IS 'Reason why the last attempt failed, for people';
COMMENT ON COLUMN @extschema@.sms_outbox.events IS
	'Array of the last 50 events. A failed attempt is an object with attempt, at, phase, http_status, api_status and error; an action of a person (cancel, resend, resolve or adopt) is one with at, by, action and note.';
COMMENT ON COLUMN @extschema@.sms_outbox.origin IS
	'Hash of the cluster and database that queued the message. Other databases do not send it; see sms3300_adopt().';
COMMENT ON COLUMN @extschema@.sms_outbox.parts IS
	'Number of SMS that the text is. It is kept when the text is removed. NULL for messages queued before version 1.2.';
COMMENT ON COLUMN @extschema@.sms_outbox.dedup_released IS
	'True if the message did not reach its recipient and a later message has taken its dedup_key';
COMMENT ON COLUMN @extschema@.sms_outbox.delivery IS
	'Whether a sent message arrived, as far as the gateway said so of this very message. NULL: it is not asked for; see the option delivery of the account.';
COMMENT ON COLUMN @extschema@.sms_outbox.delivery_code IS
	'The gateway''s code for the delivery state';
COMMENT ON COLUMN @extschema@.sms_outbox.delivery_at IS
	'Time at which the final delivery state was learnt, or given up';
COMMENT ON FUNCTION @extschema@._sms3300_outbox_insert() IS
	'Trigger function of sms_outbox: checks and completes a new row and wakes the worker at commit';
COMMENT ON TRIGGER sms3300_insert ON @extschema@.sms_outbox IS
	'Checks and completes each new row and wakes the worker at commit';
COMMENT ON FUNCTION @extschema@._sms3300_outbox_update() IS
	'Trigger function of sms_outbox: checks a queued row that is changed by hand';
COMMENT ON TRIGGER sms3300_update ON @extschema@.sms_outbox IS
	'Checks each queued row that is changed by hand';
COMMENT ON FUNCTION @extschema@._sms3300_fdw_validator(text[], oid) IS
	'Validates the options of accounts (servers) and their user mappings';
COMMENT ON FOREIGN DATA WRAPPER sms3300 IS
	'Accounts of the 3300 SMS gateway. Each server of this wrapper is an account, and USAGE on it lets a role send with it.';
COMMENT ON FUNCTION @extschema@.sms3300_mobile(text) IS
	'Returns an Iranian mobile number in its canonical form, 989XXXXXXXXX. Raises 22023 if the argument is not a mobile number.';
COMMENT ON FUNCTION @extschema@.sms3300_is_mobile(text) IS
	'Returns whether sms3300_mobile() accepts the argument';
COMMENT ON FUNCTION @extschema@.sms3300_segments(text) IS
	'Returns how a text is split into SMS parts: encoding (GSM-7 or UCS-2), units (septets or UTF-16 units in total), parts, and units_left in the last part';
COMMENT ON FUNCTION @extschema@.sms3300_send(text, text, text, text, integer, integer, name, integer, timestamptz, timestamptz, text, jsonb) IS
	'Queues a message in the current transaction and returns its id. line, line2, type and template choose the route and are taken from the account if NULL. account is a foreign server, by default the setting sms3300.account. priority is 0 to 9, higher first. The message is not sent before send_after (now) or after send_before (send_after plus the validity of the account). If a message of the caller holds the dedup_key, queues nothing and returns the id of that message. metadata is kept and not sent. Raises 22023 or 23502 for an invalid or missing value, 42704 for an unknown account or missing user mapping, and 42501 without USAGE on the account.';
COMMENT ON FUNCTION @extschema@.sms3300_send_now(text, text, text, text, integer, integer, name) IS
	'Sends a message at once and returns the gateway''s reply, for testing an account. Nothing is queued, and a rollback does not unsend the message. Raises 38000 if the message may have been sent, 08001 if it was not, 55000 or 53400 if the account''s rules or its rate do not allow it now, and 25006 in a read-only transaction.';
COMMENT ON FUNCTION @extschema@.sms3300_cancel(bigint) IS
	'Cancels a queued message. Returns false if the message is not queued or not visible to the caller. Raises 42501 unless the caller is its sender, the owner of sms_outbox or a superuser.';
COMMENT ON FUNCTION @extschema@.sms3300_resend(bigint) IS
	'Queues a finished message again unless it was sent. Returns false if there is no such message or it is not visible to the caller. Raises 55000 if its text was removed, and 42501 unless the caller is its sender, the owner of sms_outbox or a superuser, and unless its sender has USAGE on its account.';
COMMENT ON FUNCTION @extschema@.sms3300_adopt() IS
	'Takes over the queued messages of another database, which were restored, copied or replicated into this one. Returns their number.';
COMMENT ON FUNCTION @extschema@.sms3300_explain(bigint) IS
	'Returns one line that says why a message has its status and what it is waiting for';

-- ---------------------------------------------------------------------------
-- Recipients who have opted out
--
-- One index serves the lookup at each claim and keeps an entry unique, also where the line
-- is NULL. Without a primary key the whole row is the replica identity, so that entries
-- can be deleted while a publication has all tables.
-- ---------------------------------------------------------------------------

CREATE TABLE @extschema@.sms_opt_out
(
	mobile text NOT NULL,
	line text,
	reason text,
	since timestamptz NOT NULL DEFAULT pg_catalog.now(),
	by name NOT NULL DEFAULT CURRENT_USER
);
CREATE UNIQUE INDEX sms_opt_out_idx ON @extschema@.sms_opt_out (mobile, COALESCE(line, ''));
ALTER TABLE @extschema@.sms_opt_out REPLICA IDENTITY FULL;

COMMENT ON TABLE @extschema@.sms_opt_out IS
	'Recipients who have opted out of messages. A message to one of them is suppressed.';
COMMENT ON COLUMN @extschema@.sms_opt_out.mobile IS
	'Recipient. Accepted in any common spelling and stored as 989XXXXXXXXX.';
COMMENT ON COLUMN @extschema@.sms_opt_out.line IS
	'Line that the recipient has opted out of: messages that go over it and have no fallback are suppressed. NULL: all messages.';
COMMENT ON COLUMN @extschema@.sms_opt_out.reason IS
	'Reason, or the code of the gateway';
COMMENT ON COLUMN @extschema@.sms_opt_out.since IS
	'Time at which the recipient opted out. The default is now.';
COMMENT ON COLUMN @extschema@.sms_opt_out.by IS
	'Role that last wrote the entry, or "gateway" for one made by the option record_opt_outs. Only the owner of the table can set it.';

CREATE FUNCTION @extschema@._sms3300_opt_out_write() RETURNS trigger
	AS 'MODULE_PATHNAME', 'sms3300_opt_out_write' LANGUAGE C;
COMMENT ON FUNCTION @extschema@._sms3300_opt_out_write() IS
	'Trigger function of sms_opt_out: brings an entry to its canonical form';
CREATE TRIGGER sms3300_write BEFORE INSERT OR UPDATE ON @extschema@.sms_opt_out
	FOR EACH ROW EXECUTE FUNCTION @extschema@._sms3300_opt_out_write();
COMMENT ON TRIGGER sms3300_write ON @extschema@.sms_opt_out IS
	'Brings each entry to its canonical form';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.sms_opt_out', '');

REVOKE ALL ON @extschema@.sms_opt_out FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._sms3300_opt_out_write() FROM PUBLIC;

-- ---------------------------------------------------------------------------
-- Views and their functions
--
-- They are created again, as in sms3300.sql.
-- ---------------------------------------------------------------------------

DROP VIEW @extschema@.sms_report;
DROP VIEW IF EXISTS @extschema@.sms3300_stat_account, @extschema@.sms3300_stat_worker;
DROP FUNCTION @extschema@.sms3300_report();
DROP FUNCTION IF EXISTS @extschema@.sms3300_stat_get_worker(oid), @extschema@.sms3300_stat_get_account(name),
	@extschema@.sms3300_stat_get_queued(bigint, name), @extschema@.sms3300_stat_get_oldest_due_at(bigint, name),
	@extschema@.sms3300_stat_get_foreign_rows(bigint, name), @extschema@.sms3300_stat_reset();

CREATE FUNCTION @extschema@._sms3300_stat_get_worker(database oid,
	OUT pid integer, OUT state text, OUT started_at timestamptz, OUT in_flight integer,
	OUT last_error text, OUT last_error_at timestamptz, OUT blocked_since timestamptz,
	OUT blocked_by integer) RETURNS record
	AS 'MODULE_PATHNAME', 'sms3300_stat_get_worker' LANGUAGE C STRICT;
COMMENT ON FUNCTION @extschema@._sms3300_stat_get_worker(oid) IS
	'Returns one row of sms3300_stat_worker';

CREATE FUNCTION @extschema@._sms3300_stat_get_account(account name,
	OUT origin bigint, OUT state text, OUT reason text, OUT next_probe_at timestamptz,
	OUT in_flight integer, OUT sent bigint, OUT rejected bigint, OUT failed bigint,
	OUT unknown bigint, OUT expired bigint, OUT suppressed bigint, OUT retried bigint, OUT requests bigint,
	OUT request_time_sum double precision, OUT request_time_p50 double precision,
	OUT request_time_p95 double precision, OUT request_time_p99 double precision,
	OUT wait_time_sum double precision, OUT wait_time_p50 double precision,
	OUT wait_time_p95 double precision, OUT wait_time_p99 double precision,
	OUT stats_reset timestamptz, OUT parts_today bigint,
	OUT delivered bigint, OUT undelivered bigint, OUT unconfirmed bigint) RETURNS record
	AS 'MODULE_PATHNAME', 'sms3300_stat_get_account' LANGUAGE C STRICT;
COMMENT ON FUNCTION @extschema@._sms3300_stat_get_account(name) IS
	'Returns the columns of sms3300_stat_account that are kept in shared memory';

CREATE FUNCTION @extschema@._sms3300_stat_get_mapping(account name, mapping_user oid,
	OUT origin bigint, OUT state text, OUT reason text, OUT next_probe_at timestamptz,
	OUT in_flight integer) RETURNS record
	AS 'MODULE_PATHNAME', 'sms3300_stat_get_mapping' LANGUAGE C STRICT;
COMMENT ON FUNCTION @extschema@._sms3300_stat_get_mapping(name, oid) IS
	'Returns the columns of sms3300_stat_mapping that are kept in shared memory';

CREATE FUNCTION @extschema@._sms3300_stat_get_mapping_queued(origin bigint, account name,
	senders name[], but boolean) RETURNS bigint
	AS 'MODULE_PATHNAME', 'sms3300_stat_get_mapping_queued' LANGUAGE C STABLE STRICT
	SET enable_seqscan = off SET enable_bitmapscan = off
	SET max_parallel_workers_per_gather = 0 SET jit = off;
COMMENT ON FUNCTION @extschema@._sms3300_stat_get_mapping_queued(bigint, name, name[], boolean) IS
	'Returns the number of queued messages of an account by some senders, or by all others';

CREATE FUNCTION @extschema@._sms3300_stat_get_queued(origin bigint, account name)
	RETURNS bigint
	AS 'MODULE_PATHNAME', 'sms3300_stat_get_queued' LANGUAGE C STABLE STRICT
	SET enable_seqscan = off SET enable_bitmapscan = off
	SET max_parallel_workers_per_gather = 0 SET jit = off;
COMMENT ON FUNCTION @extschema@._sms3300_stat_get_queued(bigint, name) IS
	'Returns the number of queued messages of an account';

CREATE FUNCTION @extschema@._sms3300_stat_get_oldest_due_at(origin bigint, account name)
	RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'sms3300_stat_get_oldest_due_at' LANGUAGE C STABLE STRICT
	SET enable_seqscan = off SET enable_bitmapscan = off
	SET max_parallel_workers_per_gather = 0 SET jit = off;
COMMENT ON FUNCTION @extschema@._sms3300_stat_get_oldest_due_at(bigint, name) IS
	'Returns since when the queued messages of an account have been late';

CREATE FUNCTION @extschema@._sms3300_stat_get_foreign_rows(origin bigint, account name)
	RETURNS bigint
	AS 'MODULE_PATHNAME', 'sms3300_stat_get_foreign_rows' LANGUAGE C STABLE STRICT
	SET enable_seqscan = off SET enable_bitmapscan = off
	SET max_parallel_workers_per_gather = 0 SET jit = off;
COMMENT ON FUNCTION @extschema@._sms3300_stat_get_foreign_rows(bigint, name) IS
	'Returns the number of unfinished messages of an account that another database queued';

CREATE FUNCTION @extschema@.sms3300_stat_reset() RETURNS void
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION @extschema@.sms3300_stat_reset() IS
	'Resets the counters of all accounts of this database';

CREATE VIEW @extschema@.sms3300_stat_worker AS
SELECT d.datname, w.pid, w.state, w.started_at, w.in_flight, w.last_error, w.last_error_at,
	w.blocked_since, w.blocked_by, (SELECT a.query FROM pg_catalog.pg_stat_activity AS a
		WHERE a.pid OPERATOR(pg_catalog.=) w.blocked_by) AS blocked_query
FROM pg_catalog.pg_database AS d
CROSS JOIN LATERAL @extschema@._sms3300_stat_get_worker(d.oid) AS w
WHERE w.state IS NOT NULL;
COMMENT ON VIEW @extschema@.sms3300_stat_worker IS
	'Statistics of workers: one row for each database that sends messages or may have to';
COMMENT ON COLUMN @extschema@.sms3300_stat_worker.datname IS 'Name of the database';
COMMENT ON COLUMN @extschema@.sms3300_stat_worker.pid IS
	'Process ID of the worker. NULL if none is running.';
COMMENT ON COLUMN @extschema@.sms3300_stat_worker.state IS
	'running; blocked: the worker waits for a lock on sms_outbox, one of its rows, or sms_opt_out; starting; waiting: all workers are in use; restarting: the worker has ended and returns after a pause; none: there is nothing to do';
COMMENT ON COLUMN @extschema@.sms3300_stat_worker.started_at IS 'Time at which the worker started';
COMMENT ON COLUMN @extschema@.sms3300_stat_worker.in_flight IS 'Number of requests on the wire';
COMMENT ON COLUMN @extschema@.sms3300_stat_worker.last_error IS
	'Last error of a worker of this database';
COMMENT ON COLUMN @extschema@.sms3300_stat_worker.last_error_at IS 'Time of last_error';
COMMENT ON COLUMN @extschema@.sms3300_stat_worker.blocked_since IS
	'Time since which a blocked worker has waited for the lock';
COMMENT ON COLUMN @extschema@.sms3300_stat_worker.blocked_by IS
	'Process ID of the session that holds the lock. NULL for a prepared transaction.';
COMMENT ON COLUMN @extschema@.sms3300_stat_worker.blocked_query IS
	'Current or last query of that session';

CREATE VIEW @extschema@.sms3300_stat_account AS
SELECT s.srvname AS account, a.state, a.reason, a.next_probe_at,
	@extschema@._sms3300_stat_get_queued(a.origin, s.srvname) AS queued,
	@extschema@._sms3300_stat_get_oldest_due_at(a.origin, s.srvname) AS oldest_due_at, a.in_flight,
	a.sent, a.rejected, a.failed, a.unknown, a.expired, a.suppressed, a.retried,
	@extschema@._sms3300_stat_get_foreign_rows(a.origin, s.srvname) AS foreign_rows, a.requests,
	a.request_time_sum, a.request_time_p50, a.request_time_p95, a.request_time_p99,
	a.wait_time_sum, a.wait_time_p50, a.wait_time_p95, a.wait_time_p99, a.stats_reset,
	a.parts_today, a.delivered, a.undelivered, a.unconfirmed
FROM pg_catalog.pg_foreign_server AS s
JOIN pg_catalog.pg_foreign_data_wrapper AS w
	ON w.oid OPERATOR(pg_catalog.=) s.srvfdw AND w.fdwname OPERATOR(pg_catalog.=) 'sms3300'
CROSS JOIN LATERAL @extschema@._sms3300_stat_get_account(s.srvname) AS a;
COMMENT ON VIEW @extschema@.sms3300_stat_account IS
	'Statistics of accounts: one row for each account of this database, counted since stats_reset';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.account IS 'Name of the foreign server';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.state IS
	'ok; paused: by an option or a setting; stopped: by a refusal, and probing; closed: outside its hours';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.reason IS
	'Reason why the account is paused, stopped or closed, or why no delivery states are learnt';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.next_probe_at IS
	'Time at which a stopped account tries its next message, or a closed one opens. NULL while it is trying one.';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.queued IS
	'Number of queued messages, including those scheduled for later. NULL while sms_outbox is locked.';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.oldest_due_at IS
	'Earliest due_at of the queued messages; for messages that wait for the hours of the account, the opening after it';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.in_flight IS 'Number of requests on the wire';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.sent IS
	'Number of messages that the gateway accepted';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.rejected IS
	'Number of messages that the gateway refused';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.failed IS
	'Number of messages given up after max_attempts';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.unknown IS
	'Number of messages that may have been sent';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.expired IS
	'Number of messages not sent before send_before';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.suppressed IS
	'Number of messages that a rule of the account kept from being sent';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.retried IS
	'Number of requests after which the message was queued again';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.foreign_rows IS
	'Number of unfinished messages that another database queued. See sms3300_adopt().';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.requests IS 'Number of finished requests';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.request_time_sum IS
	'Total duration of the requests, in milliseconds';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.request_time_p50 IS
	'Median duration of a request, in milliseconds. Percentiles are accurate to within 12.5%.';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.request_time_p95 IS
	'95th percentile of the duration of a request, in milliseconds';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.request_time_p99 IS
	'99th percentile of the duration of a request, in milliseconds';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.wait_time_sum IS
	'Total time from due_at to the last request, in milliseconds, of messages that became sent, rejected, failed or unknown';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.wait_time_p50 IS
	'Median time from due_at to the last request, in milliseconds';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.wait_time_p95 IS
	'95th percentile of the time from due_at to the last request, in milliseconds';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.wait_time_p99 IS
	'99th percentile of the time from due_at to the last request, in milliseconds';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.stats_reset IS
	'Time at which counting began: the first use, the first after a crash of the server, or the last sms3300_stat_reset(). NULL if the account has not been used.';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.parts_today IS
	'Number of SMS that may have been sent since midnight in the account''s time zone. NULL if the account has no max_parts_per_day, or if they have not been counted.';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.delivered IS
	'Number of messages that the gateway said are on the handset';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.undelivered IS
	'Number of messages that the gateway said will not arrive';
COMMENT ON COLUMN @extschema@.sms3300_stat_account.unconfirmed IS
	'Number of messages whose last look passed without a final answer';

CREATE VIEW @extschema@.sms3300_stat_mapping AS
SELECT m.srvname AS account, m.usename AS role, a.state, a.reason, a.next_probe_at,
	@extschema@._sms3300_stat_get_mapping_queued(a.origin, m.srvname,
		CASE WHEN m.umuser OPERATOR(pg_catalog.=) 0 THEN ARRAY(SELECT o.usename FROM pg_catalog.pg_user_mappings AS o
			WHERE o.srvid OPERATOR(pg_catalog.=) m.srvid AND o.umuser OPERATOR(pg_catalog.<>) 0)
		ELSE ARRAY[m.usename] END, m.umuser OPERATOR(pg_catalog.=) 0) AS queued, a.in_flight
FROM pg_catalog.pg_user_mappings AS m
JOIN pg_catalog.pg_foreign_server AS s ON s.oid OPERATOR(pg_catalog.=) m.srvid
JOIN pg_catalog.pg_foreign_data_wrapper AS w
	ON w.oid OPERATOR(pg_catalog.=) s.srvfdw AND w.fdwname OPERATOR(pg_catalog.=) 'sms3300'
CROSS JOIN LATERAL @extschema@._sms3300_stat_get_mapping(m.srvname, m.umuser) AS a;
COMMENT ON VIEW @extschema@.sms3300_stat_mapping IS
	'State of user mappings: one row for each mapping of an account of this database';
COMMENT ON COLUMN @extschema@.sms3300_stat_mapping.account IS 'Name of the foreign server';
COMMENT ON COLUMN @extschema@.sms3300_stat_mapping.role IS
	'Role that the mapping is of, or public';
COMMENT ON COLUMN @extschema@.sms3300_stat_mapping.state IS
	'ok; stopped: the gateway refused its credentials, and it is probing';
COMMENT ON COLUMN @extschema@.sms3300_stat_mapping.reason IS 'Reason why it is stopped';
COMMENT ON COLUMN @extschema@.sms3300_stat_mapping.next_probe_at IS
	'Time at which a stopped mapping tries its next message. NULL while it is trying one.';
COMMENT ON COLUMN @extschema@.sms3300_stat_mapping.queued IS
	'Number of queued messages of the senders that it is used for';
COMMENT ON COLUMN @extschema@.sms3300_stat_mapping.in_flight IS
	'Number of requests on the wire that use it';

-- The view reads through a function, which runs with the privileges of the role that
-- queries the view, so that row-level security applies to that role. The planner inlines
-- the function, so that conditions reach the table.
CREATE FUNCTION @extschema@._sms3300_report(
	OUT id bigint, OUT queued_at timestamp(0), OUT mobile text, OUT message text, OUT status text,
	OUT changed_at timestamp(0), OUT line text, OUT reason text, OUT parts smallint, OUT delivery text) RETURNS SETOF record
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
			ELSE o.error END,
		o.parts, o.delivery::pg_catalog.text
	FROM @extschema@.sms_outbox AS o;
END;
COMMENT ON FUNCTION @extschema@._sms3300_report() IS 'Returns the rows of sms_report';

CREATE VIEW @extschema@.sms_report AS
SELECT r.id, r.queued_at, r.mobile, r.message, r.status, r.changed_at, r.line, r.reason, r.parts, r.delivery
FROM @extschema@._sms3300_report() AS r;
COMMENT ON VIEW @extschema@.sms_report IS
	'Readable form of sms_outbox: one row for each message visible to the caller, with times in the session''s time zone';
COMMENT ON COLUMN @extschema@.sms_report.id IS 'Message number';
COMMENT ON COLUMN @extschema@.sms_report.queued_at IS 'Local time at which the message was queued';
COMMENT ON COLUMN @extschema@.sms_report.mobile IS 'Recipient, as dialled in Iran';
COMMENT ON COLUMN @extschema@.sms_report.message IS 'First 30 characters of the text';
COMMENT ON COLUMN @extschema@.sms_report.status IS
	'waiting, waiting for its next try, on its way, sent, refused, given up, may have been sent, expired, cancelled or suppressed';
COMMENT ON COLUMN @extschema@.sms_report.changed_at IS
	'Local time at which the message reached this status. For a waiting message, the time of its last attempt.';
COMMENT ON COLUMN @extschema@.sms_report.line IS 'Line that carried the message';
COMMENT ON COLUMN @extschema@.sms_report.reason IS
	'What the message is waiting for, or why it was not sent';
COMMENT ON COLUMN @extschema@.sms_report.parts IS 'Number of SMS that the text is';
COMMENT ON COLUMN @extschema@.sms_report.delivery IS
	'waiting, delivered, undelivered or unconfirmed. NULL if it is not asked for.';

REVOKE ALL ON FUNCTION @extschema@._sms3300_fdw_validator(text[], oid) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.sms3300_stat_reset() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._sms3300_stat_get_worker(oid) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._sms3300_stat_get_account(name) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._sms3300_stat_get_mapping(name, oid) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._sms3300_stat_get_mapping_queued(bigint, name, name[], boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._sms3300_stat_get_queued(bigint, name) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._sms3300_stat_get_oldest_due_at(bigint, name) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._sms3300_stat_get_foreign_rows(bigint, name) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._sms3300_stat_get_worker(oid) TO pg_monitor;
GRANT EXECUTE ON FUNCTION @extschema@._sms3300_stat_get_account(name) TO pg_monitor;
GRANT EXECUTE ON FUNCTION @extschema@._sms3300_stat_get_mapping(name, oid) TO pg_monitor;
GRANT EXECUTE ON FUNCTION @extschema@._sms3300_stat_get_mapping_queued(bigint, name, name[], boolean) TO pg_monitor;
GRANT EXECUTE ON FUNCTION @extschema@._sms3300_stat_get_queued(bigint, name) TO pg_monitor;
GRANT EXECUTE ON FUNCTION @extschema@._sms3300_stat_get_oldest_due_at(bigint, name) TO pg_monitor;
GRANT EXECUTE ON FUNCTION @extschema@._sms3300_stat_get_foreign_rows(bigint, name) TO pg_monitor;
REVOKE ALL ON @extschema@.sms3300_stat_worker, @extschema@.sms3300_stat_account, @extschema@.sms3300_stat_mapping FROM PUBLIC;
GRANT SELECT ON @extschema@.sms3300_stat_worker, @extschema@.sms3300_stat_account, @extschema@.sms3300_stat_mapping TO pg_monitor;
GRANT SELECT ON @extschema@.sms_report TO PUBLIC;
GRANT INSERT (id, mobile, message, line, line2, type, template, account, priority,
	send_after, send_before, dedup_key, metadata, sender, created_at, status, attempts, due_at,
	started_at, finished_at, http_status, api_status, message_id, sent_line, response, error,
	events, origin, parts, dedup_released, delivery, delivery_code, delivery_at)
	ON @extschema@.sms_outbox TO PUBLIC;
GRANT SELECT ON SEQUENCE @extschema@.sms_outbox_id_seq TO PUBLIC;

-- ---------------------------------------------------------------------------
-- The gateway's error codes
-- ---------------------------------------------------------------------------

CREATE FUNCTION @extschema@._sms3300_get_codes(
	OUT code integer, OUT class text, OUT meaning text, OUT meaning_fa text, OUT remedy text)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'sms3300_get_codes' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE ROWS 40;
COMMENT ON FUNCTION @extschema@._sms3300_get_codes() IS 'Returns the rows of sms3300_codes';

CREATE VIEW @extschema@.sms3300_codes AS
SELECT c.code, c.class, c.meaning, c.meaning_fa, c.remedy
FROM @extschema@._sms3300_get_codes() AS c;
COMMENT ON VIEW @extschema@.sms3300_codes IS
	'Known error codes of the gateway. A code that is not listed is ambiguous: the message may have been sent.';
COMMENT ON COLUMN @extschema@.sms3300_codes.code IS 'Error code, "status" of a reply';
COMMENT ON COLUMN @extschema@.sms3300_codes.class IS
	'Class of the code by default: transient, account, line, hours, refused or ambiguous. Options of an account can change it.';
COMMENT ON COLUMN @extschema@.sms3300_codes.meaning IS 'Meaning of the code';
COMMENT ON COLUMN @extschema@.sms3300_codes.meaning_fa IS
	'Meaning of the code in Persian. NULL if the encoding of the database lacks its characters.';
COMMENT ON COLUMN @extschema@.sms3300_codes.remedy IS 'What to do';
GRANT SELECT ON @extschema@.sms3300_codes TO PUBLIC;

-- ---------------------------------------------------------------------------
-- Problems
--
-- The function's settings force plans that use the indexes, and end a wait for a lock
-- that was not foreseen.
-- ---------------------------------------------------------------------------

-- Finds what was not sent among the finished messages. What was sent has no error, and is not
-- in it. A claim changes no column of it.
CREATE INDEX sms_outbox_unsent_idx ON @extschema@.sms_outbox
	(finished_at) WHERE finished_at IS NOT NULL AND error IS NOT NULL;

CREATE FUNCTION @extschema@._sms3300_get_problems(
	OUT severity text, OUT problem text, OUT account name, OUT since timestamptz,
	OUT messages bigint, OUT detail text, OUT hint text) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'sms3300_get_problems' LANGUAGE C STABLE STRICT ROWS 10
	SET enable_seqscan = off SET enable_bitmapscan = off
	SET max_parallel_workers_per_gather = 0 SET jit = off SET lock_timeout = '100ms';
COMMENT ON FUNCTION @extschema@._sms3300_get_problems() IS 'Returns the rows of sms3300_problems';

CREATE VIEW @extschema@.sms3300_problems AS
SELECT p.severity, p.problem, p.account, p.since, p.messages, p.detail, p.hint
FROM @extschema@._sms3300_get_problems() AS p;
COMMENT ON VIEW @extschema@.sms3300_problems IS
	'What is wrong now, the most severe first: no row if all is well. It waits for no lock, and its cost does not depend on the number of finished messages.';
COMMENT ON COLUMN @extschema@.sms3300_problems.severity IS
	'critical: messages are not sent or recorded; warning: someone should look';
COMMENT ON COLUMN @extschema@.sms3300_problems.problem IS
	'Name of the problem. The manual lists them with cause and remedy.';
COMMENT ON COLUMN @extschema@.sms3300_problems.account IS
	'Account that has the problem. NULL if it concerns all of them.';
COMMENT ON COLUMN @extschema@.sms3300_problems.since IS
	'Time since which it has lasted, or of the first message concerned';
COMMENT ON COLUMN @extschema@.sms3300_problems.messages IS
	'Number of messages concerned, counted up to 10000. NULL if the table cannot be read.';
COMMENT ON COLUMN @extschema@.sms3300_problems.detail IS 'What has happened';
COMMENT ON COLUMN @extschema@.sms3300_problems.hint IS 'What to do';
REVOKE ALL ON FUNCTION @extschema@._sms3300_get_problems() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._sms3300_get_problems() TO pg_monitor;
REVOKE ALL ON @extschema@.sms3300_problems FROM PUBLIC;
GRANT SELECT ON @extschema@.sms3300_problems TO pg_monitor;

-- ---------------------------------------------------------------------------
-- The history of the counters
--
-- A worker writes it once an hour when it is running anyway. The hour that it has not
-- written yet is in shared memory.
-- ---------------------------------------------------------------------------

CREATE TABLE @extschema@.sms3300_history
(
	account name NOT NULL,
	hour timestamptz NOT NULL,
	whole_day boolean NOT NULL,
	sent bigint NOT NULL,
	rejected bigint NOT NULL,
	unknown bigint NOT NULL,
	requests bigint NOT NULL,
	request_time_p95 double precision,
	PRIMARY KEY (account, hour, whole_day)
);
COMMENT ON TABLE @extschema@.sms3300_history IS
	'Counters of accounts by the hour, after a week by the day, for a year. See sms3300_stat_history.';
COMMENT ON COLUMN @extschema@.sms3300_history.account IS 'Name of the foreign server';
COMMENT ON COLUMN @extschema@.sms3300_history.hour IS 'Beginning of the hour, or of the day in Iran';
COMMENT ON COLUMN @extschema@.sms3300_history.whole_day IS 'Whether the row is about a day';
COMMENT ON COLUMN @extschema@.sms3300_history.sent IS 'Number of messages that the gateway accepted';
COMMENT ON COLUMN @extschema@.sms3300_history.rejected IS 'Number of messages that the gateway refused';
COMMENT ON COLUMN @extschema@.sms3300_history.unknown IS 'Number of messages that may have been sent';
COMMENT ON COLUMN @extschema@.sms3300_history.requests IS 'Number of finished requests';
COMMENT ON COLUMN @extschema@.sms3300_history.request_time_p95 IS
	'95th percentile of the duration of a request, in milliseconds';

CREATE FUNCTION @extschema@._sms3300_stat_get_hour(account name,
	OUT hour timestamptz, OUT sent bigint, OUT rejected bigint, OUT unknown bigint,
	OUT requests bigint, OUT request_time_p95 double precision) RETURNS record
	AS 'MODULE_PATHNAME', 'sms3300_stat_get_hour' LANGUAGE C STRICT;
COMMENT ON FUNCTION @extschema@._sms3300_stat_get_hour(name) IS
	'Returns what an account has counted since the history was last written';

-- Planning a query on a table evaluates what its owner has put there, which must not happen
-- with the privileges of the role that queries the view.
CREATE FUNCTION @extschema@._sms3300_get_history(
	OUT account name, OUT hour timestamptz, OUT sent bigint, OUT rejected bigint, OUT unknown bigint,
	OUT requests bigint, OUT request_time_p95 double precision) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'sms3300_get_history' LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION @extschema@._sms3300_get_history() IS 'Returns the rows of sms3300_history';

CREATE VIEW @extschema@.sms3300_stat_history AS
SELECT h.account, h.hour, h.sent, h.rejected, h.unknown, h.requests, h.request_time_p95
FROM @extschema@._sms3300_get_history() AS h
UNION ALL
SELECT s.srvname, c.hour, c.sent, c.rejected, c.unknown, c.requests, c.request_time_p95
FROM pg_catalog.pg_foreign_server AS s
JOIN pg_catalog.pg_foreign_data_wrapper AS w
	ON w.oid OPERATOR(pg_catalog.=) s.srvfdw AND w.fdwname OPERATOR(pg_catalog.=) 'sms3300'
CROSS JOIN LATERAL @extschema@._sms3300_stat_get_hour(s.srvname) AS c
WHERE c.hour IS NOT NULL;
COMMENT ON VIEW @extschema@.sms3300_stat_history IS
	'History of the counters: a row for each account and hour in which it sent, after a week for each day. It is kept for a year.';
COMMENT ON COLUMN @extschema@.sms3300_stat_history.account IS 'Name of the foreign server';
COMMENT ON COLUMN @extschema@.sms3300_stat_history.hour IS
	'Beginning of the hour; after a week, of the day in Iran';
COMMENT ON COLUMN @extschema@.sms3300_stat_history.sent IS 'Number of messages that the gateway accepted';
COMMENT ON COLUMN @extschema@.sms3300_stat_history.rejected IS 'Number of messages that the gateway refused';
COMMENT ON COLUMN @extschema@.sms3300_stat_history.unknown IS 'Number of messages that may have been sent';
COMMENT ON COLUMN @extschema@.sms3300_stat_history.requests IS 'Number of finished requests';
COMMENT ON COLUMN @extschema@.sms3300_stat_history.request_time_p95 IS
	'95th percentile of the duration of a request, in milliseconds. Of a day, the mean of its hours by their requests.';
REVOKE ALL ON @extschema@.sms3300_history, @extschema@.sms3300_stat_history FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@._sms3300_stat_get_hour(name) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._sms3300_stat_get_hour(name) TO pg_monitor;
REVOKE ALL ON FUNCTION @extschema@._sms3300_get_history() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@._sms3300_get_history() TO pg_monitor;
GRANT SELECT ON @extschema@.sms3300_stat_history TO pg_monitor;
