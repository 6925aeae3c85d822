# shellcheck shell=sh disable=SC2154,SC2034  # for and by those who read it in
# What demo.sh, check.sh and others share. They read it in with $root, the top of the source
# tree, set. Everything they make is in one folder, $work, and goes with it.

# Nothing of the caller's PostgreSQL may be met by accident.
unset PGDATA PGDATABASE PGHOST PGHOSTADDR PGOPTIONS PGPASSFILE PGPASSWORD PGPORT \
	PGSERVICE PGSERVICEFILE PGUSER

missing=
work=
small_disk=
no_cluster=
no_services=

# Say what is going on.
say()
{
	printf '%s\n' "$*"
}

# Give up.
die()
{
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# Say whether something is asked for: some part of its name is in $names, or that is empty.
asked_for()
{
	[ -n "$names" ] || return 0
	for part in $names; do
		case $1 in *"$part"*) return 0 ;; esac
	done
	return 1
}

# Run a command as root.
as_root()
{
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Run a command as the user that owns the server, who must not be root.
as_owner()
{
	if [ "$(id -u)" = 0 ]; then
		setpriv --reuid=postgres --regid=postgres --clear-groups \
			env HOME="$work" USER=postgres LOGNAME=postgres "$@"
	else
		"$@"
	fi
}

# Run apt-get. Where something else has a lock of the packages, as in the first minutes of a
# cloud image, say so and wait, for a quarter of an hour at most.
apt_get()
{
	give_up=$(($(date +%s) + 900))
	waiting=
	until errors=$(as_root env LC_ALL=C DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
		-o DPkg::Lock::Timeout=5 "$@" 2>&1 >/dev/null); do
		lock=$(printf '%s\n' "$errors" |
			sed -n '/^E: \(Could not get lock\|Unable to acquire\|Unable to lock\)/{s/^E: //p;q}')
		if [ -z "$lock" ] || [ "$(date +%s)" -ge $give_up ]; then
			printf '%s\n' "$errors" >&2
			return 1
		fi
		[ -n "$waiting" ] || say "waiting: $lock" >&2
		waiting=yes
		sleep 1
	done
}

# Note that a package is missing if a test for it fails: need PACKAGE TEST...
need()
{
	package=$1
	shift
	"$@" >/dev/null 2>&1 || missing="$missing $package"
}

# Note what is missing to run a major version of PostgreSQL, and to build for it.
need_major()
{
	need "postgresql-$1" test -x "/usr/lib/postgresql/$1/bin/postgres"
	need "postgresql-server-dev-$1" test -e "/usr/include/postgresql/$1/server/postgres.h"
}

# Note what is missing to build the extension and run a server and the gateway.
need_server()
{
	need gcc command -v gcc
	need libc6-dev test -e /usr/include/stdio.h
	need make command -v make
	need libcurl4-openssl-dev command -v curl-config
	need libssl-dev test -e /usr/include/openssl/ssl.h
	need libmojolicious-perl perl -MMojolicious -e 1

	[ -z "${PG_CONFIG:-}" ] || return 0
	major=$(pg_config --version 2>/dev/null | sed 's/[^0-9]*\([0-9]*\).*/\1/')
	if [ -z "$major" ]; then
		major=$(newest_major)
		[ -n "$major" ] || die "apt has no package postgresql-server-dev-N"
	fi
	PG_CONFIG=/usr/lib/postgresql/$major/bin/pg_config
	export PG_CONFIG
	need_major "$major"
}

# Print the newest major version of PostgreSQL that apt can install.
newest_major()
{
	pattern='^postgresql-server-dev-[0-9]+$'
	[ -n "$(apt-cache search --names-only "$pattern")" ] || apt_get update
	apt-cache search --names-only "$pattern" |
		sed 's/postgresql-server-dev-\([0-9]*\).*/\1/' | sort -n | tail -n 1
}

# Install what is missing, or give up.
install_missing()
{
	try_install || die "could not install$missing"
}

# Install what is missing; false if that is not possible.
try_install()
{
	[ -n "$missing" ] || return 0
	say "installing$missing"

	# A server that comes in only for this shall not bring the cluster "main" that
	# Debian's packages otherwise create and start.
	no_cluster=/etc/postgresql-common/createcluster.d
	as_root mkdir -p $no_cluster
	echo 'create_main_cluster = false' | as_root tee $no_cluster/sms3300.conf >/dev/null

	# Nor shall anything else be started that comes in as a service.
	if [ ! -e /usr/sbin/policy-rc.d ]; then
		no_services=/usr/sbin/policy-rc.d
		printf '#!/bin/sh\nexit 101\n' | as_root tee $no_services >/dev/null
		as_root chmod 755 $no_services
	fi

	# shellcheck disable=SC2086
	apt_get update && apt_get --no-install-recommends install $missing && installed=0 || installed=$?
	allow_services
	return $installed
}

# Undo what kept the packages from creating a cluster and starting services.
allow_services()
{
	[ -n "$no_cluster" ] || return 0
	as_root rm -f $no_cluster/sms3300.conf $no_services
	as_root rmdir --ignore-fail-on-non-empty $no_cluster
	no_cluster=
	no_services=
}

# Make the private folder, with a copy of the source tree in it, which is built and
# tested in place of the original: two runs do not meet, and the original may be
# read-only or another user's.
make_work()
{
	# Not in TMPDIR: the name of a socket may have only some 100 characters.
	work=$(mktemp -d /tmp/sms3300.XXXXXX)
	mkdir "$work/tree"
	tar -C "$root" --exclude=./.git -cf - . | tar -C "$work/tree" -xf -
	if [ "$(id -u)" = 0 ]; then chown -R postgres: "$work"; fi
	chmod 755 "$work"
	cd "$work/tree" || exit
	as_owner make -s clean >/dev/null
	bindir=$("$PG_CONFIG" --bindir)
	PATH=$bindir:$PATH
}

# Mount a small disk in the private folder, $small_disk; false where that is not allowed.
mount_small_disk()
{
	small_disk=$work/small
	mkdir "$small_disk"
	as_root mount -t tmpfs -o "size=8m,mode=700,uid=$(as_owner id -u)" tmpfs "$small_disk" 2>/dev/null
}

# Compile the copy; the arguments go to make.
compile()
{
	as_owner make -s -j "$(nproc)" with_llvm=no "$@"
}

# Install what was compiled into the server's folders; the arguments go to make.
install_extension()
{
	as_root make -s with_llvm=no PG_CONFIG="$PG_CONFIG" install "$@" >/dev/null
}

# Start a private server that listens on a socket in the private folder only, and
# have psql and others find it. Arguments are more lines of its postgresql.conf.
start_server()
{
	as_owner "$bindir/initdb" -D "$work/data" -U postgres -A trust -E UTF8 --locale=C \
		>"$work/initdb.log" || die "initdb failed"
	as_owner tee -a "$work/data/postgresql.conf" >/dev/null <<-CONF
		listen_addresses = ''
		unix_socket_directories = '$work'
		shared_preload_libraries = 'sms3300'
		$([ $# = 0 ] || printf '%s\n' "$@")
	CONF
	as_owner "$bindir/pg_ctl" -D "$work/data" -l "$work/server.log" -s -w start || {
		cat "$work/server.log"
		die "the server did not start"
	}
	PGHOST=$work PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
	export PGHOST PGPORT PGUSER PGDATABASE
}

# Run a TAP test, with PostgreSQL's own modules for it.
tap()
{
	pgxs=$(dirname "$("$PG_CONFIG" --pgxs)")/../..
	as_owner env TESTDIR="$work/tap" TESTDATADIR="$work/tap/tmp_check" \
		TESTLOGDIR="$work/tap/tmp_check/log" PG_REGRESS="$pgxs/src/test/regress/pg_regress" \
		PG_TEST_TIMEOUT_DEFAULT="${PG_TEST_TIMEOUT_DEFAULT:-180}" SMALL_DISK="$small_disk" \
		prove --verbose -I "$pgxs/src/test/perl" -I test/perl "$1" || {
		for log in "$work"/tap/tmp_check/log/*"$(basename "$1" .pl)"*; do
			say "--- the end of $log"
			grep -v ' LOG:  statement: ' "$log" | tail -n 50 | cut -c -1000
		done
		return 1
	}
}

# Print a port that is free.
free_port()
{
	perl -MIO::Socket::INET -e \
		'print IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 1)->sockport'
}

# Start the test gateway on a free port, $gateway_port; the arguments go to it. $GATEWAY is
# the command, if it is installed.
start_gateway()
{
	# shellcheck disable=SC2086
	as_owner ${GATEWAY:-perl test/gateway.pl} --port-file "$work/gateway.port" \
		--pid-file "$work/gateway.pid" "$@" >"$work/gateway.out" 2>&1 &
	wait_until 30 test -s "$work/gateway.port" || {
		cat "$work/gateway.out"
		die "the gateway did not start"
	}
	gateway_port=$(cat "$work/gateway.port")
}

# Wait until a command succeeds, for a number of seconds at most.
wait_until()
{
	deadline=$(($(date +%s) + $1))
	shift
	until "$@"; do
		[ "$(date +%s)" -lt $deadline ] || return 1
		sleep 0.1
	done
}

# End the children of a process, and theirs. Only arguments are a function's own.
end_children()
{
	# shellcheck disable=SC2046
	set -- $(cat "/proc/$1/task"/*/children 2>/dev/null)
	while [ $# != 0 ]; do
		end_children "$1"
		as_root kill "$1" 2>/dev/null || :
		shift
	done
}

# End what was started and remove what was made.
clean_up()
{
	status=$?
	trap '' INT TERM HUP
	allow_services
	[ -n "$work" ] || exit $status
	cd /
	end_children $$
	for pid in "$work"/*.pid; do
		[ ! -s "$pid" ] || kill "$(cat "$pid")" || :
	done

	# Tests stop their own servers, unless they were killed themselves.
	for pid in "$work/data/postmaster.pid" "$work"/tap/tmp_check/*/pgdata/postmaster.pid; do
		[ -e "$pid" ] || continue
		as_owner "$bindir/pg_ctl" -D "${pid%/*}" -s -m immediate stop || :
	done
	wait
	if [ -n "$small_disk" ] && mountpoint -q "$small_disk"; then as_root umount -l "$small_disk"; fi
	rm -rf "$work"
	exit $status
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
