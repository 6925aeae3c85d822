#!/bin/sh

# Build the extension with both compilers and run every test on private servers. It
# installs what is missing from apt. Each stage is one compiler, suite or test file;
# the last line tells how many passed.
#
#     sh test/check.sh            everything
#     sh test/check.sh quick      what is enough between two edits, in some two minutes:
#                                 gcc, and the stages in $quick below
#     sh test/check.sh NAME...    only the stages whose names contain a NAME, and the build
#     sh test/check.sh --prepare  nothing: only install what is missing
#
# Stages run at the same time, since most of them wait most of the time: JOBS at once, two
# for each processor by default. Those that measure run alone, at the end: see $alone.
#
# The TAP tests can be run with the servers under a checker of memory, which takes long;
# what it reports makes the test fail:
#
#     sh test/check.sh --sanitize [NAME...]   the extension built for it: addresses and
#                                             undefined behaviour, in its code only; the
#                                             server has to be one without NLS
#     sh test/check.sh --valgrind [NAME...]   everything in the server
#
# SKIP names stages that are left out unless stages are named. PG_CONFIG chooses the server
# to build for and test on. OLD_MAJOR is the major version of PostgreSQL, as packaged, that
# pg_upgrade is tried from; otherwise that is the same.

set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/test/lib.sh"
. "$root/test/stages.sh"

# The test files whose verdict may depend on what else the machine does: they count
# wake-ups, tries or connections, or measure memory. Nothing else runs beside them.
alone='030_worker 053_accounts 055_idle_connection 056_suspects 057_altered 075_stop 100_stat
	103_stat_cost 111_memory'

# The stages of the inner loop: what an ordinary mistake in any of the source's folders
# breaks. Each takes less than half a minute.
quick='regress released 001_gateway 002_helpers 010_scenarios 020_queueing 024_privileges 031_send_now
	050_outcomes 052_retry 054_orphans 071_triggers 101_log 130_install'

# The stages that take longest: they begin first.
slow='110_random_sql 070_chaos 074_ddl 111_replication 072_locks 110_dump'

checker=
prepare=
names=

# Start the test files that are asked for, by a command that takes one: first what takes
# long, then the others, and those that are to run alone at the end.
start_tests()
{
	for name in $(echo $slow) $(cd test/t && echo *.pl | sed 's/\.pl//g'); do
		wanted "$name" && ! contains "$alone" "$name" && [ ! -e "$work/started.$name" ] || continue
		: >"$work/started.$name"
		start_stage "$name" "$1" "test/t/$name.pl"
	done
	wait
	for name in $(echo $alone); do
		! wanted "$name" || stage "$name" "$1" "test/t/$name.pl"
	done
}

# Compile with a compiler, and more flags for it, taking no warning. The server's own
# headers are not ours to judge, and callbacks have parameters that they do not need.
build_with()
{
	headers=$("$PG_CONFIG" --includedir-server)
	as_owner make -s clean &&
		compile CC="$1" COPT="-Wall -Wextra -Werror -Wno-unused-parameter -isystem $headers $2"
}

# Compile with clang, which does not know all of the flags that the server had; in a copy
# of the tree, since other stages use what gcc made.
build_clang()
{
	cd "$work/clang"
	build_with clang '-Wno-unknown-warning-option -Wno-ignored-optimization-argument -fno-lto'
}

# Compile with gcc, and install for the stages that follow: with our assertions, which
# work in a server without its own.
build_gcc()
{
	build_with gcc -DUSE_ASSERT_CHECKING && install_extension install-early
}

# The same for the PostgreSQL that pg_upgrade is tried from.
build_old()
{
	(PG_CONFIG=$OLD_PG_CONFIG && build_gcc)
}

# Build with the sanitizers, and install.
build_sanitize()
{
	build_with gcc '-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined' &&
		install_extension install-early
}

# Build with what valgrind needs to say where, and install.
build_valgrind()
{
	build_with gcc '-O1 -g' && install_extension install-early
}

# Have pg_ctl start servers under a checker, which reports in the folder $REPORTS.
wrap_server()
{
	case $1 in
		sanitize)
			run="env LD_PRELOAD=$(gcc -print-file-name=libasan.so)
				ASAN_OPTIONS=detect_leaks=0:log_path=\$REPORTS/asan:${ASAN_OPTIONS:-}
				UBSAN_OPTIONS=print_stacktrace=1:log_path=\$REPORTS/ubsan" ;;
		valgrind)
			run="valgrind --quiet --trace-children=no --suppressions=$work/tree/test/valgrind.supp
				--log-file=\$REPORTS/%p" ;;
	esac
	as_owner mkdir "$work/bin" "$work/reports"
	as_owner ln -s "$bindir"/* "$work/bin"
	wrap postgres "exec $(printf '%s ' $run)$bindir/postgres \"\$@\""
	wrap pg_ctl "exec $bindir/pg_ctl \"\$@\" -p $work/bin/postgres"
	wrap pg_config "[ \"\$*\" != --bindir ] || exec echo $work/bin; exec $bindir/pg_config \"\$@\""
	PATH=$work/bin:$PATH
	PG_CONFIG=$work/bin/pg_config
	export PG_CONFIG
}

# Put a script in the place of one of the server's programs.
wrap()
{
	as_owner rm "$work/bin/$1"
	printf '#!/bin/sh\n%s\n' "$2" | as_owner tee "$work/bin/$1" >/dev/null
	as_owner chmod +x "$work/bin/$1"
}

# Find with cppcheck what is likely to be wrong. It takes what dlist_container() does
# for the use of a null pointer, and does not know which functions do not return.
cppcheck_sources()
{
	headers=$("$PG_CONFIG" --includedir-server)
	cppcheck -q -j "$(nproc)" --std=c11 --library=posix --max-configs=1 --error-exitcode=1 \
		--enable=warning,performance,portability \
		--suppress=nullPointer --suppress=nullPointerRedundantCheck \
		-Isrc "-I$headers" "--suppress=*:$headers/*" "-DSMS3300_VERSION=\"\"" \
		src test/fuzz
}

# The same with clang-tidy, which has Clang's static analyzer in it.
clang_tidy()
{
	printf '%s\n' src/*.c src/*/*.c | xargs -P "$(nproc)" -I '{}' \
		clang-tidy --quiet --config-file=.clang-tidy '{}' -- \
		-D_GNU_SOURCE -Isrc '-DSMS3300_VERSION=""' -isystem "$("$PG_CONFIG" --includedir-server)"
}

# Search all runs of the model.
model()
{
	as_owner sh test/model/run.sh
}

# Look for mistakes in shell scripts.
shellcheck_scripts()
{
	shellcheck --severity=warning -x -P SCRIPTDIR .ci/run debian/tests/installcheck debian/tests/send \
		debian/tests/page packaging/*/*.sh test/*.sh test/*/run.sh
}

# Look up every function that src/README.md names: file:function, the file below src/.
map()
{
	grep -o '[a-z_]*/[a-z_]*\.[ch]:[a-z_0-9]*' src/README.md | sort -u >"$work/map"
	[ -s "$work/map" ] || return 1
	missing=0
	while IFS=: read -r file function; do
		grep -q "^$function(" "src/$file" || {
			say "src/$file has no function $function"
			missing=1
		}
	done <"$work/map"
	return $missing
}

# Feed random bytes to what reads bytes from outside.
fuzz()
{
	as_owner sh test/fuzz/run.sh
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

# Show what a checker has reported, and fail if there is anything.
reports()
{
	! find "$REPORTS" -type f -size +0 -exec head -n 100 '{}' + | grep .
}

# Run a TAP test under the checker. What that reports is shown also if the test fails.
checked_tap()
{
	REPORTS=$work/reports/$(basename "$1" .pl)
	export REPORTS
	as_owner mkdir "$REPORTS"
	tap "$1"
	ended=$?
	reports && return $ended
}

# Say whether a stage is one of those asked for.
wanted()
{
	if [ -z "$names" ]; then
		! contains "${SKIP:-}" "$1"
		return
	fi
	if [ "$names" = quick ]; then
		contains "$quick" "$1"
		return
	fi
	asked_for "$1"
}

# The tools of static analysis find other things in each version; what they find in
# Debian 12's is fixed.
analysis=$(. /etc/os-release && [ "${VERSION_ID:-}" = 12 ] && echo yes) || :

need_server
if [ -n "${OLD_MAJOR:-}" ]; then
	need_major "$OLD_MAJOR"
	OLD_PG_CONFIG=/usr/lib/postgresql/$OLD_MAJOR/bin/pg_config
	export OLD_PG_CONFIG
fi
need libev-perl perl -MEV -e 1
need libio-socket-ssl-perl perl -MIO::Socket::SSL -e 1
need libipc-run-perl perl -MIPC::Run -e 1
need openssl command -v openssl
need ca-certificates test -e /etc/ssl/certs/ca-certificates.crt
need pgbouncer test -x /usr/sbin/pgbouncer
need spin command -v spin
case ${1:-} in
	--sanitize)
		checker=sanitize
		shift ;;
	--valgrind)
		need valgrind command -v valgrind
		checker=valgrind
		shift ;;
	--prepare)
		prepare=yes
		shift ;;
esac
names=$*
if [ -z "$checker" ]; then
	if wanted build-clang; then need clang command -v clang; fi
	if wanted fuzz; then
		need clang command -v clang
		need libclang-rt-dev sh -c 'ls /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a'
	fi
	if [ -n "$analysis" ]; then
		if wanted clang-tidy; then need clang-tidy command -v clang-tidy; fi
		if wanted cppcheck; then need cppcheck command -v cppcheck; fi
		if wanted shellcheck; then need shellcheck command -v shellcheck; fi
	fi
	if wanted oracle || wanted 092_listeners; then
		need nodejs command -v node
		need npm command -v npm
	fi
	if wanted 092_listeners; then need python3-psycopg /usr/bin/python3 -c 'import psycopg'; fi
fi
install_missing
[ -z "$prepare" ] || exit 0
make_work
as_owner mkdir "$work/tap"
mount_small_disk || small_disk=

# Without what is built, nothing can be tested.
stage_build()
{
	stage "$@"
	[ "$(count FAILED)" = 0 ] || finish
}

if [ -n "$checker" ]; then
	stage_build "build-$checker" "build_$checker"
	wrap_server "$checker"
	start_tests checked_tap
	finish
fi

[ -z "${OLD_MAJOR:-}" ] || stage_build build-old build_old
stage_build build-gcc build_gcc
if wanted regress || wanted oracle; then start_server; fi
if wanted build-clang; then
	as_owner cp -r "$work/tree" "$work/clang"
	start_stage build-clang build_clang
fi
if [ -n "$analysis" ]; then
	! wanted cppcheck || start_stage cppcheck cppcheck_sources
	! wanted clang-tidy || start_stage clang-tidy clang_tidy
	! wanted shellcheck || start_stage shellcheck shellcheck_scripts
	! wanted model || start_stage model model
fi
! wanted released || start_stage released as_owner make -s check-released
! wanted map || start_stage map map
! wanted fuzz || start_stage fuzz fuzz
! wanted regress || start_stage regress regress
! wanted oracle || start_stage oracle oracle
start_tests tap
finish
