#!/bin/sh

# Fail if a script that was released has changed: databases that ran it would never be
# what a later update expects. A version is released once CHANGELOG.md no longer calls it
# unreleased. Its scripts are the one that installs it and those that update to it. Their
# checksums are in sql/released.sha256.
#
#     sh test/released.sh            compare the scripts with their checksums
#     sh test/released.sh --freeze   add the checksums of the scripts that have none
#
# To release a version: date it in CHANGELOG.md, build, and commit what --freeze adds. The
# next version begins with a copy of sql/sms3300.sql, under the released version's name,
# that is committed, a new default_version in the control file, and an empty update script.

set -eu
cd "$(dirname "$0")/.."
list=sql/released.sha256
status=0

if [ -e $list ]; then
	sha256sum --check --strict --quiet $list || status=1
fi
for version in $(sed -n '/(unreleased)$/d; s/^## \([0-9][0-9.]*\).*/\1/p' CHANGELOG.md); do
	for script in "sql/sms3300--$version.sql" sql/sms3300--*--"$version.sql"; do
		case $script in *'*'*) continue ;; esac
		! grep -qsF "  $script" $list || continue
		if [ $status = 0 ] && [ "${1:-}" = --freeze ]; then
			sha256sum "$script" >>$list
		else
			printf '%s is released, and has no checksum in %s\n' "$script" $list
			status=1
		fi
	done
done
exit $status
