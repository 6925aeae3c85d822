#!/bin/sh

# Search all runs of the model with Spin. Each world has to keep every promise; each world
# with one guard taken out has to break the promise that is named for it, and so has each
# case of which the README says that it can happen, where that is not forgiven.
#
#     sh test/model/run.sh            bounds that take two minutes
#     sh test/model/run.sh --large    larger ones, which take hours
#     sh test/model/run.sh NAME...    only the lines whose names contain a NAME
#
#     sh test/model/run.sh --steps NAME    and print each step of a run that breaks a promise
#
# Each prints a line, with the number of states that were searched, or that it took to find.

set -eu
here=$(cd "$(dirname "$0")" && pwd)

# The worlds: a name, and the flags. sms3300.pml says what they mean.
worlds()
{
	cat <<-'END'
		one-server          -DMESSAGES=2
		on-unknown-resend   -DMESSAGES=2 -DRESEND
		by-hand             -DMESSAGES=1 -DHAND
		restored-rows       -DMESSAGES=1 -DBACK
		standby             -DMESSAGES=1 -DSTANDBY
		standby-unfenced    -DMESSAGES=1 -DSTANDBY -DUNFENCED
		synchronous         -DMESSAGES=1 -DSTANDBY -DSYNC
		synchronous-unfenced -DMESSAGES=1 -DSTANDBY -DSYNC -DUNFENCED
		copy                -DMESSAGES=1 -DCOPY
		copy-armed-file     -DMESSAGES=1 -DCOPY -DARMED
		dump                -DMESSAGES=1 -DDUMP
	END
}

# The guards: the promise that breaks without each, and the world where.
guards()
{
	cat <<-'END'
		FLUSH              TWICE
		FORGET_CLAIMS      TWICE
		EVIDENCE           TWICE
		ONCE               TWICE
		ORPHAN_UNKNOWN     TWICE
		RESEND_FINAL       TWICE
		SYNC               TWICE   -DSTANDBY -DSYNC
		COMMIT_UNCANCELLED TWICE   -DSTANDBY -DSYNC
		STOP_UNSENT        TWICE   -DSTANDBY -DSYNC
		ARMED              TWICE   -DCOPY -DARMED
		ORIGIN             TWICE   -DDUMP
		ADOPT_UNKNOWN      TWICE   -DDUMP
		RESTORED_FOREIGN   TWICE   -DBACK
		LEAVE_OUT          TWICE   -DHAND
		AWAITS             SAID    -DHAND
		STATUS             SAID
		WHOLE              SAID
		UNCOUNTED          SAID
		CLAIM_QUEUED       SAYS_SO
		CANCEL_QUEUED      SAYS_SO
		EXPIRE_QUEUED      SAYS_SO
		RESOLVE_UNKNOWN    SAYS_SO
		IN_TIME            IN_TIME
		ONE_WORKER         KEPT
		ORPHANS            ENDS
		STOP_FAILED        ENDS
		STOP_LOOKS         ENDS
		KEEP               ENDS
	END
}

# What the README says can happen: a name, the promise that it is an exception to, and the world.
exceptions()
{
	cat <<-'END'
		behind-twice       TWICE   -DSTANDBY
		behind-lost        LOST    -DSTANDBY
		unfenced-twice     TWICE   -DSTANDBY -DUNFENCED
		copy-twice         TWICE   -DCOPY
		adopted-twice      TWICE   -DDUMP
		adopted-back-twice TWICE   -DBACK
	END
}

# Print all that there is to run: what is expected, a name, the promise or -, and the flags.
# What is read first takes longest.
lines()
{
	worlds | while read -r name flags; do echo "holds $name - $flags"; done
	guards | while read -r guard promise flags; do
		echo "found without-$guard $promise -DMESSAGES=1 $flags -DWITHOUT_$guard"
	done
	exceptions | while read -r name promise flags; do
		echo "found $name $promise -DMESSAGES=1 $flags -DSTRICT"
	done
}

# Search the runs of one line in a folder of its own, and print what came of it.
search()
{
	expected=$1 name=$2 promise=$3
	shift 3
	[ "$promise" = - ] || set -- "$@" "-DONLY=$promise"
	if [ -n "$large" ] && [ "$expected" = holds ]; then
		# shellcheck disable=SC2046
		set -- $(printf '%s\n' "$@" | sed 's/MESSAGES=1/MESSAGES=2/') -DFAULTS=3
	fi
	optimize=-O2 ends=
	[ "$expected" = holds ] || optimize=-O0
	[ "$expected" = holds ] || [ "$promise" = ENDS ] || ends=-E
	mkdir "$work/$name"
	cd "$work/$name"
	cp "$here"/*.pml .
	started=$(date +%s)
	# shellcheck disable=SC2086
	if spin -a "$@" sms3300.pml && gcc $optimize -w -DSAFETY -DCOLLAPSE -o pan pan.c; then
		./pan -m1000000 -w22 $ends
	fi >log 2>&1
	states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' log)
	broken=$(sed -n 's/^pan:1: \(.*\) (at depth \([0-9]*\))/\2 steps: \1/p' log)
	if [ -n "$broken" ]; then
		result=found
	elif grep -q 'max search depth\|not completed\|out of memory' log; then
		result=incomplete
	else
		result=$(sed -n 's/.*errors: 0$/holds/p' log)
	fi
	if [ "$result" = "$expected" ]; then
		echo "$result $name${broken:+, $promise}: $states states, $(($(date +%s) - started)) s"
	else
		cat log
		echo "FAILED $name: expected: $expected ${broken:-$result}"
	fi
	[ -z "$steps" ] || spin -t -p "$@" sms3300.pml
	[ "$result" = "$expected" ]
}

# Check that the source has each function that a step of the model names.
names_exist()
{
	grep '^	/\*\|^	 \*' "$here/sms3300.pml" | grep -o '[a-z0-9_]*()' | tr -d '()' | sort -u |
	while read -r function; do
		grep -rq "^$function(" "$here/../../src" || echo "FAILED there is no $function() in src"
	done >"$work/names"
	cat "$work/names"
	[ ! -s "$work/names" ]
}

# Have replay look at traces, of which it has to know all but those that are named wrong.
replay()
{
	traces="$work/traces"
	printf '%s\t%s\t%s\t%s\n' \
		sent                accepted '' sent \
		'reply lost'        accepted unknown:1 unknown \
		'worker killed'     accepted orphan:1 unknown \
		'never left'        '' not-sent:1,orphan:1 unknown \
		'tried again'       refused-account,refused-for-now,accepted account:1,transient:1 sent \
		'attempts'          refused-for-now,accepted not-sent:1,transient:1 sent \
		'wrong: twice'      accepted,accepted unknown:1 sent \
		'wrong: twice, for a result that was not recorded' accepted,accepted '' sent \
		'wrong: a guess'    '' '' sent \
		'wrong: denied'     accepted transient:1 queued \
		'wrong: counted'    accepted not-sent:1,unknown:2 unknown \
		'wrong: not there'  accepted '' none >"$traces"
	perl "$here/replay" <"$traces" | sed -n 's/: the model knows no way.*//p' | sort >"$work/unknown"
	if sed -n 's/^\(wrong[^\t]*\).*/\1/p' "$traces" | sort | diff - "$work/unknown"; then
		echo "replay knows $(grep -vc ^wrong "$traces") traces, and $(grep -c ^wrong "$traces") that are wrong"
	else
		echo "FAILED replay"
		false
	fi
}

large=${large:-}
steps=${steps:-}
names=
while [ $# != 0 ]; do
	case $1 in
		--search) shift; search "$@"; exit ;;
		--large) large=yes ;;
		--steps) steps=yes ;;
		-*) echo "there is no option $1" >&2; exit 2 ;;
		*) names="${names:+$names|}$1" ;;
	esac
	shift
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export work large steps
if names_exist && replay && lines | grep -E -- "$names" | xargs -P "$(nproc)" -L 1 sh "$0" --search; then
	echo "every guard is needed, and every promise kept"
else
	exit 1
fi
