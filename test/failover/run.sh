#!/bin/sh

# Count what failovers cost. Three nodes of Patroni, three of etcd, the stand-in gateway and
# the clients each have a network namespace of their own. While clients queue messages, nodes
# are cut off, killed, frozen and switched over. Afterwards what the clients were told, the
# rows of the last primary and the gateway's log are compared.
#
#     sh test/failover/run.sh [OPTION]...
#
#     --minutes N          how long things break (5)
#     --seed N             sets their order
#     --synchronous MODE   off, the default; on: Patroni's synchronous_mode; strict: also
#                          its synchronous_mode_strict
#     --api N              the interface of etcd that Patroni uses, 2 (the default) or 3: by the
#                          latter, Patroni before 3.0.3 lets a primary that was frozen take the
#                          lease from its successor
#     --faults LIST        only these, separated by commas; their names are in failover.pl
#     --keep FOLDER        keep logs and records there
#
# It needs root, and namespaces with networks. No namespace has a way out of the machine. What
# is missing is installed from apt; nothing is left running. The exit status is 0 if every
# promise was kept that the manual makes for the mode, messages were committed and sent, another
# node became primary, and no client died.

set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/test/lib.sh"

# The hosts, in the order of their addresses, 10.33.0.1 and so on.
hosts='n1 n2 n3 e1 e2 e3 gateway client'

# The beginning of the names of their namespaces.
prefix=sms3300-$$

# Make a bridge, in a namespace of its own, and the hosts on it. A host notices within some
# seconds that the other end of a connection is gone; otherwise pg_rewind hangs for hours.
make_hosts()
{
	ip netns add "$prefix-bridge"
	ip -n "$prefix-bridge" link add bridge type bridge
	ip -n "$prefix-bridge" link set bridge up
	number=0
	for host in $hosts; do
		number=$((number + 1))
		ip netns add "$prefix-$host"
		ip -n "$prefix-$host" link set lo up
		ip -n "$prefix-$host" link add eth0 type veth peer name "$host" netns "$prefix-bridge"
		ip -n "$prefix-$host" address add "10.33.0.$number/24" dev eth0
		ip -n "$prefix-$host" link set eth0 up
		ip -n "$prefix-bridge" link set "$host" master bridge up
		for setting in time=5 intvl=2 probes=3; do
			ip netns exec "$prefix-$host" sh -c "echo ${setting#*=} >/proc/sys/net/ipv4/tcp_keepalive_${setting%=*}"
		done
	done
}

# Kill whatever runs in a namespace, frozen or not, until nothing does.
empty()
{
	for try in 1 2 3 4 5 6 7 8 9 10; do
		pids=$(ip netns pids "$1")
		[ -n "$pids" ] || return 0
		# shellcheck disable=SC2086
		kill -9 $pids 2>/dev/null || :
		sleep "0.$try"
	done
}

# End what runs on the hosts and remove them; then what lib.sh does, with the status so far.
leave()
{
	ended=$?
	set +e
	trap '' INT TERM HUP
	for host in client $hosts bridge; do
		[ -e "/run/netns/$prefix-$host" ] || continue
		empty "$prefix-$host"
		ip netns delete "$prefix-$host"
	done
	(exit $ended)
	clean_up
}

options=
keep=
while [ $# != 0 ]; do
	case $1 in
		--minutes | --seed | --synchronous | --api | --faults)
			[ $# -ge 2 ] || die "$1 needs a value"
			options="$options $1 $2"
			shift 2 ;;
		--keep)
			[ $# -ge 2 ] || die "$1 needs a value"
			mkdir -p "$2"
			keep=$(cd "$2" && pwd)
			shift 2 ;;
		*) die "see the head of $0" ;;
	esac
done

[ "$(id -u)" = 0 ] || die 'only root makes network namespaces'
need_server
need patroni test -x /usr/bin/patroni
need etcd-server command -v etcd
need python3-etcd /usr/bin/python3 -c 'import etcd'
need python3-psycopg2 /usr/bin/python3 -c 'import psycopg2'
need iproute2 command -v ip
install_missing
make_work
compile || die 'the build failed'
install_extension
trap leave EXIT
make_hosts || die 'no network namespaces can be made here'

# A signal interrupts a wait, but not a command in the foreground.
# shellcheck disable=SC2086
ip netns exec "$prefix-client" perl test/failover/failover.pl --prefix "$prefix" \
	--folder "$work" --bindir "$bindir" $options &
if wait $!; then ended=0; else ended=$?; fi
if [ -n "$keep" ]; then
	cp "$work"/*.log "$work"/*.jsonl "$keep"
	for node in n1 n2 n3; do cp "$work/$node/patroni.log" "$keep/$node-patroni.log"; done
fi
exit $ended
