\echo Use "ALTER EXTENSION sms3300 UPDATE TO '1.0'" to load this file. \quit

-- 0.1 is what 1.0 was in its first days: an installation that was made then calls itself
-- 1.0. This script changes nothing, so that the updates from 1.0 have to.
