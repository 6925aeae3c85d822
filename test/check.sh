#!/bin/sh

# Build the extension with both compilers and run every test on private servers. It
# installs what is missing from apt. Each stage is one compiler, suite or test file;
# the last line tells how many passed.
#
#     sh test/check.sh            everything
#     sh test/check.sh NAME...    only the TAP tests whose file names contain a NAME
#     sh test/check.sh --prepare  nothing: only install what is missing
#
# PG_CONFIG chooses the server to build for and test on.

set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/test/lib.sh"

passed=0
failed=0

# Run a stage: its name, and the command. What it printed is shown if it fails.
stage()
{
	name=$1
	shift
	started=$(date +%s)
	if "$@" >"$work/$name.log" 2>&1; then
		passed=$((passed + 1))
		result=passed
	else
		failed=$((failed + 1))
		result=FAILED
		tail -n 300 "$work/$name.log"
	fi
	say "$result $name ($(($(date +%s) - started)) s)"
}

# Print the closing line, and end with the right status.
finish()
{
	say "$passed passed, $failed failed"
	[ $failed = 0 ] || exit 1
	exit 0
}

# Compile with a compiler, and more flags for it, taking no warning. The server's own
# headers are not ours to judge, and callbacks have parameters that they do not need.
build_with()
{
	headers=$("$PG_CONFIG" --includedir-server)
	as_owner make -s clean &&
		compile CC="$1" COPT="-Wall -Wextra -Werror -Wno-unused-parameter -isystem $headers $2"
}

# Compile with clang, which does not know all of the flags that the server had.
build_clang()
{
	build_with clang '-Wno-unknown-warning-option -Wno-ignored-optimization-argument -fno-lto'
}

# Compile with gcc, and install for the stages that follow.
build_gcc()
{
	build_with gcc '' && install_extension
}

# Compare the output of the scripts in sql/ with what is expected.
regress()
{
	as_owner make -s with_llvm=no installcheck || {
		cat regression.diffs
		return 1
	}
}

# Compare with what others have written for the same purpose.
oracle()
{
	createdb oracle && psql -X -q -d oracle -c 'CREATE EXTENSION sms3300' &&
		PGDATABASE=oracle sh test/oracle/run.sh
}

# Run a TAP test, with PostgreSQL's own modules for it.
tap()
{
	pgxs=$(dirname "$("$PG_CONFIG" --pgxs)")/../..
	as_owner env TESTDIR="$work/tap" TESTDATADIR="$work/tap/tmp_check" \
		TESTLOGDIR="$work/tap/tmp_check/log" PG_REGRESS="$pgxs/src/test/regress/pg_regress" \
		PG_TEST_TIMEOUT_DEFAULT="${PG_TEST_TIMEOUT_DEFAULT:-60}" \
		prove --verbose -I "$pgxs/src/test/perl" -I test/perl "$1" || {
		for log in "$work"/tap/tmp_check/log/*"$(basename "$1" .pl)"*; do
			say "--- the end of $log"
			grep -v ' LOG:  statement: ' "$log" | tail -n 50
		done
		return 1
	}
}

# Say whether a test file is one of those asked for.
wanted()
{
	file=$1
	shift
	[ $# != 0 ] || return 0
	for part; do
		case ${file##*/} in *"$part"*) return 0 ;; esac
	done
	return 1
}

need_server
need libev-perl perl -MEV -e 1
need libio-socket-ssl-perl perl -MIO::Socket::SSL -e 1
need libipc-run-perl perl -MIPC::Run -e 1
need openssl command -v openssl
if [ $# = 0 ] || [ "$1" = --prepare ]; then
	need clang command -v clang
	need nodejs command -v node
	need npm command -v npm
fi
install_missing
[ "${1:-}" != --prepare ] || exit 0
make_work
as_owner mkdir "$work/tap"

[ $# != 0 ] || stage build-clang build_clang
stage build-gcc build_gcc
[ $failed = 0 ] || finish

if [ $# = 0 ]; then
	start_server
	stage regress regress
	stage oracle oracle
fi
for test in test/t/*.pl; do
	if wanted "$test" "$@"; then stage "$(basename "$test" .pl)" tap "$test"; fi
done
finish
