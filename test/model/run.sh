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
		rules               -DMESSAGES=1 -DRULES
		refused-results     -DMESSAGES=1 -DREFUSED -DFAULTS=3
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
		JUDGE              ALLOWED -DRULES
		ONE_WORKER         KEPT
		INHERIT            KEPT    -DREFUSED -DFAULTS=3
		KEPT_CLAIM         SAID    -DREFUSED -DHAND -DFAULTS=7 -DDEEDS=1
		ORPHANS            ENDS
		STOP_FAILED        ENDS
		STOP_LOOKS         ENDS
		KEEP               ENDS
	END
}

# The guards of wake-ups, which are searched in wake.pml: without each a message is forgotten.
wake_guards()
{
	printf '%s\n' CLEAR_FIRST RESET_FIRST LOOK_CHECK LATCH WORKER_DUE KEEP_DUE WAKE_LAUNCHER \
		RESTART_LOOKS GIVE_UP_START
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
	echo "holds wake-ups - -DCALLERS=1 -DFAULTS=1"
	wake_guards | while read -r guard; do
		echo "found wake-without-$guard ENDS -DCALLERS=1 -DFAULTS=1 -DWITHOUT_$guard"
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
	case $name in wake-*) model=wake.pml ;; *) model=sms3300.pml ;; esac
	[ "$promise" = - ] || set -- "$@" "-DONLY=$promise"
	if [ -n "$large" ] && [ "$expected" = holds ]; then
		# shellcheck disable=SC2046
		set -- -DFAULTS=3 $(printf '%s\n' "$@" | sed 's/MESSAGES=1/MESSAGES=2/; s/CALLERS=1/CALLERS=2/; s/FAULTS=1/FAULTS=2/')
	fi
	optimize=-O2 ends=
	[ "$expected" = holds ] || optimize=-O0
	[ "$expected" = holds ] || [ "$promise" = ENDS ] || ends=-E
	mkdir "$work/$name"
	cd "$work/$name"
	cp "$here"/*.pml .
	started=$(date +%s)
	# shellcheck disable=SC2086
	if spin -a "$@" $model && gcc $optimize -w -DSAFETY -DCOLLAPSE -o pan pan.c; then
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
	[ -z "$steps" ] || spin -t -p "$@" $model
	[ "$result" = "$expected" ]
}

# Check that the source has each function that a step of the models names.
names_exist()
{
	cat "$here/sms3300.pml" "$here/wake.pml" | grep '^	*/\*\|^	 \*' | grep -o '[a-z0-9_]*()' | tr -d '()' | sort -u |
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
		sent accepted '' sent \
		'reply lost' accepted 'unknown:1' unknown \
		'worker killed' accepted 'orphan:1' unknown \
		'never left' '' 'not-sent:1,orphan:1' unknown \
		'tried again' refused-account,refused-for-now,accepted 'account:1,transient:1' sent \
		attempts refused-for-now,accepted 'not-sent:1,transient:1' sent \
		rejected refused 'rejected:1' rejected \
		expired '' 'not-sent:1' expired \
		suppressed refused-for-now 'transient:1' suppressed \
		cancelled refused-for-now 'transient:1,cancel' cancelled \
		'sent again' nothing,accepted 'unknown:1,resend' sent \
		'sent again, the first request late' accepted,nothing 'unknown:1,resend' sent \
		'cancelled, then sent' accepted cancel,resend sent \
		'found to be sent' accepted 'unknown:1,resolve' sent \
		'found not to be sent' nothing,accepted 'orphan:1,resolve,resend' sent \
		'wrong: twice' accepted,accepted 'unknown:1' sent \
		'wrong: twice, for a result that was not recorded' accepted,accepted '' sent \
		'wrong: twice, after what may have been sent' nothing,accepted 'not-sent:1' sent \
		'wrong: after a refusal for good' refused,accepted 'rejected:1' sent \
		'wrong: failed before max_attempts' refused-for-now,refused-for-now 'transient:1,transient:1' failed \
		'wrong: a request after its cancel' accepted cancel sent \
		'wrong: a cancel of one on the wire' accepted cancel cancelled \
		'wrong: a request of what has expired' accepted '' expired \
		'wrong: a request of what a rule forbids' accepted '' suppressed \
		'wrong: sent, and sent again by a person' accepted,accepted resend sent \
		'wrong: resolved, and not unknown' accepted resolve sent \
		'wrong: a guess of sent' '' '' sent \
		'wrong: a guess of sent after a refusal' refused-for-now '' sent \
		'wrong: a guess of rejected' accepted 'rejected:1' rejected \
		'wrong: a guess of failed' refused-for-now 'transient:1' failed \
		'wrong: a guess of sent by an orphan' accepted 'orphan:1' sent \
		'wrong: denied' accepted 'transient:1' queued \
		'wrong: denied, not sent' accepted 'not-sent:1' queued \
		'wrong: counted' accepted 'not-sent:1,unknown:2' unknown \
		'wrong: not counted' refused-for-now,accepted 'transient:1,unknown:1' unknown \
		'wrong: a result of no request' '' 'transient:1' queued \
		'wrong: a result twice' accepted 'unknown:1,unknown:1' unknown \
		'wrong: not there' accepted '' none >"$traces"
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
