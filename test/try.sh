#!/bin/sh

# Try an extension that is installed, in whatever way, for the PostgreSQL of PG_CONFIG: a
# private server preloads it and sends a message through the test gateway. Then the
# extension is dropped, and the server starts without the library: nothing of it is left.
#
#     sh test/try.sh [SETTING]...     SETTING is a line of postgresql.conf
#
# GATEWAY is the command that starts the gateway, if not the one in this folder.

set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/test/lib.sh"

# Run SQL, and print what it returns.
sql()
{
	psql -X -A -t -q -v ON_ERROR_STOP=1 -c "$1"
}

# Count what a database has, by kind and schema.
objects()
{
	for catalog in pg_class pg_proc pg_type pg_namespace pg_foreign_server pg_event_trigger; do
		sql "SELECT '$catalog', count(*) FROM $catalog"
	done
}

# Say whether the message has come to an end.
finished()
{
	[ "$(sql "SELECT status IN ('queued', 'sending') FROM sms_outbox")" = f ]
}

: "${PG_CONFIG:=pg_config}"
bindir=$("$PG_CONFIG" --bindir)
PATH=$bindir:$PATH
work=$(mktemp -d /tmp/sms3300.XXXXXX)
if [ "$(id -u)" = 0 ]; then chown postgres: "$work"; fi
cd "$root"
start_gateway
start_server "$@"

before=$(objects)
sql "CREATE EXTENSION sms3300;
	CREATE SERVER sms3300 FOREIGN DATA WRAPPER sms3300 OPTIONS (line '983000330000',
		url 'http://127.0.0.1:$gateway_port/api/wsSend.ashx');
	CREATE USER MAPPING FOR PUBLIC SERVER sms3300 OPTIONS (username 'u', password 'p')"
sql "INSERT INTO sms_outbox (mobile, message) VALUES ('09123456789', 'سلام')"
wait_until 60 finished || cat "$work/server.log"
sql 'TABLE sms_report'
[ "$(sql 'SELECT status FROM sms_outbox')" = sent ] || die 'it was not sent'
perl -MHTTP::Tiny -e 'print HTTP::Tiny->new->get($ARGV[0])->{content}' \
	"http://127.0.0.1:$gateway_port/" | grep -q '>سلام<' || die 'the page does not show it'

# Which libraries it brought with it, for the log.
[ ! -d /extensions ] || as_root grep -ho '/extensions.*' "/proc/$(head -n 1 "$work/data/postmaster.pid")/maps" | sort -u

sql 'DROP EXTENSION sms3300 CASCADE'
as_owner sed -i '/^shared_preload_libraries/d' "$work/data/postgresql.conf"
as_owner "$bindir/pg_ctl" -D "$work/data" -l "$work/server.log" -s -w restart
after=$(objects)
[ "$before" = "$after" ] || die "DROP EXTENSION left something: $before; $after"
say "sent with $(postgres --version), and nothing is left in the database"
