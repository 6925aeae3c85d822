#!/bin/sh

# Check doc/monitoring with the real prometheus and its exporter, which scrape a private
# server while it sends: every metric and panel has data, each alert fires once and only
# when it should. It installs what is missing from apt and npm, and leaves nothing
# running.
#
#     sh test/monitoring.sh

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

need_server
need prometheus command -v promtool
need prometheus-postgres-exporter command -v prometheus-postgres-exporter
need nodejs command -v node
need npm command -v npm
install_missing
make_work
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
for mistake in 's/"schemaVersion"/"schema"/' 's/"w": 6/"w": "6"/' 's/"unit": "ops"/"unt": "ops"/' \
	's/"colorMode": "background"/"colorMode": "black"/' 's/"placement"/"place"/'; do
	! sed "$mistake" dashboard.json | check_dashboard >/dev/null || die "not found: $mistake"
done
say 'ok: Grafana accepts the dashboard, and mistakes in it are found'

cd "$work/tree"
compile
install_extension
start_gateway
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

send="SELECT sms3300_send('09123456789', 'hello'"
overdue="$send, send_after => now() - interval '1 hour')"

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

# The only worker that there may be has something to do elsewhere.
sql postgres "SELECT sms3300_send('09123456789', '#hang')"
await 'sms3300_worker_running{datname="postgres"} == 1' 'another database has the worker'
sql app "$overdue"
await 'ALERTS{alertname="Sms3300NoWorker", alertstate="firing"}' 'no worker for what is due'
firing Sms3300NoWorker Sms3300QueueAge Sms3300Unknown

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
