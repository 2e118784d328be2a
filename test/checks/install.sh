# A program is built against the installed library through pkg-config, shared and static; uninstall takes all of it away.
. "$(dirname "$0")/prelude"
have pkg-config || skip "pkg-config is missing"

# Under DESTDIR, as a packager does it, with a LIBDIR of its own; then moved to where it says it is, as a user gets it.
prefix=$work/usr
lib=$prefix/lib/triplet
$make install DESTDIR="$work/stage" PREFIX="$prefix" LIBDIR="$lib" >/dev/null
[ -z "$(grep -rl "$work/stage" "$work/stage")" ] || fail "DESTDIR is written into what is installed"
cp -R "$work/stage$prefix" "$prefix"

export PKG_CONFIG_PATH="$lib/pkgconfig"
[ "v$(pkg-config --modversion libproc)" = "v$(sed -n 's/.*define PROC_VERSION "\(.*\)".*/\1/p' include/proc.h)" ] || fail "version"
# shellcheck disable=SC2046
$CC -o "$work/shared" test/checks/hello.c $(pkg-config --cflags --libs libproc)
works env LD_LIBRARY_PATH="$lib" "$work/shared"
if have readelf; then
    readelf -d "$work/shared" | grep -q 'NEEDED.*\[libproc\.so\.[0-9]*\]' || fail "the program is not linked with the soname"
fi
# shellcheck disable=SC2046
$CC -static -o "$work/static" test/checks/hello.c $(pkg-config --static --cflags --libs libproc)
works "$work/static"

# The whole tree moved elsewhere: what pkg-config says follows the prefix.
flags=$(pkg-config --define-variable=prefix=/moved --cflags --libs libproc)
case "$flags" in
*"$work"*) fail "libproc.pc is not relative to its prefix: $flags" ;;
esac

$make uninstall DESTDIR="$work/stage" PREFIX="$prefix" LIBDIR="$lib" >/dev/null
left=$(find "$work/stage" ! -type d)
[ -z "$left" ] || fail "uninstall leaves: $left"
