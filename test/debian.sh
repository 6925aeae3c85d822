# shellcheck shell=sh disable=SC2154,SC2034  # for and by those who read it in
# What matrix.sh and others share that work in Debians of their own: folders made with
# debootstrap, from the mirror that apt uses here, and kept in $cache for the next time.
# A Debian is named SUITE, or SUITE-ARCHITECTURE if that is not this machine's; what
# follows a dot tells several of one kind apart. They read it in after lib.sh.

cache=${XDG_CACHE_HOME:-/var/cache}/sms3300
suites=
fresh=
inside=
children=

# This machine's Debian.
codename=$(. /etc/os-release && printf '%s\n' "${VERSION_CODENAME:-}")

# Print the mirror that it comes from.
mirror()
{
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
		'Origin: Debian' "Codename: $codename" | head -n 1
}

# Have what it takes to make Debians, and a private folder, $work.
need_debian()
{
	[ "$(id -u)" = 0 ] || die "needs root, for debootstrap, mount and chroot"
	need debootstrap command -v debootstrap
	install_missing
	[ -n "$(mirror)" ] || apt_get update
	[ -n "$(mirror)" ] || die "apt has no Debian mirror configured"
	mkdir -p "$cache"
	unshare --mount --pid --ipc --fork --kill-child mount -t tmpfs tmpfs "$cache" ||
		die "needs namespaces (unshare) and mounts in them, which may be forbidden here even for root"
	work=$(mktemp -d /tmp/sms3300.XXXXXX)
	trap 'interrupt 130' INT
	trap 'interrupt 143' TERM
	trap 'interrupt 129' HUP
}

# Start a function of the script in namespaces of its own; its process is the last of
# $children, with a blank after each. What it mounts, and the processes that it leaves,
# end with it, however it ends.
start_isolated()
{
	unshare --mount --pid --ipc --fork --kill-child \
		sh "$0" --cache "$cache" ${fresh:+--fresh} --inside "$@" &
	children="$children$! "
}

# Wait for the first of $children.
await_first()
{
	status=0
	wait "${children%% *}" || status=$?
	children=${children#* }
	return $status
}

# Run a function so, and wait for its end.
isolate()
{
	start_isolated "$@"
	await_first
}

# End what runs in namespaces, and this program.
interrupt()
{
	# shellcheck disable=SC2086
	[ -z "$children" ] || kill -KILL $children
	exit "$1"
}

# Make a Debian, $debian, if it is not there, and hold it: two runs in the same one take
# turns. This machine's debootstrap may be too old to know the suite; they are all made
# like sid.
make_debian()
{
	debian=$cache/$1
	kind=${1%%.*}
	suite=${kind%%-*}
	architecture=${kind#"$suite"}
	exec 9>"$debian.lock"
	flock 9
	[ -z "$fresh" ] || rm -rf --one-file-system "$debian"
	[ ! -d "$debian" ] || return 0
	rm -rf --one-file-system "$debian.new"
	[ "$suite" != experimental ] || base=sid
	debootstrap --variant=minbase ${architecture:+--arch="${architecture#-}"} \
		"${base:-$suite}" "$debian.new" "$(mirror)" \
		/usr/share/debootstrap/scripts/sid >"$debian.log" || {
		cat "$debian.log"
		return 1
	}

	# The mirror may lag behind what the suite promises.
	echo 'Acquire::Check-Valid-Until "false";' >"$debian.new/etc/apt/apt.conf.d/sms3300"

	# Of experimental, which is no Debian by itself, only PostgreSQL is wanted.
	if [ -n "${base:-}" ]; then
		echo "deb $(mirror) $suite main" >"$debian.new/etc/apt/sources.list.d/$suite.list"
		rm -f "$debian.new"/var/lib/apt/lists/*_Packages	# they lack it
		cat >"$debian.new/etc/apt/preferences.d/$suite" <<-END
			Package: postgresql* libpq* libpg* libecpg*
			Pin: release a=$suite
			Pin-Priority: 600
		END
	fi

	# What is lost with the machine can be made again; flushing it takes long.
	echo force-unsafe-io >"$debian.new/etc/dpkg/dpkg.cfg.d/sms3300"
	mv "$debian.new" "$debian"
}

# Mount a copy of $debian, $copy, that is thrown away with the namespaces.
copy_debian()
{
	copy=$cache/run/root
	mkdir -p "$cache/run" &&
		mount -t tmpfs tmpfs "$cache/run" &&
		mkdir "$cache/run/changes" "$cache/run/work" "$copy" &&
		mount -t overlay overlay "$copy" \
			-o "lowerdir=$debian,upperdir=$cache/run/changes,workdir=$cache/run/work"
}

# Have a Debian's folder ready to run commands in, with a copy of the source tree.
open_debian()
{
	# npm may need a name server and a certificate that only this machine knows.
	certificates=/etc/ssl/certs/ca-certificates.crt
	cp -L /etc/hosts /etc/resolv.conf "$1/etc" &&
		mkdir -p "$1/etc/ssl/certs" &&
		{ [ ! -e $certificates ] || cp $certificates "$1$certificates"; } &&
		mount -t proc proc "$1/proc" &&
		mount --rbind /dev "$1/dev" &&
		mount -t tmpfs tmpfs "$1/dev/shm" &&
		mount -t tmpfs tmpfs "$1/tmp" &&
		mkdir "$1/tmp/tree" &&
		tar -C "$root" --exclude=./.git -cf - . | tar -C "$1/tmp/tree" -xf -
}

# Run a command in a Debian's folder.
run_in()
{
	folder=$1
	shift
	env -u PG_CONFIG -u TMPDIR HOME=/root LC_ALL=C.UTF-8 \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		chroot "$folder" "$@"
}

# The options that the scripts have in common. After --inside follows what isolate() runs.
while [ $# != 0 ] && [ -z "$inside" ]; do
	case $1 in
		--suite) suites="$suites ${2:?}"; shift ;;
		--cache) cache=${2:?}; shift ;;
		--fresh) fresh=yes ;;
		--inside) inside=yes ;;
		-*) die "unknown option $1" ;;
		*) break ;;
	esac
	shift
done
