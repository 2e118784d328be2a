# Both libraries compile with musl, and pass the tests of test/unit there, statically linked. cmocka is linked with the
# system's libc: a small one of our own stands for it. The kernel's headers are those of the system.
. "$(dirname "$0")/../checks/prelude"
have musl-gcc || skip "musl-gcc is missing: install musl-tools"

kernel="-idirafter /usr/include -idirafter /usr/include/$(gcc -print-multiarch 2>/dev/null)"
# musl's ioctl takes an int, and its CMSG_NXTHDR mixes signs: both warn.
flags='-O2 -g -Wno-overflow -Wno-sign-conversion'
for posix_only in '' 1; do
    build=build/musl${posix_only:+-posix}
    # shellcheck disable=SC2086
    own_cmocka "$build" musl-gcc $flags
    suite "$(unit_tests)" BUILD="$build" POSIX_ONLY="$posix_only" WERROR=1 CC="musl-gcc $kernel" CFLAGS="$flags" \
        CPPFLAGS="-I$cmocka" LDFLAGS="-static -L$cmocka"
done
total
