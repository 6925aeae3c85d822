#!/bin/sh
#
# Compare sms3300_segments and sms3300_mobile with what others have written for
# the same purpose, on a UTF-8 database of the server that PGHOST, PGPORT, PGUSER
# and PGDATABASE name.
#
#     test/oracle/run.sh [-s seed]
#
# The texts are random; the seed, which is printed, gives the same ones again.
# Exits with 1 if there is any difference. Needs psql, node and npm.

set -eu

seed=$(date +%s)
while getopts s: option; do
	case $option in
		s) seed=$OPTARG ;;
		*) echo "usage: $0 [-s seed]" >&2; exit 2 ;;
	esac
done

here=$(cd "$(dirname "$0")" && pwd)
oracles=$(mktemp -d)
trap 'rm -rf "$oracles"' EXIT

npm install --prefix "$oracles" --silent --no-audit --no-fund --ignore-scripts \
	split-sms@0.1.7 libphonenumber-js@1.13.16 >/dev/null

echo "seed $seed"
status=0
for test in segments mobile; do
	NODE_PATH=$oracles/node_modules node "$here/$test.js" "$seed" || status=1
done
exit $status
