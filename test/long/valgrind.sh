# The tests of test/unit under valgrind's memcheck: no bad access, no leak, and at the end of each program no descriptor but
# those that it was given. Copies that are forked are watched too, and end with status 99 after an error; programs that are
# started are not, or it would be shells that are tried.
. "$(dirname "$0")/../checks/prelude"
have valgrind || skip "valgrind is missing: install valgrind"

# Left out, for the time that they take there or for what they are about:
#   threads, threads_host, rpc_threads, flood, spawn_host  many threads at once, of which valgrind runs one: minutes each
#   ssh, python, examples, demo  what they show runs in other programs, which are not traced
#   old_system, odd_hosts, odd_starts  filters, limits and descriptors by the thousand, which valgrind answers itself
#   exec_output, terminal        amounts and times
left_out='threads threads_host rpc_threads flood spawn_host ssh python examples demo old_system odd_hosts odd_starts exec_output terminal'
[ "${FULL:-0}" = 0 ] || left_out='threads_host spawn_host demo old_system odd_hosts odd_starts'

logs=$work/logs
mkdir "$logs"
# shellcheck disable=SC2086
suite "$(unit_tests $left_out)" BUILD=build/native PROC_TEST_PATIENCE=10 PROC_TEST_UNDER="valgrind --quiet \
    --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite --error-exitcode=99 --track-fds=yes \
    --child-silent-after-fork=yes --log-file=$logs/%p"
# A log of nothing but descriptors that valgrind has itself, and calls that it does not know, is a good one.
for log in "$logs"/*; do
    awk '/Open file descriptor/ { held = $0; getline; if ($0 !~ /inherited from parent/) { print held; print; bad = 1 } }
        /definitely lost|Invalid |uninitialised|overlap|Mismatched/ { print; bad = 1 }
        END { exit bad }' "$log" || { echo "$log: FAILED" && cat "$log" && suite_failed=$((suite_failed + 1)); }
done
total
