#!/bin/sh

# Run test/check.sh on other versions of PostgreSQL, each in a Debian that has it:
# trixie has 17 and forky has 18. The Debians are made with debootstrap, from the mirror
# that apt uses here, and kept for the next time; what a run changes in them is not.
#
#     sh test/matrix.sh [OPTION]...            all tests
#     sh test/matrix.sh [OPTION]... NAME...    as with check.sh
#
#     --suite SUITE     run in this Debian only; may be given more than once
#     --cache FOLDER    keep the Debians there, not in /var/cache/sms3300
#     --fresh           make them anew
#
# Each Debian is one line, and the last line tells how many passed. What check.sh
# printed is shown where it failed. Needs root.

set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/test/lib.sh"

cache=${XDG_CACHE_HOME:-/var/cache}/sms3300
suites=
fresh=
inside=
child=
passed=0
failed=0

# Print the mirror that this machine's Debian comes from.
mirror()
{
	codename=$(. /etc/os-release && printf '%s\n' "$VERSION_CODENAME")
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
		'Origin: Debian' "Codename: $codename" | head -n 1
}

# Run a command in namespaces of its own. What it mounts, and the processes that it
# leaves, end with it, however it ends.
isolate()
{
	unshare --mount --pid --ipc --fork --kill-child "$@" &
	child=$!
	result=0
	wait "$child" || result=$?
	child=
	return $result
}

# End what runs in namespaces, and this program.
interrupt()
{
	[ -z "$child" ] || kill -KILL "$child"
	exit "$1"
}

# Make the Debian of a suite, if it is not there. This machine's debootstrap may be
# too old to know the suite; they are all made like sid.
make_debian()
{
	[ -z "$fresh" ] || rm -rf --one-file-system "$debian"
	[ ! -d "$debian" ] || return 0
	rm -rf --one-file-system "$debian.new"
	debootstrap --variant=minbase "$suite" "$debian.new" "$(mirror)" \
		/usr/share/debootstrap/scripts/sid >"$debian.log" || {
		cat "$debian.log"
		return 1
	}

	# The mirror may lag behind what the suite promises.
	echo 'Acquire::Check-Valid-Until "false";' >"$debian.new/etc/apt/apt.conf.d/sms3300"
	mv "$debian.new" "$debian"
}

# Run check.sh on a copy of the tree in a Debian: its folder, and the arguments.
check_in()
{
	folder=$1
	shift

	# npm may need a name server and a certificate that only this machine knows.
	certificates=/etc/ssl/certs/ca-certificates.crt
	cp -L /etc/hosts /etc/resolv.conf "$folder/etc" &&
		mkdir -p "$folder/etc/ssl/certs" &&
		{ [ ! -e $certificates ] || cp $certificates "$folder$certificates"; } &&
		mount -t proc proc "$folder/proc" &&
		mount --rbind /dev "$folder/dev" &&
		mount -t tmpfs tmpfs "$folder/dev/shm" &&
		mount -t tmpfs tmpfs "$folder/tmp" &&
		mkdir "$folder/tmp/tree" &&
		tar -C "$root" --exclude=./.git -cf - . | tar -C "$folder/tmp/tree" -xf - &&
		env -u PG_CONFIG -u TMPDIR HOME=/root LC_ALL=C.UTF-8 \
			PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
			chroot "$folder" sh /tmp/tree/test/check.sh "$@"
}

# Have a Debian ready, and run check.sh in a copy of it that is thrown away. Runs in
# namespaces of its own; two runs in the same Debian take turns.
check_inside()
{
	suite=$1
	debian=$cache/$suite
	shift
	exec 9>"$debian.lock"
	flock 9
	make_debian && check_in "$debian" --prepare || return

	mkdir -p "$cache/run"
	mount -t tmpfs tmpfs "$cache/run"
	mkdir "$cache/run/changes" "$cache/run/work" "$cache/run/root"
	mount -t overlay overlay "$cache/run/root" \
		-o "lowerdir=$debian,upperdir=$cache/run/changes,workdir=$cache/run/work"
	check_in "$cache/run/root" "$@"
}

# Print what a Debian has of what the extension is built on.
versions()
{
	for program in pg_config curl-config; do
		chroot "$cache/$1" $program --version 2>/dev/null | cut -d ' ' -f 1,2
	done | paste -s -d , | sed 's/,/, /'
}

# Run check.sh in the Debian of a suite, and print its line.
check_suite()
{
	started=$(date +%s)
	if isolate sh "$0" --cache "$cache" ${fresh:+--fresh} --inside "$@" >"$work/log" 2>&1; then
		passed=$((passed + 1))
		result=passed
	else
		failed=$((failed + 1))
		result=FAILED
		cat "$work/log"
	fi
	versions=$(versions "$1")
	say "$result $1${versions:+ ($versions)}: $(tail -n 1 "$work/log") ($(($(date +%s) - started)) s)"
}

while [ $# != 0 ]; do
	case $1 in
		--suite) suites="$suites ${2:?}"; shift ;;
		--cache) cache=${2:?}; shift ;;
		--fresh) fresh=yes ;;
		--inside) inside=yes ;;
		-*) die "there is no option $1" ;;
		*) break ;;
	esac
	shift
done

[ "$(id -u)" = 0 ] || die "needs root, for debootstrap, mount and chroot"
if [ -n "$inside" ]; then
	check_inside "$@"
	exit
fi

need debootstrap command -v debootstrap
install_missing
[ -n "$(mirror)" ] || apt-get -qq update
[ -n "$(mirror)" ] || die "apt knows no mirror of Debian"
mkdir -p "$cache"
work=$(mktemp -d /tmp/sms3300.XXXXXX)
trap 'interrupt 130' INT
trap 'interrupt 143' TERM
trap 'interrupt 129' HUP

for suite in ${suites:-trixie forky}; do
	check_suite "$suite" "$@"
done
say "$passed passed, $failed failed"
[ $failed = 0 ]
