#!/bin/sh

# Lay out the extension as CloudNativePG mounts one: the scripts in share/extension, the
# library in lib, the libraries that it needs and the server's image lacks in system, and
# their licences.
#
#     volume.sh INSTALLED FOLDER      INSTALLED is the DESTDIR of make install
#
# What the server itself is linked to, its image has.

set -eu
installed=$1
folder=$2
server=$(dirname "$PG_CONFIG")/postgres

# Print the libraries that a program or a library needs, with all that they need.
needed()
{
	ldd "$1" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | sort -u
}

mkdir -p "$folder/share/extension" "$folder/lib" "$folder/system" "$folder/licenses/sms3300"
cp "$installed$("$PG_CONFIG" --sharedir)"/extension/sms3300* "$folder/share/extension"
cp "$installed$("$PG_CONFIG" --pkglibdir)/sms3300.so" "$folder/lib"
cp LICENSE "$folder/licenses/sms3300"

needed "$server" >"$folder/.server"
for library in $(needed "$folder/lib/sms3300.so" | grep -vxFf "$folder/.server"); do
	cp -L "$library" "$folder/system"
	package=$(dpkg-query -S "$(readlink -f "$library")" "*/${library##*/}" 2>/dev/null |
		sed 's/[:,].*//;q')
	mkdir -p "$folder/licenses/$package"
	cp -L "/usr/share/doc/$package/copyright" "$folder/licenses/$package"
done
rm "$folder/.server"
