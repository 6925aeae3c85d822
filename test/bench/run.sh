#!/bin/sh

# Measure on this machine how fast the extension is, beside what limits it: private
# servers, nginx as the gateway, contender and limit by turns in one run. It installs
# what is missing from apt and the extension into the server's folders, and leaves
# nothing running. The machine should have nothing else to do.
#
#     sh test/bench/run.sh [--rounds N] [--scale FACTOR] [--busy yes] [SECTION...]
#
# The factor makes all numbers of rows, and the times of watching, smaller: 0.1 is a
# quick try. With --busy, no sample waits for an idle machine; only ratios are then worth
# something. Sections; without one, all are measured:
#
#     throughput   messages a second and CPU time each, beside a bare libcurl program and
#                  plain SQL
#     peers        the same of other queues, from npm
#     latency      from COMMIT to the request's first byte, and to the status on the row
#     idle         what a worker and the launcher do that have nothing to do
#     memory       a worker's memory with a long queue
#     growth       throughput in a table with a long history and a long queue
#     snapshot     throughput while another session holds an old snapshot
#     bloat        the table's size after much was sent
#     options      what an account's rules, delivery states and NOTIFY cost while it sends
#     queueing     the cost of INSERT and of sms3300_send
#     bulk         the cost of sms3300_cancel_many, and of results that fail in a trigger
#     accounts     what 1,000 accounts cost beside the one that sends, and how fast all send
#     many         more requests in flight than the server may have files
#     https        the same over http and https: throughput, bursts, single messages, memory,
#                  and what an unrelated DROP DATABASE waits

set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/test/lib.sh"

# Make an authority, and a certificate for the gateway. The server that is measured
# trusts it as well as all others of this system's, as long as this runs.
make_certificates()
{
	as_owner sh -eu -s "$work" <<-'END'
		cd "$1"
		openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=authority -days 2 \
			-addext basicConstraints=critical,CA:true -keyout authority.key -out authority.pem
		openssl req -newkey rsa:2048 -nodes -subj /CN=gateway -keyout gateway.key -out gateway.csr
		echo subjectAltName=IP:127.0.0.1 >gateway.ext
		openssl x509 -req -in gateway.csr -CA authority.pem -CAkey authority.key -CAcreateserial \
			-days 2 -extfile gateway.ext -out gateway.pem
		mkdir certs
		cp -L /etc/ssl/certs/*.0 /etc/ssl/certs/ca-certificates.crt certs
		cat authority.pem >>certs/ca-certificates.crt
	END
	mount --bind "$work/certs" /etc/ssl/certs
}

# Start nginx as the gateway, on free ports, $gateway_port, $tls_port and $ca_port, which is
# for accounts with ca_file: it answers at once, or after 50 ms, and every reply is another.
start_nginx()
{
	gateway_port=$(free_port)
	tls_port=$(free_port)
	ca_port=$(free_port)
	reply='{"data": {"message_id": 1000$connection_requests, "line": 983000330000, "connection": $connection}, "status": -1, "msg": "success"}'
	as_owner mkdir "$work/nginx"
	as_owner tee "$work/nginx/nginx.conf" >/dev/null <<-CONF
		load_module /usr/lib/nginx/modules/ngx_http_echo_module.so;
		worker_processes 1;
		worker_rlimit_nofile 20000;
		daemon off;
		pid $work/gateway.pid;
		error_log $work/nginx/error.log;
		events { worker_connections 16000; }
		http {
			access_log off;
			keepalive_requests 1000000000;
			keepalive_timeout 1h;
			default_type application/json;
			client_body_temp_path $work/nginx/body;
			proxy_temp_path $work/nginx/proxy;
			fastcgi_temp_path $work/nginx/fastcgi;
			uwsgi_temp_path $work/nginx/uwsgi;
			scgi_temp_path $work/nginx/scgi;
			server {
				listen 127.0.0.1:$gateway_port backlog=10000;
				listen 127.0.0.1:$tls_port ssl backlog=10000;
				listen 127.0.0.1:$ca_port ssl backlog=10000;
				ssl_certificate $work/gateway.pem;
				ssl_certificate_key $work/gateway.key;
				location = /instant { return 200 '$reply'; }
				location = /50ms { echo_sleep 0.05; echo '$reply'; }
				location = /status { stub_status; }
			}
		}
	CONF
	as_owner /usr/sbin/nginx -c "$work/nginx/nginx.conf" 2>"$work/nginx/stderr.log" &
	wait_until 30 test -s "$work/gateway.pid" || {
		cat "$work/nginx/stderr.log"
		die "nginx did not start"
	}
}

# What is mounted here is seen by nothing else.
if [ -z "${BENCH_MOUNTS:-}" ]; then
	as_root env BENCH_MOUNTS=yes ${PG_CONFIG:+PG_CONFIG="$PG_CONFIG"} unshare --mount sh "$0" "$@"
	exit
fi

rounds=5
scale=1
busy=
while [ $# -gt 0 ]; do
	case $1 in
		--rounds) rounds=${2:?} ;;
		--scale) scale=${2:?} ;;
		--busy) busy=${2:?} ;;
		-*) die "unknown option: $1" ;;
		*) break ;;
	esac
	shift 2
done
[ $# -gt 0 ] ||
	set -- throughput peers latency idle memory growth snapshot bloat options queueing bulk accounts \
		many https

need_server
need libdbd-pg-perl perl -MDBD::Pg -e 1
need nginx test -x /usr/sbin/nginx
need openssl command -v openssl
need ca-certificates test -e /etc/ssl/certs/ca-certificates.crt
need libnginx-mod-http-echo test -e /usr/lib/nginx/modules/ngx_http_echo_module.so
case " $* " in *" peers "*)
	need nodejs command -v node
	need npm command -v npm
	;;
esac
install_missing
make_work

say "building and installing the extension for $("$PG_CONFIG" --version)"
compile
install_extension
as_owner gcc -O2 -Wall -o "$work/bare" test/bench/bare.c -lcurl
case " $* " in *" peers "*)
	as_owner cp -r test/bench/peers "$work/peers"
	as_owner npm --prefix "$work/peers" --no-audit --no-fund --silent install ||
		die "npm could not install the other queues"
	;;
esac

make_certificates >"$work/openssl.log" 2>&1 || {
	cat "$work/openssl.log"
	die "could not make certificates"
}
start_nginx

# What most systems give a server; nginx has more.
prlimit --pid $$ --nofile=1024:
start_server
as_owner env ROUNDS="$rounds" SCALE="$scale" BUSY="$busy" WORK="$work" BARE="$work/bare" \
	PEERS="$work/peers" GATEWAY="http://127.0.0.1:$gateway_port" \
	TLS_GATEWAY="https://127.0.0.1:$tls_port" CA_GATEWAY="https://127.0.0.1:$ca_port" \
	CA_FILE="$work/authority.pem" \
	perl -I test/bench test/bench/bench.pl "$@"
