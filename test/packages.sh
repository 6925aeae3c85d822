#!/bin/sh

# Build the packages and try them, in Debians that have PostgreSQL 15, 17 and 18. The
# Debian package is built in one that has what that takes, checked by lintian, and tested
# in another, which has nothing but what it asks for. What PGXN distributes is installed
# from its zip with PGXN's client. The Debians are kept for the next time.
#
#     sh test/packages.sh [OPTION]...
#
#     --suite SUITE     in this Debian only; may be given more than once
#     --cache FOLDER    keep the Debians there, not in /var/cache/sms3300
#     --fresh           make new ones
#
# Each package is one line, and the last line tells how many passed. What was printed is
# shown where it failed. Needs root, and a git repository: the zip is of what is committed.

set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/test/lib.sh"
. "$root/test/debian.sh"

passed=0
failed=0

# Run apt-get in a Debian's folder.
apt_in()
{
	folder=$1
	shift
	run_in "$folder" env DEBIAN_FRONTEND=noninteractive \
		apt-get -qq -y --no-install-recommends "$@" >/dev/null
}

# Run a shell command in the copy, as an ordinary user.
as_user()
{
	run_in "$copy" su tester -c "cd /tmp/tree && $1"
}

# Have a copy of the Debian that packages are built in, and an ordinary user there who
# has the source tree.
prepare_build()
{
	make_debian "$1.build" && open_debian "$debian" &&
		apt_in "$debian" update &&
		apt_in "$debian" install build-essential git lintian pgxnclient \
			postgresql-server-dev-all &&
		run_in "$debian" sh -c 'cd /tmp/tree && pg_buildext updatecontrol' &&
		apt_in "$debian" build-dep /tmp/tree || return
	copy_debian &&
		open_debian "$copy" &&
		run_in "$copy" useradd --create-home tester &&
		run_in "$copy" chown -R tester: /tmp/tree
}

# Build the Debian package; it comes into a folder, with the source that it was made of.
# The authors have no mail address yet.
build_package()
{
	prepare_build "$1" &&
		as_user 'pg_buildext updatecontrol && dpkg-buildpackage -us -uc' &&
		as_user 'lintian --fail-on error,warning ../*.changes \
			--suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog' &&
		cp "$copy"/tmp/*.deb "$copy"/tmp/*.dsc "$copy"/tmp/*.tar.* "$2"
}

# Install the Debian package in a Debian that has nothing of it, and run its tests.
test_package()
{
	make_debian "$1.clean" && copy_debian && open_debian "$copy" &&
		run_in "$copy" useradd --create-home tester &&
		apt_in "$copy" update || return
	dpkg-source --extract "$2"/*.dsc "$2/source"
	autopkgtest --user=tester --no-built-binaries "$2"/*.deb "$2/source/" -- chroot "$copy"
}

# Install from the zip with PGXN's client, and run its tests.
test_pgxn()
{
	prepare_build "$1" || return
	git -c safe.directory='*' clone -q "$root" "$copy/tmp/clone"
	run_in "$copy" chown -R tester: /tmp/clone
	as_user 'make -C ../clone dist' &&
		run_in "$copy" sh -c 'pgxn install /tmp/clone/*.zip' &&
		as_user 'pg_virtualenv -o shared_preload_libraries=sms3300 sh -exc "
			pgxn load --yes ../clone/*.zip
			psql -c \\\\dx
			pgxn check ../clone/*.zip"'
}

# Run a function of the above in namespaces of its own, and print its line: what it
# shows, the function, and the arguments.
stage()
{
	name=$1
	shift
	started=$(date +%s)
	if isolate "$@" >"$work/log" 2>&1; then
		passed=$((passed + 1))
		result=passed
	else
		failed=$((failed + 1))
		result=FAILED
		tail -n 300 "$work/log"
	fi
	say "$result $name ($(($(date +%s) - started)) s)"
}

if [ -n "$inside" ]; then
	"$@"
	exit
fi

need autopkgtest command -v autopkgtest
need dpkg-dev command -v dpkg-source
need git command -v git
need_debian
for suite in ${suites:-bookworm trixie forky}; do
	mkdir "$work/$suite"
	stage "$suite: the Debian package is built" build_package "$suite" "$work/$suite"
	stage "$suite: the Debian package works" test_package "$suite" "$work/$suite"
	stage "$suite: PGXN's package works" test_pgxn "$suite"
done
say "$passed passed, $failed failed"
[ $failed = 0 ]
