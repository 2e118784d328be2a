# The tests of test/unit where a filter refuses the newer system calls, as an old kernel does (ENOSYS) and as the filters of
# old container engines do (EPERM).
. "$(dirname "$0")/../checks/prelude"
[ "$(uname -s)" = Linux ] || skip "only Linux has seccomp"

calls='pidfd_open pidfd_send_signal close_range'
$CC -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -o "$work/refuse" test/long/refuse.c
# shellcheck disable=SC2086
"$work/refuse" ENOSYS $calls clone3 -- /bin/true || skip "no seccomp filter can be had here"

suite "$(unit_tests)" BUILD=build/native PROC_TEST_UNDER="$work/refuse ENOSYS $calls clone3 --"
# Not clone3: glibc makes no thread then.
suite "$(unit_tests)" BUILD=build/native PROC_TEST_UNDER="$work/refuse EPERM $calls --"
total
