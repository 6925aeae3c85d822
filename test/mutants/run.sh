#!/bin/sh

# Change the source in one place at a time, and see whether a test fails: one that touches the
# file, as the list in tests says. What no test notices is listed at the end, with the place.
#
#     sh test/mutants/run.sh [OPTION]... [FILE]...    a FILE is the beginning of a name; without
#                                                     one, all of src/ and sql/sms3300.sql
#
#     --seed N          another order of the mutants than that of 1
#     --sample N        as many of them (500)
#     --results FILE    keep what was found there, and do not try again what is in it: neither
#                       a mutant, nor how long a test takes without one
#     --minutes N       start no mutant after so many minutes; with the same FILE for results
#                       it can be gone on with
#     --id ID           only this one, against all its tests
#     --list            only print the mutants
#
# The server's folders are not changed: copies of those that the extension is installed into
# are mounted over them, for this script only. Needs root.

set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/test/lib.sh"

mutants=$root/test/mutants
seed=1
sample=500
minutes=
results=
id=
list=
inside=
while [ $# != 0 ] && [ -z "$inside" ]; do
	case $1 in
		--seed) seed=${2:?}; shift ;;
		--sample) sample=${2:?}; shift ;;
		--minutes) minutes=${2:?}; shift ;;
		--results) results=$(realpath "${2:?}"); shift ;;
		--id) id=${2:?}; shift ;;
		--list) list=yes ;;
		--inside) inside=yes ;;
		-*) die "unknown option $1" ;;
		*) break ;;
	esac
	shift
done

# Print the mutants that are asked for: those of the files whose names begin with one of the
# arguments.
sample_of()
{
	(cd "$root" && for file in sql/sms3300.sql src/*.c src/*/*.c; do
		[ $# != 0 ] || echo "$file"
		for part in "$@"; do
			case $file in "$part"*) echo "$file" && break ;; esac
		done
	done | xargs perl "$mutants/mutants.pl" list "$seed") |
		if [ -n "$id" ]; then grep "^$id"; else sed -n "1,${sample}p"; fi
}

# Compile the tree, and put it where the server finds it.
build()
{
	as_owner make -s -j "$(nproc)" with_llvm=no COPT='-O0 -w -fno-lto -DUSE_ASSERT_CHECKING' &&
		cp --remove-destination sms3300.so "$library" &&
		cp --remove-destination "$script" "$scripts"
}

# Make a file of the tree a mutant, or what it was. What is built of it comes back, too, older
# than what a mutant is built of.
change()
{
	as_owner cp -p "$2" "$work/original" &&
		perl "$mutants/mutants.pl" apply "$1" "$2" >"$work/mutant" || return
	case $2 in
		*.c) as_owner cp -p "${2%.c}.o" "$work/original.o" ;;
	esac
	as_owner cp "$work/mutant" "$2"
}
change_back()
{
	as_owner cp -p "$work/original" "$1"
	case $1 in
		*.c) as_owner cp -p "$work/original.o" "${1%.c}.o" ;;
	esac
	as_owner cp -p "$work/good.so" sms3300.so
	as_owner cp -p "$work/good.sql" "$script"
}

# Run a test in namespaces of its own, so that all processes end with it, and print how long it
# took. It must not take much longer than what is usual.
run_test()
{
	begun=$(date +%s)
	limit=900
	[ ! -e "$work/usual.$1" ] || limit=$((60 + 10 * $(cat "$work/usual.$1")))
	rm -rf "$work/tap" "$work/data"
	as_owner mkdir "$work/tap"
	status=0
	timeout -s KILL $limit unshare --mount --pid --ipc --fork --kill-child --mount-proc \
		env MUTANTS_WORK="$work" sh "$mutants/run.sh" --inside "$1" >"$work/test.log" 2>&1 || status=$?
	echo $(($(date +%s) - begun)) >"$work/took"
	return $status
}

# Have an initdb that makes a cluster of each kind once, and copies it: that takes most of the
# time of many tests. The clusters of a test then have the same identifier.
make_initdb()
{
	as_owner mkdir "$work/bin" "$work/clusters"
	as_owner ln -s "$bindir"/* "$work/bin"
	rm "$work/bin/initdb"
	cat >"$work/bin/initdb" <<-END
		#!/bin/sh -e
		[ "\$1" = -D ] || exec $bindir/initdb "\$@"
		data=\$2
		shift 2
		cluster=$work/clusters/\$(echo "\$*" | md5sum | cut -c -8)
		[ -e "\$cluster.made" ] || { $bindir/initdb -D "\$cluster" "\$@" && : >"\$cluster.made"; }
		cp -a "\$cluster" "\$data"
	END
	chmod 755 "$work/bin/initdb"
}

# What run_test starts.
run_inside()
{
	trap - EXIT
	work=$MUTANTS_WORK
	bindir=$work/bin
	PATH=$bindir:$PATH
	small_disk=$work/small
	cd "$work/tree" || exit
	if [ "$1" != regress ]; then
		tap "test/t/$1.pl"
		return
	fi
	start_server
	as_owner make -s with_llvm=no installcheck
}

# Run a test on what was not changed, once: it says nothing if it fails there, too.
known_good()
{
	[ -e "$work/usual.$1" ] || {
		cp --remove-destination "$work/good.so" "$library/sms3300.so"
		cp --remove-destination "$work/good.sql" "$scripts/${script#sql/}"
		if run_test "$1"; then
			cp "$work/took" "$work/usual.$1"
			printf '%s\tusual\t%s\n' "$1" "$(cat "$work/took")" >>"$results"
		else
			say "$1 fails without a mutant"
			cat "$work/test.log"
			: >"$work/usual.$1"
		fi
		cp --remove-destination sms3300.so "$library"
		cp --remove-destination "$script" "$scripts"
	}
	[ -s "$work/usual.$1" ]
}

# Try a mutant, and print what came of it.
try()
{
	change "$1" "$2" || return
	found=survived
	if build >/dev/null 2>&1; then
		for test in $(perl "$mutants/mutants.pl" tests "$mutants/tests" "$2"); do
			known_good "$test" >>"$work/notes" || continue
			status=0
			run_test "$test" || status=$?
			[ $status != 0 ] || continue
			found="killed by $test"
			[ $status != 137 ] || found="ended by time: $test"
			[ -n "$id" ] && say "$found" || break
		done
	else
		found='not compiled'
	fi
	change_back "$2"
}

# Count the results that begin with a word.
count()
{
	cut -f 2 "$results" | grep -c "^$1" || :
}

if [ -n "$inside" ]; then
	run_inside "$1"
	exit
fi
if [ -n "$list" ]; then
	sample_of "$@"
	exit
fi
[ "$(id -u)" = 0 ] || die "needs root, for mounts"
need_server
need libev-perl perl -MEV -e 1
need libio-socket-ssl-perl perl -MIO::Socket::SSL -e 1
need libipc-run-perl perl -MIPC::Run -e 1
need openssl command -v openssl
install_missing
[ -n "${MUTANTS_MOUNTS:-}" ] || exec env MUTANTS_MOUNTS=yes unshare --mount --propagation private \
	sh "$0" --seed "$seed" --sample "$sample" ${minutes:+--minutes "$minutes"} \
	${results:+--results "$results"} ${id:+--id "$id"} "$@"

make_work
export PG_CONFIG
: "${results:=$work/results}"
: "${PG_TEST_TIMEOUT_DEFAULT:=60}"
export PG_TEST_TIMEOUT_DEFAULT
mount_small_disk || :
make_initdb
library=$("$PG_CONFIG" --pkglibdir)
scripts=$("$PG_CONFIG" --sharedir)/extension
for folder in "$library" "$scripts"; do
	copy=$work/$(basename "$folder")
	cp -a "$folder" "$copy"
	mount --bind "$copy" "$folder"
done
script=sql/sms3300--$(sed -n "s/^default_version *= *'\(.*\)'/\1/p" sms3300.control).sql
build
install_extension
as_owner cp -p sms3300.so "$work/good.so"
as_owner cp -p "$script" "$work/good.sql"
: >"$work/notes"
: >>"$results"
awk -v work="$work" -F '\t' '$2 == "usual" { print $3 >(work "/usual." $1) }' "$results"

sample_of "$@" >"$work/list"
end=$(($(date +%s) + ${minutes:-100000} * 60))
while IFS="$(printf '\t')" read -r name place kind what; do
	! grep -q "^$name" "$results" || continue
	[ "$(date +%s)" -lt $end ] || break
	try "$name" "${place%:*}" </dev/null
	say "$found: $name $place $kind: $what"
	printf '%s\t%s\t%s\t%s\t%s\n' "$name" "$found" "$place" "$kind" "$what" >>"$results"
done <"$work/list"

sort -u "$work/notes"
say 'Survivors:'
grep "$(printf '\tsurvived\t')" "$results" | cut -f 1,3- || :
killed=$(count killed)
ended=$(count ended)
survived=$(count survived)
tried=$((killed + ended + survived))
say "$tried mutants: $killed killed, $ended ended by time, $survived survived; $(count not) did not compile"
[ $tried = 0 ] || say "score: $((100 * (killed + ended) / tried))%"
