# postgres_fdw: the application's database has foreign tables, and sms_outbox is in another
# database. Create them as create_foreign in clients.sh does.

# Run SQL in a database.
run()
{
	psql -X -A -t -q -F ' ' -d "$1" -c "$2"
}

run shop "INSERT INTO sms_options (mobile, message, metadata, send_after)
	VALUES ('09123456789', 'سلام', '{\"order\": 17}', now())"
run shop "INSERT INTO sms_queue SELECT '0912' || to_char(n, 'FM0000000'), 'many' FROM generate_series(0, 999) AS n"

run shop "BEGIN; INSERT INTO sms_queue VALUES ('09123456789', 'rolled back'); ROLLBACK"
run shop "BEGIN; INSERT INTO sms_queue VALUES ('09123456789', 'kept');
	SAVEPOINT extra; INSERT INTO sms_queue VALUES ('09123456789', 'dropped'); ROLLBACK TO SAVEPOINT extra; COMMIT"

# A function of the other database cannot be called by way of a foreign table. PgBouncer may
# give a session in which postgres_fdw has changed the search_path.
run shop "INSERT INTO sms_options (mobile, message, send_after) VALUES ('09123456789', 'later', now() + '1 hour')"
run postgres "SELECT public.sms3300_cancel(id) FROM public.sms_outbox WHERE message = 'later'" >/dev/null

for time in 1 2; do
	run shop "INSERT INTO sms_options (mobile, message, dedup_key, send_after)
		VALUES ('09123456789', 'once', 'order-17', now()) ON CONFLICT DO NOTHING"
done

run shop "INSERT INTO sms_queue VALUES ('021 3300 3300', 'bad')" 2>&1 | sed '1s/^/error: /'

result=queued
while case $result in queued | sending) true ;; *) false ;; esac; do
	sleep 0.05
	result=$(run shop "SELECT status, message_id FROM sms_result WHERE message = 'سلام'")
	result=${result% }
done
echo "$result"
