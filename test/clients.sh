#!/bin/sh

# Use the extension from the clients that people use: a program in test/clients for each,
# written as one does with that client. It runs as a role that has nothing but USAGE on the
# account, connected to a private server, and then to PgBouncer in transaction mode. What is
# missing is installed from apt and npm, and nothing is left running. A client that cannot be
# installed is skipped.
#
#     sh test/clients.sh            all of them; fails if fewer than $enough have passed
#     sh test/clients.sh NAME...    only the clients whose names contain a NAME
#
# A program reads PGHOST, PGPORT, PGUSER and PGDATABASE, or DATABASE_URL; POOLED is not
# empty if it is connected to PgBouncer. It queues these messages:
#
#     text             how
#     سلام             a single one, with {"order": 17} as metadata
#     many             1,000, to different numbers
#     rolled back      in a transaction that rolls back
#     kept, dropped    in a transaction that commits; the second in a savepoint that does not
#     later            in an hour; cancelled by sms3300_cancel
#     once             twice, with the same dedup_key
#
# It prints "sent" and the gateway's number of the first one when that is sent, and "error:"
# and what the client says of the mobile number 021 3300 3300. VERBOSE=1 shows that, too.
# Those called recipe_… run the code of doc/recipes.md: they ship an order of theirs, 17, and
# fail to ship 18, whose number is bad.

set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/test/lib.sh"
: "${JOBS:=$(nproc)}"
. "$root/test/stages.sh"

# How many clients must pass where all are asked for.
enough=14

# Every client: its name, its packages, and how its program is run, in test/clients.
clients='
activerecord ruby-activerecord,ruby-pg ruby activerecord.rb
dbi libdbd-pg-perl perl dbi.pl
django python3-django,python3-psycopg2 /usr/bin/python3 -I django_orm.py
doctrine php-doctrine-orm,php-symfony-cache,php-cli,php-pgsql php doctrine.php
drizzle nodejs,npm node drizzle.js
eloquent php-illuminate-database,php-cli,php-pgsql php eloquent.php
hibernate libhibernate3-java,libjavassist-java,libpostgresql-jdbc-java,default-jdk-headless javac -cp "$hibernate" -d "$HOME/java" UseHibernate.java && java -cp "$HOME/java:$hibernate" UseHibernate
jdbc libpostgresql-jdbc-java,default-jdk-headless java -cp "$java" Jdbc.java
knex nodejs,npm node knex.js
nodepg nodejs,npm node nodepg.js
pdo php-cli,php-pgsql php pdo.php
pgx golang-go,golang-github-jackc-pgx-v4-dev go run pgx.go
pq golang-go,golang-github-lib-pq-dev go run pq.go
postgres_fdw - sh postgres_fdw.sh
prisma nodejs,npm npx prisma generate >/dev/null && node prisma.js
psycopg python3-psycopg /usr/bin/python3 -I psycopg.py
recipe_django python3-django,python3-psycopg2 sh recipe_django.sh
recipe_laravel php-laravel-framework,php-cli,php-pgsql sh recipe_laravel.sh
recipe_node nodejs,npm node recipe_node.js
recipe_pdo php-cli,php-pgsql php recipe_pdo.php
sequelize nodejs,npm node sequelize.js
sqlalchemy_automap python3-sqlalchemy,python3-psycopg2 /usr/bin/python3 -I sqlalchemy_automap.py
sqlalchemy_core python3-sqlalchemy,python3-psycopg2 /usr/bin/python3 -I sqlalchemy_core.py
sqlalchemy_orm python3-sqlalchemy,python3-psycopg2 /usr/bin/python3 -I sqlalchemy_orm.py
typeorm nodejs,npm node typeorm.js
'

# Where the packages have what Java needs.
java=/usr/share/java/postgresql.jar
hibernate=$java:$(printf '/usr/share/java/%s.jar:' hibernate-core hibernate-commons-annotations javassist \
	geronimo-jpa_2.0_spec geronimo-jta-1.2-spec slf4j-api slf4j-nop dom4j antlr commons-collections3)

# Print the clients that are asked for, all that is known of each.
chosen()
{
	printf '%s' "$clients" | grep . | while read -r client packages command; do
		! asked_for "$client" || printf '%s\n' "$client $packages $command"
	done
}

# Say whether a package is installed, or what can be in its place.
have()
{
	case $1 in
		-) ;;
		nodejs) command -v node ;;
		npm) command -v npm ;;
		*) [ "$(dpkg-query -W -f '${db:Status-Status}' "$1")" = installed ] ;;
	esac
}

# Note which packages of the clients that are read are missing.
need_clients()
{
	missing=
	for package in $(cut -d ' ' -f 2 | tr , '\n' | sort -u); do
		need "$package" have "$package"
	done
}

# Install the packages of the chosen clients, all at once, or where that fails each client's.
# Those that are ready are in $work/chosen then; the others are skipped.
install_clients()
{
	chosen >"$work/asked_for"
	need_clients <"$work/asked_for"
	try_install && everything=yes || everything=
	while read -r client; do
		printf '%s\n' "$client" >"$work/client"
		need_clients <"$work/client"
		if [ -n "$everything" ] || try_install >&2 </dev/null; then
			cat "$work/client"
		else
			skip_stage "${client%% *}" "could not install$missing" >&2
		fi
	done <"$work/asked_for" >"$work/chosen"
}

# Leave out a client that was chosen: its name, and why.
leave_out()
{
	grep -q "^$1 " "$work/chosen" || return 0
	skip_stage "$1" "$2"
	sed -i "/^$1 /d" "$work/chosen"
}

# Install the packages of npm, and leave out the clients that cannot be run.
install_npm()
{
	if ! (cd test/clients && as_owner timeout 300 npm ci --silent --no-audit --no-fund --ignore-scripts); then
		for client in $(sed -n 's/ nodejs.*//p' "$work/chosen"); do
			leave_out "$client" 'could not install the packages of npm'
		done
	elif ! node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)'; then
		leave_out prisma "it needs Node.js 20, and this is $(node --version)"
		leave_out typeorm "it needs Node.js 20, and this is $(node --version)"
	fi
}

# Say whether enough clients have passed. Recipes are none.
are_enough()
{
	tried=$(grep '^passed' "$work/results" | grep -vc ' recipe_')
	say "$tried clients have passed, of $enough"
	[ "$tried" -ge $enough ]
}

# Run SQL as the superuser.
sql()
{
	psql -X -A -t -q -v ON_ERROR_STOP=1 -c "$1"
}

# Let clients connect to the server by TCP, on $server_port, as Java can in no other way.
listen()
{
	server_port=$(free_port)
	sql "ALTER SYSTEM SET listen_addresses = '127.0.0.1'"
	sql "ALTER SYSTEM SET port = $server_port"
	as_owner "$bindir/pg_ctl" -D "$work/data" -l "$work/server.log" -s -w restart
	PGPORT=$server_port
}

# Start PgBouncer in transaction mode on $pool_port.
start_pgbouncer()
{
	pool_port=$(free_port)
	chosen | sed 's/ .*//; s/.*/"&_pooled" ""/' | as_owner tee "$work/users" >/dev/null
	as_owner tee "$work/pgbouncer.ini" >/dev/null <<-END
		[databases]
		* = host=127.0.0.1 port=$server_port
		[pgbouncer]
		listen_addr = 127.0.0.1
		listen_port = $pool_port
		unix_socket_dir =
		auth_type = trust
		auth_file = $work/users
		pool_mode = transaction
		ignore_startup_parameters = extra_float_digits
		logfile = $work/pgbouncer.log
		pidfile = $work/pgbouncer.pid
	END
	as_owner /usr/sbin/pgbouncer -q -d "$work/pgbouncer.ini"
}

# Create the account, and for each client a role for either way.
create_account()
{
	sql "CREATE EXTENSION sms3300;
		CREATE SERVER sms3300 FOREIGN DATA WRAPPER sms3300 OPTIONS (line '983000330000',
			url 'http://127.0.0.1:$(cat "$work/gateway.port")/api/wsSend.ashx');
		CREATE USER MAPPING FOR PUBLIC SERVER sms3300 OPTIONS (username 'u', password 'p')"
	for client in $(chosen | sed 's/ .*//'); do
		sql "CREATE ROLE $client LOGIN; CREATE ROLE ${client}_pooled LOGIN;
			GRANT USAGE ON FOREIGN SERVER sms3300 TO $client, ${client}_pooled"
		for role in "$client" "${client}_pooled"; do
			case $client in
				recipe_django) sql "CREATE SCHEMA AUTHORIZATION $role; ALTER ROLE $role CREATEDB" ;;
				recipe_laravel) sql "CREATE SCHEMA AUTHORIZATION $role" ;;
				recipe_*) create_orders "$role" ;;
			esac
		done
	done
}

# Create the template of test databases, as doc/clients.md says.
create_template()
{
	sed -n '/^CREATE DATABASE sms_template/,/^```/{/^```/!p}' doc/clients.md |
		psql -X -q -v ON_ERROR_STOP=1
}

# Give a role orders of its own.
create_orders()
{
	sql "CREATE SCHEMA AUTHORIZATION $1;
		CREATE TABLE $1.orders (id int PRIMARY KEY, mobile text, status text);
		ALTER TABLE $1.orders OWNER TO $1"
}

# Create the database that has no extension but postgres_fdw, whose clients reach the account
# through foreign tables: of the columns to be written, and of those to be read.
create_foreign()
{
	createdb shop
	psql -X -q -v ON_ERROR_STOP=1 -d shop <<-END
		CREATE EXTENSION postgres_fdw;
		CREATE SERVER postgres_fdw FOREIGN DATA WRAPPER postgres_fdw
			OPTIONS (host '127.0.0.1', port '$server_port', dbname 'postgres', batch_size '100');
		CREATE SERVER postgres_fdw_pooled FOREIGN DATA WRAPPER postgres_fdw
			OPTIONS (host '127.0.0.1', port '$pool_port', dbname 'postgres', batch_size '100');
	END
	for server in postgres_fdw postgres_fdw_pooled; do
		psql -X -q -v ON_ERROR_STOP=1 -d shop <<-END
			CREATE USER MAPPING FOR $server SERVER $server OPTIONS (user '$server', password_required 'false');
			CREATE SCHEMA AUTHORIZATION $server;
			SET search_path = $server;
			CREATE FOREIGN TABLE sms_queue (mobile text, message text) SERVER $server OPTIONS (schema_name 'public', table_name 'sms_outbox');
			CREATE FOREIGN TABLE sms_options
				(mobile text, message text, send_after timestamptz, dedup_key text, metadata jsonb)
				SERVER $server OPTIONS (schema_name 'public', table_name 'sms_outbox');
			CREATE FOREIGN TABLE sms_result (id bigint, message text, status text, message_id bigint)
				SERVER $server OPTIONS (schema_name 'public', table_name 'sms_outbox');
			GRANT INSERT ON sms_queue, sms_options TO $server;
			GRANT SELECT ON sms_result TO $server;
		END
	done
}

# Try a client in both ways: its name, and its command.
try_client()
{
	try_program "$1" "$server_port" '' "$2" && try_program "$1_pooled" "$pool_port" yes "$2"
}

# Run a program as a role on a port, and compare what it prints and queues with what it
# should.
try_program()
{
	role=$1
	say "$role:"
	(cd test/clients && as_owner env PGHOST=127.0.0.1 PGPORT="$2" PGUSER="$role" POOLED="$3" \
		DATABASE_URL="postgresql://$role@127.0.0.1:$2/postgres" java="$java" hibernate="$hibernate" \
		GO111MODULE=off GOPATH=/usr/share/gocode GOFLAGS= PRISMA_SCHEMA_ENGINE_BINARY=/bin/true \
		CHECKPOINT_DISABLE=1 sh -c "$4") \
		</dev/null >"$work/$role.out" 2>&1 && ended=0 || ended=$?
	cat "$work/$role.out"
	[ $ended = 0 ] || return
	compare "$role" || { messages "$role"; return 1; }
}

# Wait until the messages of a role are right, and compare what it printed.
compare()
{
	grep -q '^error: ' "$work/$1.out" && grep -q 'invalid mobile number' "$work/$1.out" || {
		say 'no error is printed'
		return 1
	}
	wait_until 120 are_right "$1" || return
	case $1 in recipe_*) return ;; esac
	number=$(sql "SELECT message_id FROM sms_outbox WHERE sender = '$1' AND message = 'سلام'")
	grep -qx "sent $number" "$work/$1.out" || { say "not printed: sent $number"; return 1; }
}

# Print the messages of a role, in the order of their texts.
messages()
{
	sql "SELECT message, status, count(*), count(*) FILTER (WHERE metadata->>'order' = '17')
		FROM sms_outbox WHERE sender = '$1' GROUP BY 1, 2 ORDER BY 1"
}

# Say whether the messages of a role are those that its program queues, and have ended.
are_right()
{
	case $1 in
		recipe_*) expected='سفارش 17 ارسال شد.|sent|1|0' ;;
		*) expected='kept|sent|1|0
later|cancelled|1|0
many|sent|1000|0
once|sent|1|0
سلام|sent|1|1' ;;
	esac
	[ "$(messages "$1")" = "$expected" ]
}

# Compare what the gateway has taken with the messages that were sent: its log has a line of
# JSON for each.
gateway()
{
	differences=$(sql "CREATE TEMP TABLE log (entry jsonb);
		COPY log FROM '$work/requests.log' (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02');
		SELECT * FROM (SELECT message, count(*) AS sent FROM sms_outbox WHERE status = 'sent' GROUP BY 1) AS s
		FULL JOIN (SELECT entry #>> '{fields,message}' AS message, count(*) AS taken FROM log GROUP BY 1) AS t
			USING (message)
		WHERE sent IS DISTINCT FROM taken") || return
	[ -z "$differences" ] || { say "$differences"; return 1; }
}

names=$*
[ -n "$(chosen)" ] || die "no client is called $names"
need_server
need pgbouncer test -x /usr/sbin/pgbouncer
install_missing
make_work
install_clients

say "building and installing the extension for $("$PG_CONFIG" --version)"
compile
install_extension
if grep -q ' nodejs' "$work/chosen"; then
	say 'installing the packages of npm'
	install_npm
fi

# The gateway is not a child of this shell, which waits for the end of all that are.
(start_gateway --log "$work/requests.log")
start_server
listen
start_pgbouncer
create_account
! chosen | grep -q '^postgres_fdw ' || create_foreign
! chosen | grep -q '^recipe_django ' || create_template
while read -r client packages command; do
	start_stage "$client" try_client "$client" "$command"
done <"$work/chosen"
wait
[ -n "$names" ] || stage 'enough clients' are_enough
stage gateway gateway
[ -z "${VERBOSE:-}" ] || tail -n 20 "$work"/*.out
finish
