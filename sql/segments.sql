--
-- sms3300_segments: how a text is split.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS sms3300;
RESET client_min_messages;
SET client_encoding = 'UTF8';
\pset format unaligned

SELECT message, s.*
FROM (VALUES
	(1, ''),
	(2, 'a'),
	(3, '€'),
	(4, 'Your code is 12345.'),
	(5, 'سلام'),
	(6, 'code: ۱۲۳'),
	(7, 'a`'),
	(8, 'ç'),
	(9, '😀'),
	(10, '🇮🇷'),
	(11, '👨‍👩‍👧'),
	(12, 'é'),
	(13, U&'e\0301'),
	(14, U&'\0645\06CC\200C\062E\0648\0627\0647\0645')) AS v (n, message), sms3300_segments(message) AS s
ORDER BY n;

--
-- The boundaries
--

-- one septet per character
SELECT n, s.* FROM unnest(ARRAY[0, 1, 152, 153, 154, 159, 160, 161, 305, 306, 307, 458, 459, 460]) AS n,
	sms3300_segments(repeat('a', n)) AS s;

-- two septets per character: 76 fill 152 of the 153 of a part
SELECT n, s.* FROM unnest(ARRAY[1, 76, 77, 79, 80, 81, 152, 153, 228, 229]) AS n,
	sms3300_segments(repeat('€', n)) AS s;

-- one UTF-16 unit per character
SELECT n, s.* FROM unnest(ARRAY[1, 66, 67, 68, 69, 70, 71, 133, 134, 135, 200, 201, 202]) AS n,
	sms3300_segments(repeat('س', n)) AS s;

-- two UTF-16 units per character: 33 fill 66 of the 67 of a part
SELECT n, s.* FROM unnest(ARRAY[1, 33, 34, 35, 36, 66, 67, 99, 100]) AS n,
	sms3300_segments(repeat('😀', n)) AS s;

-- a character of two units never straddles two parts
SELECT message, s.*
FROM (VALUES
	(1, '152 a, €, 152 a', repeat('a', 152) || '€' || repeat('a', 152)),
	(2, '151 a, €, 153 a', repeat('a', 151) || '€' || repeat('a', 153)),
	(3, '153 a, €, 151 a', repeat('a', 153) || '€' || repeat('a', 151)),
	(4, '152 a, €, 151 a', repeat('a', 152) || '€' || repeat('a', 151)),
	(5, '152 a, €, 6 a', repeat('a', 152) || '€' || repeat('a', 6)),
	(6, '152 a, €, 7 a', repeat('a', 152) || '€' || repeat('a', 7)),
	(7, '66 س, 😀, 66 س', repeat('س', 66) || '😀' || repeat('س', 66)),
	(8, '65 س, 😀, 67 س', repeat('س', 65) || '😀' || repeat('س', 67)),
	(9, '67 س, 😀, 65 س', repeat('س', 67) || '😀' || repeat('س', 65)),
	(10, '66 س, 😀, 65 س', repeat('س', 66) || '😀' || repeat('س', 65)),
	(11, '66 س, 😀, 2 س', repeat('س', 66) || '😀' || repeat('س', 2)),
	(12, '66 س, 😀, 3 س', repeat('س', 66) || '😀' || repeat('س', 3))) AS v (n, message, content), sms3300_segments(content) AS s
ORDER BY n;

-- one character outside the alphabet makes the whole text UCS-2
SELECT message, s.*
FROM (VALUES
	(1, '160 a', repeat('a', 160)),
	(2, '159 a, س', repeat('a', 159) || 'س'),
	(3, 'س, 159 a', 'س' || repeat('a', 159)),
	(4, '80 €, س', repeat('€', 80) || 'س')) AS v (n, message, content), sms3300_segments(content) AS s
ORDER BY n;

--
-- The alphabet, among all characters
--
SELECT encoding, units, count(*), string_agg(chr(c), '' ORDER BY c) FILTER (WHERE c >= 32 AND encoding = 'GSM-7') AS characters
FROM generate_series(1, 1114111) AS c, sms3300_segments(chr(c))
WHERE c NOT BETWEEN 55296 AND 57343
GROUP BY encoding, units ORDER BY encoding, units;

SELECT c, encoding, units FROM generate_series(1, 31) AS c, sms3300_segments(chr(c)) WHERE encoding = 'GSM-7';

-- similar characters outside the alphabet
SELECT name, s.*
FROM (VALUES
	('tab', E'\t'),
	('no-break space', U&'\00A0'),
	('zero-width non-joiner', U&'\200C'),
	('Persian digit', '۰'),
	('escape', E'\x1B')) AS v (name, content), sms3300_segments(content) AS s;

--
-- Use in indexes, constraints and queries
--

\pset format aligned

SELECT provolatile, proisstrict, proparallel FROM pg_proc WHERE proname = 'sms3300_segments';

SELECT * FROM sms3300_segments(NULL);

CREATE TABLE segments_campaign (message text CHECK ((sms3300_segments(message)).parts <= 2));
INSERT INTO segments_campaign VALUES (repeat('س', 134)), (repeat('a', 306));
INSERT INTO segments_campaign VALUES (repeat('س', 135));
SELECT encoding, count(*), sum(parts) AS parts FROM segments_campaign, sms3300_segments(message) GROUP BY encoding ORDER BY encoding;
DROP TABLE segments_campaign;
