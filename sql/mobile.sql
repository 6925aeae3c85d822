--
-- sms3300_mobile and sms3300_is_mobile: spellings of mobile numbers that are
-- accepted and rejected.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS sms3300;
RESET client_min_messages;
SET client_encoding = 'UTF8';
\pset format unaligned

--
-- Accepted
--

-- prefixes
SELECT spelling, sms3300_mobile(spelling)
FROM (VALUES
	('9123456789'),
	('09123456789'),
	('989123456789'),
	('0989123456789'),
	('9809123456789'),
	('+989123456789'),
	('+9809123456789'),
	('00989123456789'),
	('009809123456789')) AS v (spelling);

-- a national number may begin with the digits of the country code
SELECT spelling, sms3300_mobile(spelling)
FROM (VALUES
	('9812345678'),
	('09812345678'),
	('989812345678'),
	('+989812345678'),
	('9898989898'),
	('989898989898')) AS v (spelling);

-- with separators
SELECT spelling, sms3300_mobile(spelling)
FROM (VALUES
	('0912 345 6789'),
	('0912-345-67-89'),
	('0912.345.6789'),
	('0912/3456789'),
	('(0912) 345 6789'),
	('+98 (0) 912 345 6789'),
	('(+98) 912 345 6789'),
	('0098 (0)912 345 6789'),
	('98 0912 345 6789'),
	('00 98 912 345 6789'),
	('  09123456789  '),
	('۰۹۱۲۳۴۵۶۷۸۹'),
	('٠٩١٢٣٤٥٦٧٨٩'),
	('０９１２３４５６７８９'),
	('+۹۸ (۰) ۹۱۲–۳۴۵–۶۷۸۹'),
	('۰۹۱۲ ٣٤٥ 67８９')) AS v (spelling);

-- invisible characters, and an unpaired parenthesis
SELECT name, sms3300_mobile(spelling)
FROM (VALUES
	('left-to-right isolate', U&'\2066+98 912 345 6789\2069'),
	('left-to-right embedding', U&'\202A+989123456789\202C'),
	('byte order mark', U&'\FEFF09123456789'),
	('zero-width non-joiners', U&'0912\200C345\200C6789'),
	('tatweel', U&'\06F0\06F9\06F1\06F2\0640\06F3\06F4\06F5\0640\06F6\06F7\06F8\06F9'),
	('no-break spaces', U&'0912\00A0345\00A06789'),
	('minus signs', U&'0912\2212345\22126789'),
	('one parenthesis', '(0912 345 6789')) AS v (name, spelling);

-- what a copied cell or link has at its ends
SELECT name, sms3300_mobile(spelling)
FROM (VALUES
	('line breaks and tabs', E'\r\n\t09123456789\t\r\n'),
	('an apostrophe', '''09123456789'),
	('quotes', '"09123456789"'),
	('a formula', '="09123456789"'),
	('a comma', '09123456789,'),
	('a semicolon', '09123456789; '),
	('a plus, pasted from right to left', '989123456789+'),
	('a link', 'tel:+98-912-345-6789'),
	('a link in capitals', 'TEL:09123456789'),
	('a decimal part of zeros', '9123456789.0'),
	('a longer one', '09123456789.000'),
	('one behind a number that ends with zeros', '9891234500.00'),
	('full-width signs', '＋98（0）912－345－6789'),
	('other spaces', U&'0912\202F345\30006789')) AS v (name, spelling);

-- groups, down to a single digit
SELECT spelling, sms3300_mobile(spelling)
FROM (VALUES
	('0912.345.67.89'),
	('0912 345 67 89'),
	('0912/345/67/89'),
	('0912-345-67-8-9'),
	('0912 345 678 9')) AS v (spelling);

-- all digits among all characters
SELECT to_hex(min(c)) AS first, to_hex(max(c)) AS last, string_agg(digit, '' ORDER BY c) AS digits
FROM (SELECT c, right(sms3300_mobile('0912345678' || chr(c)), 1) AS digit, c - row_number() OVER (ORDER BY c) AS run
	FROM generate_series(1, 1114111) AS c
	WHERE c NOT BETWEEN 55296 AND 57343 AND sms3300_is_mobile('0912345678' || chr(c))) AS taken
GROUP BY run ORDER BY run;

-- all characters that may separate two digits
SELECT to_hex(min(c)) AS first, to_hex(max(c)) AS last
FROM (SELECT c, c - row_number() OVER (ORDER BY c) AS run
	FROM generate_series(1, 1114111) AS c
	WHERE c NOT BETWEEN 55296 AND 57343 AND sms3300_is_mobile('0912' || chr(c) || '3456789')) AS taken
GROUP BY run ORDER BY run;

-- all operators are accepted
SELECT count(*) FILTER (WHERE sms3300_mobile('0' || n) = '98' || n), count(*)
FROM generate_series(9000000000, 9999999999, 99991) AS n;

-- the canonical form is unchanged
SELECT sms3300_mobile(sms3300_mobile(' (0912) 345 6789 '));

SELECT sms3300_mobile(NULL), sms3300_is_mobile(NULL);

--
-- Rejected
--

-- all but the first are rejected
SELECT spelling, sms3300_is_mobile(spelling)
FROM (VALUES
	('09123456789'),
	-- too short, too long, empty
	('0912345678'),
	('091234567890'),
	('912345678'),
	('91234567890'),
	('98912345678'),
	('9891234567890'),
	('+98912345678'),
	('9'),
	('+'),
	('()'),
	(' '),
	(''),
	-- not a mobile
	('02191000000'),
	('+982191000000'),
	('983000330000'),
	('8123456789'),
	-- not Iranian, though long enough
	('+9123456789'),
	('00919123456789'),
	('+449123456789'),
	-- prefixes that nobody dials
	('+09123456789'),
	('+00989123456789'),
	('009123456789'),
	('0980912345678'),
	('000989123456789'),
	('98009123456789'),
	('98989123456789'),
	('00 (0)9123456789'),
	-- a plus anywhere but first
	('++989123456789'),
	('98+9123456789'),
	('0+989123456789'),
	('+989123456789+'),
	('989123456789++'),
	-- what is left of a decimal, or a range: without the separator it is a stranger's
	('912345678.0'),
	('912345678.9'),
	('0912345678.0'),
	('98912345678.0'),
	('0912345678.90'),
	('091234567.89'),
	('0912 345 678.9'),
	('0912345678/9'),
	('091234567/89'),
	('0912345678(9)'),
	('09123456(78)'),
	('0912345678-9'),
	('0912345678 - 9'),
	('0912345678 9'),
	('+98 912345678 9'),
	(U&'0912345678\20139'),
	(U&'0912345678\00A09'),
	('۰۹۱۲۳۴۵۶۷۸.۰'),
	('9123456789.5'),
	('9123456789.05'),
	('912345678.00'),
	-- two numbers
	('09123456789 09351234567'),
	('09123456789/09351234567'),
	('09123456789,09351234567'),
	-- anything else
	('09123456789x'),
	('tel 09123456789'),
	('=09123456789'),
	('O9123456789'),
	('0912_345_6789'),
	('0912,3456789'),
	('0912*3456789'),
	('0912345678#'),
	('0912:3456789'),
	('09123456789;;'),
	('09123456789:'),
	('9.123456789e9'),
	('-9.1e9'),
	(E'0912\t3456789'),
	(E'09123456789\n09351234567'),
	(',09123456789'),
	('09123456789،'),
	('०९१२३४५६७८९'),
	('①②③④⑤⑥⑦⑧⑨①②'),
	('0912＋3456789'),
	('نه‌صدودوازده'),
	('☎09123456789')) AS v (spelling);

-- error messages
SELECT sms3300_mobile('0912345678');
\echo :LAST_ERROR_SQLSTATE
SELECT sms3300_mobile('');
SELECT sms3300_mobile('۰۹۱۲ سه ۳۴۵');

-- a long value is truncated at a character boundary
SELECT sms3300_mobile(repeat('x', 64));
SELECT sms3300_mobile('x' || repeat('۱', 1000));

--
-- Use in indexes, constraints and queries
--

\pset format aligned

SELECT proname, provolatile, proisstrict, proparallel
FROM pg_proc WHERE proname IN ('sms3300_mobile', 'sms3300_is_mobile') ORDER BY proname;

CREATE TABLE mobile_customer (
	id int PRIMARY KEY,
	phone text CHECK (sms3300_is_mobile(phone)),
	mobile text GENERATED ALWAYS AS (sms3300_mobile(phone)) STORED);
CREATE UNIQUE INDEX mobile_customer_key ON mobile_customer (sms3300_mobile(phone));

INSERT INTO mobile_customer VALUES (1, '0912 345 6789'), (2, '+98 (0) 935 123 4567'), (3, NULL);
SELECT id, mobile FROM mobile_customer ORDER BY id;

-- the same number in another spelling
INSERT INTO mobile_customer VALUES (4, '۰۹۱۲-۳۴۵-۶۷۸۹');

-- an invalid number
INSERT INTO mobile_customer VALUES (4, '0912 345 678');

SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT id FROM mobile_customer WHERE sms3300_mobile(phone) = sms3300_mobile('00989351234567');
SELECT id FROM mobile_customer WHERE sms3300_mobile(phone) = sms3300_mobile('00989351234567');
RESET enable_seqscan;

-- a CHECK constraint alone
CREATE TABLE mobile_check (phone text CONSTRAINT mobile_check_phone CHECK (sms3300_is_mobile(phone)));
INSERT INTO mobile_check VALUES ('0912 345 6789');
INSERT INTO mobile_check VALUES ('0912 345 678');

DROP TABLE mobile_customer, mobile_check;
