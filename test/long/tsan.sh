# The tests of test/unit with the thread sanitizer in library and tests, by gcc or else by clang. Under it every child is
# forked: clang's runtime takes the clone of the other launcher for a fork.
. "$(dirname "$0")/../checks/prelude"

flags='-O1 -g -fno-omit-frame-pointer -fsanitize=thread'
compiler=
for one in gcc clang; do
    # shellcheck disable=SC2086
    if [ -z "$compiler" ] && have $one && compiles $one $flags; then
        compiler=$one
    fi
done
[ -n "$compiler" ] || skip "neither gcc nor clang has a thread sanitizer here: install gcc, or clang and libclang-rt-dev"

# Left out:
#   user            a change of ids, of which libc tells the sanitizer's own thread by a signal that it has no handler for
#   examples, demo, limit  programs of the manual: the same in fdserver, and signals that come late
#   killed          hundreds of forks, each of which copies the sanitizer's memory: minutes
left_out='user examples demo limit killed'
export TSAN_OPTIONS="allocator_may_return_null=1 second_deadlock_stack=1${TSAN_OPTIONS:+ $TSAN_OPTIONS}"
# shellcheck disable=SC2086
suite "$(unit_tests $left_out)" BUILD=build/tsan CC=$compiler CFLAGS="$flags" PROC_TEST_PATIENCE=5
total
