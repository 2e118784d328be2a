# The tests of test/unit once more, with the address and undefined behaviour sanitizers in library and tests.
. "$(dirname "$0")/prelude"

flags='-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer'
echo 'int main(void) { return 0; }' >"$work/none.c"
# shellcheck disable=SC2086
$CC $flags -o "$work/none" "$work/none.c" 2>/dev/null && "$work/none" || skip "$CC has no sanitizers here"

# Not the demo: the address sanitizer of gcc 12 crashes in its own glob where that is called with GLOB_DOOFFS.
# shellcheck disable=SC2046
BUILD=build/sanitize CFLAGS=$flags PROC_TEST_PATIENCE=5 test/run \
    $(ls test/unit/test_*.c | sed 's|test/unit/test_\(.*\)\.c|\1|' | grep -vx demo)
