#!/bin/sh

# Prove properties of the readers of texts and numbers for every input, with CBMC: that they
# touch no byte beside their place, that nothing overflows, and what *_proof.c says above each
# function. Then put faults into the source, each of which has to make a proof fail.
#
#     sh test/proofs/run.sh [OPTION]... [NAME]...
#
#     --cache FOLDER    keep the Debian there, not in /var/cache/sms3300
#     --fresh           make a new one
#
# NAMEs choose proofs whose names contain one; each has to choose some. Without a cbmc on this
# machine, of version 6, Debian 13 has it, in a folder that debootstrap makes; that needs root.

set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/test/lib.sh"
. "$root/test/debian.sh"

checks='--bounds-check --pointer-check --pointer-overflow-check --pointer-primitive-check
	--signed-overflow-check --unsigned-overflow-check --conversion-check --div-by-zero-check
	--undefined-shift-check --unwinding-assertions --no-malloc-may-fail'

# The proofs, and how often each goes round its loops at most, which is proved, too.
proofs='
utf8 reading        --unwind 6
utf8 characters     --unwind 6
segments widths     --unwind 130
segments no_overflow --unwind 6
segments filling    --unwind 9
segments counts     --unwind 5
mobile symbols      --unwind 22
mobile appending    --unwind 34
mobile mobiles      --unwind 34
mobile decimals     --unwind 34
mobile lines        --unwind 34
mobile reading      --unwind 22 --unwindset read_dialled.0:8,utf8_next.0:4
'

# The faults: the proof that has to fail, and what sed does to the file that it is about.
faults="
utf8 reading        s/available < length/available < length - 1/
utf8 reading        s/0x800, 0x10000/0x7FF, 0x10000/
utf8 reading        s/c > 0x10FFFF/c > 0x110000/
utf8 characters     s/c >= 0xD800/c >= 0xD7FF/
segments widths     /case '|':/d
segments no_overflow s/return 2;/return 3;/
mobile symbols      s/0x06F0,/0x06F1,/
mobile appending    s/dialled->n == DIALLED_MAX ||/false ||/
mobile mobiles      s/\"098\", \"98\"/\"98\", \"098\", \"99\"/
mobile lines        s/\"00980\", \"0098\"/\"0098\", \"00980\"/
"

# Run a proof of a source tree: the tree, the proof's file and function, and the loops' bounds.
prove()
{
	tree=$1 file=$2 function=$3
	shift 3
	# shellcheck disable=SC2086
	cbmc "$root/test/proofs/${file}_proof.c" -I "$tree" -I "$root/test/proofs" --function "prove_$function" \
		$checks "$@" >"$work/log" 2>&1 || :
	tail -n 1 "$work/log"
}

# Run all proofs, then those that a fault has to make fail.
run_all()
{
	failed=0
	while read -r file function bounds; do
		asked_for "$file $function" || continue
		# shellcheck disable=SC2086
		if [ "$(prove "$root/src" "$file" "$function" $bounds)" = 'VERIFICATION SUCCESSFUL' ]; then
			say "$file $function: proved,$(sed -n 's/^\*\* 0 of \([0-9]*\) failed.*/ \1 properties/p' "$work/log")"
		else
			failed=1
			say "$file $function: FAILED"
			grep -E ': FAILURE|rror' "$work/log" || cat "$work/log"
		fi
	done <<-END
		$(echo "$proofs" | grep .)
	END
	while read -r file function fault; do
		asked_for "$file $function" || continue
		rm -rf "$work/faulty"
		cp -r "$root/src" "$work/faulty"
		find "$work/faulty/text/$file".[ch] -exec sed -i "$fault" {} +
		! diff -rq "$root/src" "$work/faulty" >/dev/null || die "the fault $fault changes nothing"
		bounds=$(echo "$proofs" | sed -n "s/^$file $function  *//p")
		# shellcheck disable=SC2086
		if [ "$(prove "$work/faulty" "$file" "$function" $bounds --stop-on-fail)" = 'VERIFICATION FAILED' ]; then
			say "$file $function: found $fault"
		else
			failed=1
			say "$file $function: did NOT find $fault"
		fi
	done <<-END
		$(echo "$faults" | grep .)
	END
	return $failed
}

# Give up if a name chooses no proof.
check_names()
{
	for name in $names; do
		echo "$proofs" | sed -n 's/^\([^ ]* [^ ]*\) .*/\1/p' | grep -qF -e "$name" ||
			die "no proof has a name with \"$name\" in it"
	done
}

# Have cbmc in a Debian, and run this script there.
run_inside()
{
	make_debian trixie.proofs && open_debian "$debian" || return
	run_in "$debian" sh -c 'command -v cbmc >/dev/null || {
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends \
			install cbmc gcc libc6-dev >/dev/null; }' || return
	run_in "$debian" sh /tmp/tree/test/proofs/run.sh "$@"
}

if [ -n "$inside" ]; then
	"$@"
	exit
fi
names=$*
check_names
if command -v cbmc >/dev/null; then
	work=$(mktemp -d)
	run_all
else
	need_debian
	isolate run_inside "$@"
fi
