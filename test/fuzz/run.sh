#!/bin/sh

# Build the fuzzers with the sanitizers of addresses, leaks and undefined behaviour,
# and run them, each from the inputs in corpus/ that are its own.
#
#     sh test/fuzz/run.sh                         20,000 inputs each, always the same ones
#     sh test/fuzz/run.sh SECONDS [TARGET...]     other ones, for so long each
#     sh test/fuzz/run.sh --inputs N [TARGET...]  other ones, N in all
#
# Where other inputs are tried, those that reached something new are run once more, to
# count the lines of the code under test that they execute.
#
# An interrupt or SIGTERM ends the target that runs; what it has done is printed all the same, and
# those that follow are left out.
#
# An input that fails is left in the current folder. Needs clang, and PostgreSQL's
# libpgcommon, of which PG_CONFIG says where it is; to count lines, llvm-profdata and llvm-cov.

set -eu

here=$(cd "$(dirname "$0")" && pwd)
src=$(cd "$here/../../src" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

interrupted=
fuzzer=
trap 'interrupted=yes; [ -z "$fuzzer" ] || kill -INT "$fuzzer" || :' INT TERM

limit='-runs=20000 -seed=1'
count=
inputs=
if [ "${1:-}" = --inputs ]; then
	inputs=${2:?}
	count=yes
	shift 2
elif [ $# != 0 ]; then
	limit=-max_total_time=$1
	count=yes
	shift
fi
# shellcheck disable=SC2046
[ $# != 0 ] || set -- $(cd "$here/corpus" && ls)
[ -z "$inputs" ] || limit=-runs=$(((inputs + $# - 1) / $#))

# From 17 on, some of libpgcommon's functions have other names than libpq's.
pg_config=${PG_CONFIG:-pg_config}
flags="-g -O1 -Wall -Wextra -Wno-unused-parameter -Werror -D_GNU_SOURCE -I$src -I$here
	-isystem $("$pg_config" --includedir-server)"
checks='-fsanitize=address,undefined -fno-sanitize-recover=undefined'
counts='-fsanitize=address -fprofile-instr-generate -fcoverage-mapping'
frontend='-DFRONTEND -DUSE_PRIVATE_ENCODING_FUNCS'
libraries="-L$("$pg_config" --pkglibdir) -L$("$pg_config" --libdir) -lpgcommon -lpgport"

# Compile files into a library: its name, more flags, and the files.
compile()
{
	folder=$work/$1 more=$2
	shift 2
	mkdir "$folder"
	for source; do
		# shellcheck disable=SC2086
		clang $flags $more -fsanitize=fuzzer-no-link -c -o "$folder/$(basename "$source" .c).o" "$source"
	done
	ar rcs "$folder.a" "$folder"/*.o
}

# Compile what a program has, and what the server has: a prefix of the names, and the flags.
compile_all()
{
	compile "$1frontend" "$2 $frontend" "$src"/gateway/*.c "$src/text/mobile.c" "$src/text/segments.c" \
		"$here/memory.c"
	compile "$1server" "$2" "$src/account/hours.c" "$src/account/rules.c" "$here/zone.c" "$here/memory.c"
}

# Link a target: a prefix of the names, and the flags.
link()
{
	case $target in
		hours | rules) library=server more= ;;
		*) library=frontend more=$frontend ;;
	esac
	# shellcheck disable=SC2086
	clang $flags $2 $more -fsanitize=fuzzer -o "$work/$1$target" "$here/${target}_fuzz.c" \
		"$work/$1$library.a" $libraries
}

# Print how many lines the inputs execute that were found, of how many.
count_lines()
{
	link count. "$counts"
	LLVM_PROFILE_FILE=$work/profile "$work/count.$target" -runs=0 "$work/found" "$here/corpus/$target" \
		>"$work/log" 2>&1
	"$(clang -print-prog-name=llvm-profdata)" merge -o "$work/merged" "$work/profile"
	"$(clang -print-prog-name=llvm-cov)" report -instr-profile="$work/merged" \
		-ignore-filename-regex="^($here|/usr)/" "$work/count.$target" |
		awk '$1 == "TOTAL" { printf ", %d of %d lines", $8 - $9, $8 }'
}

# Run a target, in the background so that a signal is heard at once; false if an input failed.
fuzz()
{
	# shellcheck disable=SC2086
	"$work/$target" $limit -print_final_stats=1 "$work/found" "$here/corpus/$target" >"$work/log" 2>&1 &
	fuzzer=$!
	status=0
	wait $fuzzer || status=$?
	[ -z "$interrupted" ] || wait $fuzzer || :
	fuzzer=
	[ $status = 0 ] || { [ -n "$interrupted" ] && grep -q 'run interrupted' "$work/log"; }
}

compile_all '' "$checks"
[ -z "$count" ] || compile_all count. "$counts"
for target; do
	[ -z "$interrupted" ] || break
	link '' "$checks"
	mkdir "$work/found"
	fuzz || {
		cat "$work/log"
		echo "$target: failed"
		exit 1
	}
	reached=$(awk '/^stat::number_of_executed_units:/ { n = $2 }
		match($0, / cov: [0-9]+/) { edges = substr($0, RSTART + 6, RLENGTH - 6) }
		END { print n " inputs, " edges " edges" }' "$work/log")
	lines=
	[ -z "$count" ] || lines=$(count_lines)
	echo "$target: $reached$lines"
	rm -r "$work/found"
done
[ -z "$interrupted" ] || exit 130
