--
-- How many short values a second the functions do in one backend.
--
--     psql -X -q -f test/bench/functions.sql
--
-- The time of reading the table is part of each figure; the first line shows
-- what it is alone.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS sms3300;

SET jit = off;
SET max_parallel_workers_per_gather = 0;

CREATE TEMP TABLE bench AS
SELECT '0912' || to_char(i, 'FM0000000') AS plain,
	   '+98 (0) ۹۱۲-' || translate(to_char(i, 'FM000 0000'), '0123456789', '۰۱۲۳۴۵۶۷۸۹') AS spelled,
	   'Your code is ' || i AS latin,
	   'کد شما: ' || i AS persian
FROM generate_series(1, 1000000) AS i;

VACUUM ANALYZE bench;

-- Run a query three times and return the best rate.
CREATE FUNCTION pg_temp.values_per_second(query text) RETURNS numeric
LANGUAGE plpgsql AS $$
DECLARE
	started timestamptz;
	elapsed double precision;
	best double precision;
BEGIN
	FOR run IN 1..3 LOOP
		started := clock_timestamp();
		EXECUTE query;
		elapsed := extract(epoch FROM clock_timestamp() - started);
		best := least(best, elapsed);
	END LOOP;
	RETURN round((1000000 / best)::numeric);
END
$$;

SELECT expression, pg_temp.values_per_second(format('SELECT count(%s) FROM bench', expression))
FROM (VALUES
	('plain'),
	('sms3300_mobile(plain)'),
	('sms3300_mobile(spelled)'),
	('sms3300_is_mobile(plain)'),
	('sms3300_is_mobile(spelled)'),
	('sms3300_segments(latin)'),
	('sms3300_segments(persian)'),
	('(sms3300_segments(persian)).parts')) AS v (expression);

SELECT 'FROM bench, sms3300_segments(persian)' AS expression,
	pg_temp.values_per_second('SELECT sum(parts) FROM bench, sms3300_segments(persian)');
