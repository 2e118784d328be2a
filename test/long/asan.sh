# The tests of test/unit with the address and undefined behaviour sanitizers in library and tests: gcc's, then clang's.
. "$(dirname "$0")/../checks/prelude"

flags='-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined'
export ASAN_OPTIONS="allocator_may_return_null=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}" # as malloc does
tried=
# Not the demo: the address sanitizer of gcc 12 crashes in its own glob where that is called with GLOB_DOOFFS.
# shellcheck disable=SC2086
if have gcc && compiles gcc $flags -fno-sanitize-recover=undefined; then
    suite "$(unit_tests demo)" BUILD=build/asan CC=gcc CFLAGS="$flags -fno-sanitize-recover=undefined" PROC_TEST_PATIENCE=5
    tried="$tried gcc"
fi
# shellcheck disable=SC2086
if have clang && compiles clang $flags -fno-sanitize-recover=undefined; then
    suite "$(unit_tests demo)" BUILD=build/asan-clang CC=clang CFLAGS="$flags -fno-sanitize-recover=undefined" PROC_TEST_PATIENCE=5
    tried="$tried clang"
fi
[ -n "$tried" ] || skip "neither gcc nor clang has sanitizers here: install gcc, or clang and libclang-rt-dev"
total
