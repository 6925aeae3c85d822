#!/bin/sh

# Build the fuzzers with the sanitizers of addresses, leaks and undefined behaviour,
# and run them, each from the inputs in corpus/ that are its own.
#
#     sh test/fuzz/run.sh                       20,000 inputs each, always the same ones
#     sh test/fuzz/run.sh SECONDS [TARGET...]   other ones, for so long each
#
# An input that fails is left in the current folder. Needs clang, and PostgreSQL's
# libpgcommon, of which PG_CONFIG says where it is.

set -eu

here=$(cd "$(dirname "$0")" && pwd)
src=$here/../../src
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

limit='-runs=20000 -seed=1'
if [ $# != 0 ]; then
	limit=-max_total_time=$1
	shift
fi
# shellcheck disable=SC2046
[ $# != 0 ] || set -- $(cd "$here/corpus" && ls)

# From 17 on, some of libpgcommon's functions have other names than libpq's.
pg_config=${PG_CONFIG:-pg_config}
flags="-g -O1 -Wall -Wextra -Wno-unused-parameter -Werror -fsanitize=address,undefined
	-fno-sanitize-recover=undefined -D_GNU_SOURCE -DFRONTEND -DUSE_PRIVATE_ENCODING_FUNCS
	-I$src -isystem $("$pg_config" --includedir-server)"
libraries="-L$("$pg_config" --pkglibdir) -L$("$pg_config" --libdir) -lpgcommon -lpgport"

for source in "$src"/gateway/*.c "$src/text/mobile.c" "$src/text/segments.c" "$here/memory.c"; do
	# shellcheck disable=SC2086
	clang $flags -fsanitize=fuzzer-no-link -c -o "$work/$(basename "$source" .c).o" "$source"
done

for target; do
	# shellcheck disable=SC2086
	clang $flags -fsanitize=fuzzer -o "$work/$target" "$here/${target}_fuzz.c" "$work"/*.o $libraries
	mkdir "$work/found"
	# shellcheck disable=SC2086
	"$work/$target" $limit "$work/found" "$here/corpus/$target" >"$work/log" 2>&1 || {
		cat "$work/log"
		echo "$target: failed"
		exit 1
	}
	printf '%s: %s\n' "$target" \
		"$(sed -n 's/^#\([0-9]*\).*DONE *cov: \([0-9]*\).*/\1 inputs, \2 edges/p' "$work/log")"
	rm -r "$work/found"
done
