#!/bin/sh

# Check doc/monitoring with the real prometheus and its exporter, which scrape a private
# server while it sends: every metric and panel has data, each alert fires once and only
# when it should. Then the tests of the other exporters, of Nagios' check and of Zabbix run
# with the real programs. It installs what is missing from apt and npm, and leaves nothing
# running.
#
#     sh test/monitoring.sh              check it
#     sh test/monitoring.sh --draw FILE  draw the dashboard, a PNG, while a server has troubles

set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/test/lib.sh"

# Run a program in the background as the server's owner; its name is for its files.
run_as()
{
	name=$1
	shift
	as_owner sh -c 'echo $$ >"$0.pid" && exec "$@" >"$0.log" 2>&1' "$work/$name" "$@" &
}

# Wait until a program says at which port it listens, and print that.
port_of()
{
	wait_until 30 grep -qs 'Listening on.*127.0.0.1' "$work/$1.log" || {
		cat "$work/$1.log" >&2
		die "$1 did not start"
	}
	sed -n 's/.*Listening on.*127\.0\.0\.1:\([0-9]*\).*/\1/p' "$work/$1.log" | head -n 1
}

# Run SQL in a database.
sql()
{
	psql -X -A -t -q -v ON_ERROR_STOP=1 -d "$1" -c "$2" >/dev/null
}

# Print what a PromQL expression returns, a line each; fail if it does not parse.
ask()
{
	promtool query instant "http://127.0.0.1:$prometheus_port" "$1"
}

# Say whether an expression returns something.
holds()
{
	[ -n "$(ask "$1")" ]
}

# Wait until an expression returns something.
await()
{
	wait_until 60 holds "$1" || {
		tail -n 20 "$work/exporter.log" "$work/prometheus.log"
		ask '{__name__=~"sms3300_.+|ALERTS"}'
		die "$2"
	}
	say "ok: $2"
}

# Say whether a session has locked the table.
locked()
{
	[ "$(psql -X -A -t -d app -c "SELECT count(*) FROM pg_locks WHERE mode = 'ShareLock' AND granted
		AND relation = 'sms_outbox'::regclass")" = 1 ]
}

# Check that the alerts given fire now, and no others.
firing()
{
	expected=$(printf '%s\n' "$@" | sort)
	now=$(ask 'ALERTS{alertstate="firing"}' | sed 's/.*alertname="\([^"]*\)".*/\1/' | sort)
	[ "$now" = "$expected" ] || die "firing: $now; expected: $expected"
	say "ok: firing: ${*:-none}"
}

# Check a dashboard, which is read from the standard input, as TypeScript.
check_dashboard()
{
	{
		cat <<-'END'
			import { Dashboard, Panel } from "@grafana/schema";
			import { Options as Stat } from
			    "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
			import { Options as TimeSeries } from
			    "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";
			type Json<T> = T extends string ? `${T}` :
			    T extends object ? { [K in keyof T]: Json<T[K]> } : T;
			type Shown<Type, Options> =
			    Omit<Panel, "type" | "options"> & { type: Type, options: Options };
			type Known = Omit<Dashboard, "panels"> &
			    { panels: (Shown<"stat", Stat> | Shown<"timeseries", TimeSeries>)[] };
			export const dashboard: Json<Known> =
		END
		cat
	} >"$work/types/dashboard.ts"
	node "$work/types/node_modules/typescript/bin/tsc" --noEmit --strict --skipLibCheck \
		--moduleResolution node --module esnext --target es2020 "$work/types/dashboard.ts"
}

# Unpack Zabbix in a folder of its own, with what it needs and the machine has not. Installed,
# it would bring a web server.
unpack_zabbix()
{
	ZABBIX_ROOT=$work/zabbix
	export ZABBIX_ROOT
	mkdir -p "$ZABBIX_ROOT/packages"
	(
		cd "$ZABBIX_ROOT/packages"
		zabbix='zabbix-server-pgsql zabbix-agent zabbix-frontend-php'
		# shellcheck disable=SC2046,SC2086
		apt-get -qq download $(apt-get -s --no-install-recommends install $zabbix | awk '/^Inst/ { print $2 }')
		for package in *.deb; do dpkg -x "$package" ..; done
	)
	rm -r "$ZABBIX_ROOT/packages"
	chmod -R a+rX "$ZABBIX_ROOT"
}

# Send for some minutes, with troubles: the gateway becomes slow, and is away for a while; some
# messages are refused, and some may have been sent.
send_with_troubles()
{
	sql app "ALTER SERVER sms3300 OPTIONS (ADD max_in_flight '8', SET timeout '5s', ADD delivery 'on',
		ADD delivery_checks '3s, 10s', ADD delivery_interval '500ms')"
	sql app 'CREATE PROCEDURE send(seconds int, delay int, refused float, broken float) LANGUAGE plpgsql AS $$
		BEGIN
			FOR n IN 1 .. seconds * 5 LOOP
				PERFORM sms3300_send($m$09123456789$m$, CASE WHEN random() < refused THEN $m$#status 1 no$m$
					WHEN random() < broken THEN $m$#http 500$m$
					ELSE $m$#delay $m$ || (delay * (0.5 + random()))::int END) FROM generate_series(1, 4);
				COMMIT;
				PERFORM pg_sleep(0.2);
			END LOOP;
		END $$'
	sql app 'CALL send(50, 100, 0.02, 0)'
	sql app 'CALL send(40, 450, 0.02, 0.01)'
	sql app "ALTER SERVER sms3300 OPTIONS (SET url 'http://127.0.0.1:9/api/wsSend.ashx')"
	sql app 'CALL send(30, 100, 0.02, 0)'
	sql app "ALTER SERVER sms3300 OPTIONS (SET url '$url')"
	sql app 'CALL send(60, 100, 0.02, 0)'
}

draw=
[ "${1:-}" != --draw ] || draw=$(realpath "$2")
need_server
need prometheus command -v promtool
need prometheus-postgres-exporter command -v prometheus-postgres-exporter
need nodejs command -v node
need npm command -v npm
if [ -n "$draw" ]; then
	need python3-matplotlib /usr/bin/python3 -c 'import matplotlib'
else
	need prometheus-sql-exporter command -v prometheus-sql-exporter
	need check-postgres command -v check_postgres
fi
install_missing
make_work

# Check what can be checked without a server.
check_files()
{
	cd doc/monitoring
	say 'checking the files'
	promtool check rules alerts.yaml
	promtool test rules alerts_test.yaml

	# The dashboard as TypeScript, against the types that Grafana publishes, those of its
	# panels' options included; what is an enum there is a string in JSON. There are none of
	# a query for prometheus: what the dashboard asks for is tried below.
	mkdir "$work/types"
	npm install --prefix "$work/types" --silent --no-audit --no-fund --ignore-scripts \
		@grafana/schema@11.6.0 typescript@5.9.3 >/dev/null
	check_dashboard <dashboard.json
	for mistake in 's/"schemaVersion"/"schema"/' 's/"w": 5/"w": "5"/' 's/"unit": "ops"/"unt": "ops"/' \
		's/"colorMode": "background"/"colorMode": "black"/' 's/"placement"/"place"/'; do
		! sed "$mistake" dashboard.json | check_dashboard >/dev/null || die "not found: $mistake"
	done
	say 'ok: Grafana accepts the dashboard, and mistakes in it are found'
	cd "$work/tree"
}

[ -n "$draw" ] || check_files
compile
install_extension
start_gateway --states-by-id 1,1,1,1,1,1,1,1,2
start_server
sql postgres 'ALTER SYSTEM SET sms3300.max_workers = 1'
as_owner "$bindir/pg_ctl" -D "$work/data" -l "$work/server.log" -s -w restart
createdb app
url=http://127.0.0.1:$gateway_port/api/wsSend.ashx
for database in app postgres; do
	sql $database "CREATE EXTENSION sms3300;
		CREATE SERVER sms3300 FOREIGN DATA WRAPPER sms3300 OPTIONS (line '983000330000',
			timeout '1 hour', url '$url');
		CREATE USER MAPPING FOR PUBLIC SERVER sms3300 OPTIONS (username 'u', password 'p')"
done
sql app 'CREATE ROLE prometheus LOGIN; GRANT pg_monitor TO prometheus'

run_as exporter env DATA_SOURCE_NAME="user=prometheus host=$work dbname=app sslmode=disable" \
	prometheus-postgres-exporter --web.listen-address=127.0.0.1:0 --disable-default-metrics \
	--disable-settings-metrics --extend.query-path=doc/monitoring/queries.yaml
exporter_port=$(port_of exporter)

# What an alert waits for is tested above; here it fires at once.
sed '/^ *for:/d' doc/monitoring/alerts.yaml >"$work/alerts.yaml"
cat >"$work/prometheus.yaml" <<-END
	global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
	rule_files: [$work/alerts.yaml]
	scrape_configs:
	  - job_name: postgres
	    static_configs: [{targets: ['127.0.0.1:$exporter_port']}]
END
run_as prometheus prometheus --config.file="$work/prometheus.yaml" \
	--storage.tsdb.path="$work/tsdb" --web.listen-address=127.0.0.1:0
prometheus_port=$(port_of prometheus)

if [ -n "$draw" ]; then
	await 'sms3300_account_requests_total' 'the account is seen'
	began=$(date +%s)
	send_with_troubles
	/usr/bin/python3 "$root/test/dashboard.py" "http://127.0.0.1:$prometheus_port" "$began" "$(date +%s)" "$work/dashboard.png"
	cp "$work/dashboard.png" "$draw"
	exit 0
fi

send="SELECT sms3300_send('09123456789', 'hello'"

# One that has been due for an hour, which callers cannot queue.
overdue="$send); SET LOCAL session_replication_role = replica; UPDATE sms_outbox
	SET (send_after, due_at) = (now() - interval '1 hour', now() - interval '1 hour') WHERE status = 'queued'"

await 'sms3300_account_requests_total == 0' 'the account is seen before it sends'
sql app "$send) FROM generate_series(1, 3)"
await 'sms3300_account_sent_total == 3' 'what was sent is counted'
await 'sms3300_account_queued == 0' 'the queue is empty'
firing

sql app "SELECT sms3300_send('09123456789', '#http 500')"
await 'ALERTS{alertname="Sms3300Unknown", alertstate="firing"}' 'one may have been sent'
firing Sms3300Unknown

sql app "ALTER SERVER sms3300 OPTIONS (SET url 'http://127.0.0.1:9/')"
sql app "$overdue"
await 'ALERTS{alertname="Sms3300AccountStopped", alertstate="firing"}' 'the account stops'
await 'ALERTS{alertname="Sms3300QueueAge", alertstate="firing"}' 'its message is overdue'
firing Sms3300AccountStopped Sms3300QueueAge Sms3300Unknown
sql app "ALTER SERVER sms3300 OPTIONS (SET url '$url')"
await 'sms3300_account_queued == 0 and sms3300_account_stopped == 0' 'it sends again'

sql app "$send, send_after => now() + interval '1 hour');
	UPDATE sms_outbox SET origin = origin + 1 WHERE status = 'queued'"
await 'ALERTS{alertname="Sms3300ForeignRows", alertstate="firing"}' 'a row of another database'
firing Sms3300ForeignRows Sms3300Unknown
sql app 'SELECT sms3300_adopt(); SELECT sms3300_cancel(id) FROM sms_outbox'
await 'sms3300_account_foreign_rows == 0' 'it is adopted'

# What a rule, too many attempts or the time kept from being sent.
sql app "ALTER SERVER sms3300 OPTIONS (ADD deliver_only '09351234567')"
sql app "$send)"
await 'ALERTS{alertname="Sms3300Suppressed", alertstate="firing"}' 'one is suppressed'
sql app "ALTER SERVER sms3300 OPTIONS (DROP deliver_only, ADD max_attempts '1')"
sql app "SELECT sms3300_send('09123456789', '#status 15')"
await 'ALERTS{alertname="Sms3300Failed", alertstate="firing"}' 'one has failed'
sql app "ALTER SERVER sms3300 OPTIONS (DROP max_attempts, ADD paused 'true')"
sql app "$send, send_before => clock_timestamp() + interval '1 s')"
await 'ALERTS{alertname="Sms3300Expired", alertstate="firing"}' 'one has expired'
firing Sms3300Expired Sms3300Failed Sms3300Suppressed Sms3300Unknown

# An account that is paused, a lock of another session, and something else that is critical.
sql app "$send)"
await 'ALERTS{alertname="Sms3300Warning", alertstate="firing"}' 'the account is paused'
firing Sms3300Expired Sms3300Failed Sms3300Suppressed Sms3300Unknown Sms3300Warning
psql -X -q -d app -c 'BEGIN' -c 'LOCK TABLE sms_outbox IN SHARE MODE' -c 'SELECT pg_sleep(600)' >/dev/null 2>&1 &
wait_until 30 locked || die 'the table was not locked'
sql app "ALTER SERVER sms3300 OPTIONS (DROP paused)"
await 'ALERTS{alertname="Sms3300Blocked", alertstate="firing"}' 'the worker is blocked'
firing Sms3300Blocked Sms3300Expired Sms3300Failed Sms3300Suppressed Sms3300Unknown
sql app "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'sms_outbox'::regclass AND mode = 'ShareLock'"
await 'sms3300_worker_blocked{datname="app"} == 0 and on (datname) sms3300_account_queued == 0' 'it goes on'
sql app "ALTER SYSTEM SET sms3300.armed_file = '/nonexistent'"
sql app 'SELECT pg_reload_conf()'
await 'ALERTS{alertname="Sms3300Problem", alertstate="firing"}' 'the server is not armed'
firing Sms3300Expired Sms3300Failed Sms3300Problem Sms3300Suppressed Sms3300Unknown
sql app 'ALTER SYSTEM RESET sms3300.armed_file'
sql app 'SELECT pg_reload_conf()'
await 'absent(sms3300_problem_rows{problem="not_armed"})' 'it is armed'

# The only worker that there may be has something to do elsewhere.
sql postgres "SELECT sms3300_send('09123456789', '#hang')"
await 'sms3300_worker_running{datname="postgres"} == 1' 'another database has the worker'
sql app "$overdue"
await 'ALERTS{alertname="Sms3300NoWorker", alertstate="firing"}' 'no worker for what is due'
firing Sms3300Expired Sms3300Failed Sms3300NoWorker Sms3300QueueAge Sms3300Suppressed Sms3300Unknown

# Everything that the dashboard asks for, with its variables as Grafana would fill them in.
perl -MJSON::PP -0777 -ne '
	my $dashboard = decode_json($_);
	for my $panel (@{ $dashboard->{panels} }) {
		print "$_->{expr}\n" for @{ $panel->{targets} };
	}' doc/monitoring/dashboard.json |
	sed 's/\$__rate_interval/5m/g; s/\$datname/.*/g; s/\$account/.*/g' >"$work/expressions"
[ -s "$work/expressions" ] || die 'the dashboard has no expressions'
while read -r expression; do
	holds "$expression" || die "the dashboard uses an expression without data: $expression"
	for metric in $(printf '%s\n' "$expression" | grep -o 'sms3300_[a-z0-9_]*'); do
		holds "$metric" || die "metric $metric is missing"
	done
done <"$work/expressions"
say "ok: all $(wc -l <"$work/expressions") expressions of the dashboard have data"
for metric in $(grep -o 'sms3300_[a-z0-9_]*' doc/monitoring/alerts.yaml | grep -v _explain |
	grep -v _stat_ | grep -v _adopt | grep -v _problems | sort -u); do
	holds "$metric" || die "metric $metric is missing"
done
say 'ok: all metrics of the alerts exist'

# Nobody tells anything any more.
kill "$(cat "$work/exporter.pid")"
await 'ALERTS{alertname="Sms3300NoExporter", alertstate="firing"}' 'no exporter answers'

# The other exporters, Nagios and Zabbix.
unpack_zabbix
sh "$root/test/check.sh" 109_monitoring 109_zabbix || die 'a test with the real programs has failed'
say 'ok: the other exporters, Nagios and Zabbix'
