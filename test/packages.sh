#!/bin/sh

# Build the packages and try them, in Debians that have PostgreSQL 15, 17 and 18. The
# Debian package is built in one that has what that takes, checked by lintian, and tested
# in another, which has nothing but what it asks for. What PGXN distributes is installed
# from its zip with PGXN's client. The RPM, the images and the image volume are built and
# tried likewise, with PostgreSQL 18. Each is loaded, sends, and is removed without a
# trace. The Debians are kept for the next time.
#
#     sh test/packages.sh [OPTION]...            all packages
#     sh test/packages.sh [OPTION]... NAME...    only the stages whose names contain a NAME
#
#     --suite SUITE     in this Debian only; may be given more than once
#     --cache FOLDER    keep the Debians there, not in /var/cache/sms3300
#     --fresh           make new ones
#
# Each package is one line, and the last line tells how many passed. What was printed is
# shown where it failed. Needs root, and a git repository: the zip is of what is committed.

set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/test/lib.sh"
. "$root/test/debian.sh"

passed=0
failed=0

# Run apt-get in a Debian's folder.
apt_in()
{
	folder=$1
	shift
	run_in "$folder" env DEBIAN_FRONTEND=noninteractive \
		apt-get -qq -y --no-install-recommends "$@" >/dev/null
}

# Run a shell command in the copy, as an ordinary user.
as_user()
{
	run_in "$copy" su tester -c "cd /tmp/tree && $1"
}

# Have a copy of the Debian that packages are built in, and an ordinary user there who
# has the source tree.
prepare_build()
{
	make_debian "$1.build" && open_debian "$debian" &&
		apt_in "$debian" update &&
		apt_in "$debian" install build-essential git lintian pgxnclient \
			postgresql-server-dev-all &&
		run_in "$debian" sh -c 'cd /tmp/tree && pg_buildext updatecontrol' &&
		apt_in "$debian" build-dep /tmp/tree || return
	copy_debian &&
		open_debian "$copy" &&
		run_in "$copy" useradd --create-home tester &&
		run_in "$copy" chown -R tester: /tmp/tree
}

# Build the Debian package; it comes into a folder, with the source that it was made of.
# The authors have no mail address yet.
build_package()
{
	prepare_build "$1" &&
		as_user 'pg_buildext updatecontrol && dpkg-buildpackage -us -uc' &&
		as_user 'lintian --fail-on error,warning ../*.changes \
			--suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog' &&
		cp "$copy"/tmp/*.deb "$copy"/tmp/*.dsc "$copy"/tmp/*.tar.* "$2"
}

# Install the Debian package in a Debian that has nothing of it, and run its tests.
test_package()
{
	make_debian "$1.clean" && copy_debian && open_debian "$copy" &&
		run_in "$copy" useradd --create-home tester &&
		apt_in "$copy" update || return
	dpkg-source --extract "$2"/*.dsc "$2/source"
	autopkgtest --user=tester --no-built-binaries "$2"/*.deb "$2/source/" -- chroot "$copy" ||
		return

	# Nothing of the packages stays once they are purged.
	run_in "$copy" sh -c 'dpkg --purge $(dpkg-query -W -f "\${Package}\n" "*sms3300*")' &&
		no_trace
}

# Fail if a file of the extension is left in the copy.
no_trace()
{
	! find "$copy" -xdev -path "$copy/tmp" -prune -o -name '*sms3300*' -print |
		grep -v -e '/apt/apt.conf.d/sms3300$' -e '/dpkg.cfg.d/sms3300$'
}

# Install from the zip with PGXN's client, run its tests, and remove it.
test_pgxn()
{
	prepare_build "$1" && clone_inside &&
		run_in "$copy" sh -c 'pgxn install /tmp/clone/*.zip' &&
		as_user 'pg_virtualenv -o shared_preload_libraries=sms3300 sh -exc "
			pgxn load --yes ../clone/*.zip
			psql -c \\\\dx
			pgxn check ../clone/*.zip"' || return
	bin=$(bin_in "$copy")
	apt_in "$copy" install libmojolicious-perl &&
		run_in "$copy" env PG_CONFIG="$bin/pg_config" sh /tmp/tree/test/try.sh &&
		run_in "$copy" sh -c 'pgxn uninstall --yes /tmp/clone/*.zip' && no_trace
}

# Print the folder of the programs of the PostgreSQL that a Debian has.
bin_in()
{
	(cd "$1/usr/lib/postgresql" && echo "$PWD"/*/bin) | sed "s|^$1||"
}

# Have a clone of what is committed in the copy, and the zip of it.
clone_inside()
{
	git -c safe.directory='*' clone -q "$root" "$copy/tmp/clone" &&
		run_in "$copy" chown -R tester: /tmp/clone &&
		as_user 'make -s -C ../clone dist'
}

# Have a copy of a Debian with a server, perl for the gateway, and the packages given, but
# no extension.
prepare_server()
{
	make_debian "$1.clean" && copy_debian && open_debian "$copy" || return
	shift
	mkdir -p "$copy/etc/postgresql-common/createcluster.d"
	echo 'create_main_cluster = false' >"$copy/etc/postgresql-common/createcluster.d/none.conf"
	apt_in "$copy" update &&
		apt_in "$copy" install postgresql libmojolicious-perl "$@" &&
		bin=$(bin_in "$copy")
}

# Build the RPMs as an ordinary user; they come into a folder. Where EL has PostgreSQL is
# another place than Debian's, and the names of what they need are EL's.
build_rpm()
{
	prepare_build "$1" && apt_in "$copy" install debugedit elfutils rpm rpmlint unzip && clone_inside ||
		return
	bin=$(bin_in "$copy")
	major=$(echo "$bin" | tr -dc '0-9')
	as_user "mkdir -p ~/rpmbuild/SOURCES && install -m 644 ../clone/*.zip ~/rpmbuild/SOURCES &&
		rpmbuild -ba --nodeps \
			--define 'pgmajorversion $major' --define 'pginstdir ${bin%/bin}' \
			--define 'pglibdir ${bin%bin}lib' --define 'pgsharedir /usr/share/postgresql/$major' \
			../clone/packaging/rpm/sms3300.spec &&
		rpmlint --strict --config packaging/rpm/rpmlint.toml packaging/rpm/sms3300.spec ~/rpmbuild/*RPMS" &&
		cp "$copy"/home/tester/rpmbuild/RPMS/*/*.rpm "$2" && ls "$2"/*-debuginfo-*.rpm
}

# Install the RPMs with rpm, try them, and remove them.
test_rpm()
{
	prepare_server "$1" libcurl4 rpm || return
	mkdir "$copy/tmp/rpm"
	cp "$2"/*.rpm "$copy/tmp/rpm"
	run_in "$copy" sh -exc "rm -f /tmp/rpm/*-debug*.rpm
		rpm --nodeps --install /tmp/rpm/*.rpm
		PG_CONFIG=$bin/pg_config GATEWAY=sms3300-gateway sh /tmp/tree/test/try.sh
		rpm --erase \$(rpm --query --all)" && no_trace
}

# Lay out the image volume; it comes into a folder.
build_volume()
{
	prepare_build "$1" && clone_inside || return
	bin=$(bin_in "$copy")
	as_user "cd ../clone && make -s with_llvm=no PG_CONFIG=$bin/pg_config &&
		make -s install with_llvm=no PG_CONFIG=$bin/pg_config DESTDIR=/tmp/installed >/dev/null &&
		PG_CONFIG=$bin/pg_config sh packaging/container/volume.sh /tmp/installed /tmp/volume" &&
		cp -r "$copy/tmp/volume" "$2" &&
		(cd "$2/volume" && find . -type f && du -sh . && ls system | wc -l)
}

# Have a server load the extension from there, as CloudNativePG mounts it. It has no libcurl
# of its own.
test_volume()
{
	prepare_server "$1" || return
	! find "$copy/usr" -name 'libcurl*.so*' | grep . || return
	mkdir "$copy/extensions"
	cp -r "$2/volume" "$copy/extensions/sms3300"
	run_in "$copy" env LD_LIBRARY_PATH=/extensions/sms3300/system PG_CONFIG="$bin/pg_config" \
		sh /tmp/tree/test/try.sh \
		"extension_control_path = '\$system:/extensions/sms3300/share'" \
		"dynamic_library_path = '\$libdir:/extensions/sms3300/lib'" || return
	rm -r "$copy/extensions"
	no_trace
}

# Run buildah with a store in the copy, without a daemon and without other namespaces than
# these. Its own are not to be had everywhere.
build_image()
{
	command=$1
	shift
	buildah --storage-driver vfs --root "$copy/store" --runroot "$copy/store.run" "$command" "$@"
}

# Lay out the image that others are built on: what Docker's official one has of PostgreSQL.
build_base()
{
	make_debian "$1.clean" && copy_debian && open_debian "$copy" || return
	mkdir -p "$copy/etc/postgresql-common/createcluster.d"
	echo 'create_main_cluster = false' >"$copy/etc/postgresql-common/createcluster.d/none.conf"
	apt_in "$copy" update && apt_in "$copy" install postgresql || return
	base=$(build_image from scratch)
	tar -C "$copy" --one-file-system --exclude=./store --exclude=./store.run --exclude=./var/cache/apt \
		-cf "$copy/base.tar" . && build_image add -q "$base" "$copy/base.tar" / &&
		build_image config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$base" &&
		build_image commit -q "$base" base && build_image rm "$base" && rm "$copy/base.tar"
}

# Build the images of the Dockerfile, and have what they hold in folders of $copy: server,
# gateway and volume. Try them, as compose.yaml does.
test_images()
{
	build_base "$1" || return
	major=$(bin_in "$copy" | tr -dc '0-9')
	mkdir "$copy/clone"
	git -C "$root" archive HEAD | tar -C "$copy/clone" -xf -
	for target in server gateway volume; do
		build_image bud -q --isolation chroot --build-arg BASE=localhost/base \
			--build-arg "MAJOR=$major" --target "$target" --tag "$target" \
			-f "$copy/clone/packaging/container/Dockerfile" "$copy/clone" || return
		container=$(build_image from "localhost/$target")
		ln -s "$(build_image mount "$container")" "$copy/$target"
	done
	build_image images
	[ -f "$copy/volume/lib/sms3300.so" ] && [ -f "$copy/volume/system/libcurl.so.4" ] || return
	command_of server | grep -q '^postgres -c shared_preload_libraries=sms3300$' || return
	apt_in "$copy" install prometheus prometheus-postgres-exporter || return
	unshare --net sh "$0" --cache "$cache" --inside run_images
}

# Print what an image runs.
command_of()
{
	build_image inspect --type image --format \
		'{{range .OCIv1.Config.Entrypoint}}{{.}} {{end}}{{range .OCIv1.Config.Cmd}}{{.}} {{end}}' "$1" |
		sed 's/ $//'
}

# Run what compose.yaml puts together: the server and the gateway as their images say, and the
# exporter and Prometheus, of which there are only Debian's, with its arguments and files. Send
# a message, and see it on the page and in Prometheus.
run_images()
{
	copy=$cache/run/root
	here=$copy/clone/packaging/container
	ip link set lo up
	for folder in "$copy/server" "$copy/gateway"; do
		mount --rbind /dev "$folder/dev" && mount -t proc proc "$folder/proc" || return
	done
	for folder in "$copy" "$copy/server" "$copy/gateway"; do
		echo '127.0.0.1 localhost server gateway exporter prometheus' >"$folder/etc/hosts"
	done

	# shellcheck disable=SC2046
	run_in "$copy/gateway" setpriv --reuid=nobody --clear-groups $(command_of gateway) &
	cp "$here/account.sql" "$copy/server/tmp"
	in_server 'initdb -D /tmp/data --auth-local=trust --auth-host=scram-sha-256 -E UTF8 >/dev/null' || return
	in_server "$(command_of server) -D /tmp/data -c listen_addresses=127.0.0.1 -c unix_socket_directories=/tmp" &
	wait_until 60 in_server 'pg_isready -q' &&
		in_server 'createdb app && psql -X -q -v ON_ERROR_STOP=1 -d app -f /tmp/account.sql' || return

	mkdir -p "$copy/etc/sms3300" "$copy/etc/prometheus"
	cp "$copy"/clone/doc/monitoring/* "$copy/etc/sms3300"
	cp "$here/prometheus.yaml" "$copy/etc/prometheus/prometheus.yml"

	# shellcheck disable=SC2046
	run_in "$copy" env DATA_SOURCE_NAME="$(sed -n 's/^ *DATA_SOURCE_NAME: //p' "$here/compose.yaml")" \
		prometheus-postgres-exporter $(sed -n 's/^ *command: \[\(.*\)\]/\1/p' "$here/compose.yaml" | tr -d '",') &
	run_in "$copy" prometheus --config.file=/etc/prometheus/prometheus.yml --storage.tsdb.path=/tmp/tsdb &

	in_server "psql -X -q -d app -c \"INSERT INTO sms_outbox (mobile, message) VALUES ('09123456789', 'سلام')\"" &&
		wait_until 60 page_shows '>سلام<' && wait_until 120 prometheus_has 'sms3300_account_sent_total == 1' &&
		in_server "psql -X -d app -c 'TABLE sms_report' | grep sent" && in_server 'pg_ctl -D /tmp/data -s stop'
}

# Run a shell command in the server's image, as the server's owner.
in_server()
{
	run_in "$copy/server" setpriv --reuid=postgres --regid=postgres --clear-groups env HOME=/tmp PGHOST=/tmp \
		PATH="$(bin_in "$copy/server"):/usr/bin:/bin" sh -ec "$1"
}

# Say whether the gateway's page has a text.
page_shows()
{
	perl -MHTTP::Tiny -e 'print HTTP::Tiny->new->get("http://127.0.0.1:8080/")->{content}' | grep "$1"
}

# Say whether an expression returns something in Prometheus.
prometheus_has()
{
	promtool query instant http://127.0.0.1:9090 "$1" | grep .
}

# Compile for arm64, and run pg_regress on a server for that, in qemu. The server's cluster
# is made by this machine's initdb: qemu alone cannot start one program from another.
test_arm64()
{
	prepare_build "$1" && run_in "$copy" dpkg --add-architecture arm64 &&
		apt_in "$copy" update || return
	bin=$(bin_in "$copy")
	major=$(echo "$bin" | tr -dc '0-9')
	libraries=$(run_in "$copy" apt-cache depends "postgresql-$major:arm64" |
		sed -n 's/^ *Depends: \(lib[^ :]*\)\(:arm64\)\?$/\1:arm64/p' | grep -v -e libllvm -e perl)
	# shellcheck disable=SC2086
	apt_in "$copy" install gcc-aarch64-linux-gnu libc6-dev-arm64-cross libcurl4-openssl-dev:arm64 \
		libssl-dev:arm64 qemu-user-static $libraries || return
	run_in "$copy" sh -exc "
		mkdir -p /arm64/deb && chmod 777 /arm64/deb && cd /arm64/deb
		apt-get download postgresql-$major:arm64 postgresql-server-dev-$major:arm64
		for package in *.deb; do dpkg-deb --extract \$package /arm64; done
		cd /tmp/tree
		make -s with_llvm=no CC=aarch64-linux-gnu-gcc PG_CONFIG=$bin/pg_config \
			includedir_server=/arm64/usr/include/postgresql/$major/server
		file -b sms3300.so
		cp sms3300.so /arm64$bin/../lib
		cp sms3300.control sql/sms3300--*.sql /arm64/usr/share/postgresql/$major/extension
		mkdir /tmp/arm64 && chown -R tester: /tmp/arm64 /tmp/tree" || return
	run_in "$copy" su tester -c "set -ex; cd /tmp/tree
		$bin/initdb -D /tmp/arm64/data -A trust -E UTF8 --locale=C >/dev/null
		qemu-aarch64-static /arm64$bin/postgres -D /tmp/arm64/data -c listen_addresses= \
			-c unix_socket_directories=/tmp/arm64 -c shared_preload_libraries=sms3300 \
			-c dynamic_shared_memory_type=mmap -c jit=off >/tmp/arm64/log 2>&1 &
		export PGHOST=/tmp/arm64
		until $bin/pg_isready -q -d postgres || ! kill -0 \$!; do sleep 0.1; done
		psql -X -A -t -d postgres -c 'SELECT version()' | grep aarch64
		make -s with_llvm=no installcheck PG_CONFIG=$bin/pg_config || { cat regression.diffs /tmp/arm64/log; exit 1; }
		kill -INT \$!; wait \$!"
}

# Compile for musl. There are no libraries for it to link with; the headers of those that it
# needs are the same.
test_musl()
{
	prepare_build "$1" && apt_in "$copy" install musl-tools || return
	bin=$(bin_in "$copy")
	as_user "mkdir -p ../musl/openssl && cd ../musl &&
		ln -s /usr/include/x86_64-linux-gnu/curl /usr/include/linux /usr/include/asm-generic \
			/usr/include/x86_64-linux-gnu/asm . &&
		cp /usr/include/openssl/* /usr/include/x86_64-linux-gnu/openssl/* openssl && cd ../tree &&
		for file in src/*.c src/*/*.c; do
			musl-gcc -fsyntax-only -Wall -Werror -D_GNU_SOURCE -Isrc -isystem ../musl \
				-isystem \$($bin/pg_config --includedir-server) '-DSMS3300_VERSION=\"\"' \$file || exit
		done"
}

# Check what cannot be run here: the Dockerfile by a linter, the compose file and what it
# gives to prometheus by their own programs, and that a mistake in each is found.
check_files()
{
	copy=$cache/run/root
	mount -t tmpfs tmpfs "$cache/run" && mkdir -p "$copy" && cp -r "$root/packaging/container" "$copy/here" &&
		cp -r "$root/doc" "$root/packaging" "$copy" && cd "$copy/here" || return
	npm install --prefix "$copy/npm" --silent --no-audit --no-fund --ignore-scripts \
		dockerfilelint@1.8.0 >/dev/null || return

	# Its stages are built on an argument that has a tag, and on nothing.
	printf 'rules:\n  missing_tag: off\n' >.dockerfilelintrc
	lint_files || return
	for mistake in 's/^RUN apt-get update/RUN sudo apt-get update/ Dockerfile' \
		's/ports:/prots:/ compose.yaml' 's/targets:/target:/ prometheus.yaml'; do
		cp -r . ../broken
		sed -i "${mistake% *}" "../broken/${mistake##* }"
		! (cd ../broken && lint_files) || { say "not found: $mistake"; return 1; }
		rm -r ../broken
	done
}

# Check those in the current folder.
lint_files()
{
	"$copy/npm/node_modules/.bin/dockerfilelint" Dockerfile &&
		docker-compose -f compose.yaml config -q &&
		sed "s|/etc/sms3300|$copy/doc/monitoring|" prometheus.yaml >prometheus.checked &&
		promtool check config prometheus.checked
}

# Run a function of the above in namespaces of its own, and print its line: what it
# shows, the function, and the arguments.
stage()
{
	name=$1
	shift
	asked_for "$name" || return 0
	started=$(date +%s)
	if isolate "$@" >"$work/log" 2>&1; then
		passed=$((passed + 1))
		result=passed
	else
		failed=$((failed + 1))
		result=FAILED
		tail -n 300 "$work/log"
	fi
	say "$result $name ($(($(date +%s) - started)) s)"
}

if [ -n "$inside" ]; then
	"$@"
	exit
fi
names=$*

need autopkgtest command -v autopkgtest
need dpkg-dev command -v dpkg-source
need git command -v git
need buildah command -v buildah
need docker-compose command -v docker-compose
need iproute2 command -v ip
need npm command -v npm
need prometheus command -v promtool
need_debian
stage 'files of containers' check_files
for suite in ${suites:-bookworm trixie forky}; do
	mkdir "$work/$suite"
	stage "$suite: the Debian package is built" build_package "$suite" "$work/$suite"
	stage "$suite: the Debian package works" test_package "$suite" "$work/$suite"
	stage "$suite: PGXN's package works" test_pgxn "$suite"
	[ "$suite" != bookworm ] || stage "$suite: on arm64" test_arm64 "$suite"
	[ "$suite" != bookworm ] || stage "$suite: with musl" test_musl "$suite"
	[ "$suite" = forky ] || continue
	mkdir "$work/rpm" "$work/volume"
	stage "$suite: the RPM is built" build_rpm "$suite" "$work/rpm"
	stage "$suite: the RPM works" test_rpm "$suite" "$work/rpm"
	stage "$suite: the image volume is built" build_volume "$suite" "$work/volume"
	stage "$suite: the image volume works" test_volume "$suite" "$work/volume"
	stage "$suite: the images work" test_images "$suite"
done
say "$passed passed, $failed failed"
[ $failed = 0 ]
