# shellcheck shell=sh disable=SC2154  # for those who read it in
# What check.sh and clients.sh share: stages, which run at the same time and print a line
# each, and the closing line. They read it in after lib.sh.

began=$(date +%s)
: "${JOBS:=$((2 * $(nproc)))}"

# Run a stage: its name, and the command. What it printed is shown if it fails.
stage()
{
	name=$1
	shift
	started=$(date +%s)
	if "$@" >"$work/$name.log" 2>&1; then result=passed; else result=FAILED; fi
	seconds=$(($(date +%s) - started))
	(
		flock 9
		[ $result = passed ] || tail -n 300 "$work/$name.log"
		say "$result $name ($seconds s)"
		echo "$result $seconds $name" >&9
	) 9>>"$work/results"
}

# Run a stage beside others, as soon as one of the JOBS places is free. Each free place is a
# byte in a pipe. A signal interrupts the wait for one, which it does not do to a read.
start_stage()
{
	if [ ! -p "$work/places" ]; then
		mkfifo "$work/places"
		exec 8<>"$work/places"
		printf "%${JOBS}s" '' >&8
	fi
	dd bs=1 count=1 <&8 >"$work/place" 2>&1 &
	wait $!
	(
		trap 'printf " " >&8' EXIT
		stage "$@"
	) &
}

# Say that a stage cannot be run here: its name, and why.
skip_stage()
{
	say "skipped $1: $2"
	echo "skipped 0 $1" >>"$work/results"
}

# Print how many stages have had a result.
count()
{
	grep -c "^$1" "$work/results" || :
}

# Wait for all stages, print the closing line, and end with the right status.
finish()
{
	wait
	say "$(awk '{ s += $2 } END { print s }' "$work/results") s of stages in $(($(date +%s) - began)) s"
	skipped=$(count skipped)
	[ "$skipped" = 0 ] && skipped='' || skipped=", $skipped skipped"
	say "$(count passed) passed, $(count FAILED) failed$skipped"
	[ "$(count FAILED)" = 0 ] || exit 1
	exit 0
}

# Say whether a list has a word.
contains()
{
	case " $(echo $1) " in *" $2 "*) return 0 ;; esac
	return 1
}
