#!/bin/sh

# Run test/check.sh on other versions of PostgreSQL, each in a Debian that has it: trixie
# has 17, forky has 18. They run at the same time, one stage at a time in each unless JOBS
# says otherwise, since they share the machine. The Debians are kept for the next time;
# what a run changes in them is not. pg_upgrade is tried there from this machine's Debian's
# PostgreSQL.
#
#     sh test/matrix.sh [OPTION]...            all tests, but for those in SKIP
#     sh test/matrix.sh [OPTION]... NAME...    as with check.sh
#
#     --suite SUITE     run in this Debian only; may be given more than once. SUITE-i386
#                       is its 32-bit one; experimental, on sid, has what comes next (19)
#     --cache FOLDER    keep the Debians there, not in /var/cache/sms3300
#     --fresh           make new ones
#
# Each Debian is one line, and the last line tells how many of check.sh's stages passed
# in all. What check.sh printed is shown where it failed. Needs root.

set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/test/lib.sh"
. "$root/test/debian.sh"

passed=0
failed=0

# Have apt in $debian know this machine's Debian, too: pg_upgrade is tried from its
# PostgreSQL. If they are the same, there is no older one.
add_old()
{
	if [ "$suite" = "$codename" ]; then
		unset OLD_MAJOR
	else
		echo "deb $(mirror) $codename main" >"$debian/etc/apt/sources.list.d/$codename.list"
	fi
}

# Have a Debian ready, and run check.sh in a copy of it: its name, and the arguments.
check_inside()
{
	make_debian "$1" || return
	add_old
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

# Wait for check.sh in the Debian of a suite, and print its line.
await_suite()
{
	log=$work/$1.log
	result=passed
	await_first || result=FAILED

	# Without check.sh's own last line, it has not come to an end.
	counts=$(sed -n '$s/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$log")
	: "${counts:=0 1}"
	passed=$((passed + ${counts% *}))
	failed=$((failed + ${counts#* }))
	[ $result = passed ] || cat "$log"
	versions=$(versions "$1")
	say "$result $1${versions:+ ($versions)}: $(tail -n 1 "$log") ($(($(date -r "$log" +%s) - started)) s)"
}

if [ -n "$inside" ]; then
	"$@"
	exit
fi

need_debian
: "${suites:=trixie forky}"
OLD_MAJOR=$(newest_major)
export OLD_MAJOR JOBS="${JOBS:-1}"

# What depends on neither PostgreSQL nor libcurl: it is run once, on this machine.
export SKIP="${SKIP-fuzz oracle released map 001_gateway 002_helpers 003_mutants 004_trace 087_too_many
	095_delivery_truth 102_readme 109_monitoring 109_zabbix 131_released 132_page 133_metadata}"
started=$(date +%s)
for suite in $suites; do
	start_isolated check_inside "$suite" "$@" >"$work/$suite.log" 2>&1
done
for suite in $suites; do
	await_suite "$suite"
done
say "$passed passed, $failed failed"
[ $failed = 0 ]
