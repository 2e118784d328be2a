# Both libraries compile and work with musl, statically linked. The kernel's headers are those of the system.
. "$(dirname "$0")/prelude"
have musl-gcc || skip "musl-gcc is missing"

kernel="-idirafter /usr/include -idirafter /usr/include/$(gcc -print-multiarch 2>/dev/null)"
for posix_only in '' 1; do
    build=build/musl${posix_only:+-posix}
    # musl's ioctl takes an int, and its CMSG_NXTHDR mixes signs: both warn.
    $make CC="musl-gcc $kernel" CFLAGS="-O2 -Wno-overflow -Wno-sign-conversion" POSIX_ONLY=$posix_only WERROR=1 BUILD="$build" "$build/libproc.a"
    musl-gcc -static -Iinclude -o "$work/hello" test/checks/hello.c "$build/libproc.a" -pthread
    works "$work/hello"
done
