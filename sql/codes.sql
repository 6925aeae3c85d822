--
-- sms3300_codes: the gateway's error codes, their classes by default, meanings and remedies.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS sms3300;
RESET client_min_messages;
SET client_encoding = 'UTF8';
\pset format unaligned

SELECT code, class, meaning, remedy FROM sms3300_codes ORDER BY code;
SELECT code, meaning_fa FROM sms3300_codes WHERE code IN (14, 18, 27) ORDER BY code;
SELECT count(*) AS without_a_meaning FROM sms3300_codes
WHERE coalesce(meaning, '') = '' OR coalesce(meaning_fa, '') = '' OR coalesce(remedy, '') = '';

-- every role can read them
CREATE ROLE regress_sms3300_reader;
SET ROLE regress_sms3300_reader;
SELECT meaning FROM sms3300_codes WHERE code = 14;
RESET ROLE;

DROP ROLE regress_sms3300_reader;
