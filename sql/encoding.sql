--
-- Numbers and texts in databases with an encoding other than UTF-8.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS sms3300;
SELECT current_database() AS home \gset
\pset format unaligned

CREATE DATABASE regress_sms3300_win1256 TEMPLATE template0 ENCODING 'WIN1256' LC_COLLATE 'C' LC_CTYPE 'C';
CREATE DATABASE regress_sms3300_euc_jp TEMPLATE template0 ENCODING 'EUC_JP' LC_COLLATE 'C' LC_CTYPE 'C';
CREATE DATABASE regress_sms3300_sql_ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C';

-- an Arabic encoding
\c regress_sms3300_win1256
SET client_min_messages = warning;
CREATE EXTENSION sms3300;
SET client_encoding = 'UTF8';
SELECT sms3300_mobile(U&'\200E+98\00A0912\2013345\06406789');
SELECT sms3300_is_mobile('چاپ'), sms3300_is_mobile('0912چ3456789');
SELECT * FROM sms3300_segments('سلام، چاپ');
SELECT * FROM sms3300_segments(repeat('€', 81));
SELECT sms3300_mobile(repeat('چ', 65));

-- a multibyte encoding
\c regress_sms3300_euc_jp
SET client_min_messages = warning;
CREATE EXTENSION sms3300;
SET client_encoding = 'UTF8';
SELECT sms3300_mobile('０９１２３４５６７８９');
SELECT * FROM sms3300_segments('あいう');
SELECT sms3300_mobile('x' || repeat('あ', 64));

-- SQL_ASCII: the bytes are taken as UTF-8
\c regress_sms3300_sql_ascii
SET client_min_messages = warning;
CREATE EXTENSION sms3300;
SET client_encoding = 'SQL_ASCII';
SELECT sms3300_mobile('۰۹۱۲ ۳۴۵ ۶۷۸۹');
SELECT * FROM sms3300_segments('سلام');
SELECT * FROM sms3300_segments(repeat('€', 81));
-- invalid UTF-8 is not a number, and each byte counts as a unit
SELECT problem, sms3300_is_mobile('0912' || bytes || '3456789') AS inside, sms3300_is_mobile('0912345678' || bytes) AS last, s.*
FROM (VALUES
	('none', E'\xDB\xB9'),
	('no lead byte', E'\xB9'),
	('no lead byte either', E'\xFF'),
	('cut short', E'\xDB'),
	('cut shorter', E'\xF0\x9F\x98'),
	('overlong digit', E'\xC0\xB9'),
	('overlong space', E'\xE0\x80\xA0'),
	('surrogate', E'\xED\xA0\x80'),
	('above U+10FFFF', E'\xF4\x90\x80\x80')) AS v (problem, bytes), sms3300_segments('a' || bytes) AS s;

\c :home
SET client_min_messages = warning;
DROP DATABASE regress_sms3300_win1256 WITH (FORCE);
DROP DATABASE regress_sms3300_euc_jp WITH (FORCE);
DROP DATABASE regress_sms3300_sql_ascii WITH (FORCE);
