#!/bin/sh

# Run test/check.sh on other versions of PostgreSQL, each in a Debian that has it:
# trixie has 17 and forky has 18. The Debians are kept for the next time; what a run
# changes in them is not.
#
#     sh test/matrix.sh [OPTION]...            all tests
#     sh test/matrix.sh [OPTION]... NAME...    as with check.sh
#
#     --suite SUITE     run in this Debian only; may be given more than once. SUITE-i386
#                       is its 32-bit one
#     --cache FOLDER    keep the Debians there, not in /var/cache/sms3300
#     --fresh           make them anew
#
# Each Debian is one line, and the last line tells how many passed. What check.sh
# printed is shown where it failed. Needs root.

set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/test/lib.sh"
. "$root/test/debian.sh"

passed=0
failed=0

# Have a Debian ready, and run check.sh in a copy of it: its name, and the arguments.
check_inside()
{
	make_debian "$1" || return
	shift
	open_debian "$debian" && run_in "$debian" sh /tmp/tree/test/check.sh --prepare || return
	copy_debian
	open_debian "$copy" && run_in "$copy" sh /tmp/tree/test/check.sh "$@"
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
	if isolate check_inside "$@" >"$work/log" 2>&1; then
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

if [ -n "$inside" ]; then
	"$@"
	exit
fi

need_debian
for suite in ${suites:-trixie forky}; do
	check_suite "$suite" "$@"
done
say "$passed passed, $failed failed"
[ $failed = 0 ]
