# What reads the sources without running them: clang-format, mandoc, clang-tidy (.clang-tidy says what it looks for; clang's
# static analyzer is a part of it), cppcheck and gcc's analyzer, the last three over both builds.
. "$(dirname "$0")/../checks/prelude"

sources=$(find src -name '*.c' | sort)
posix_flags='-std=c11 -D_XOPEN_SOURCE=700 -DPROC_POSIX_ONLY -D_FILE_OFFSET_BITS=64 -Iinclude -Isrc'
linux_flags='-std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Iinclude -Isrc'
linux_only='exitwatch_pidfd|launch_vfork|poller_epoll|sys_linux'
posix_only='exitwatch_posix|launch_posix|poller_poll|sys_posix'
native_sources=$(echo "$sources" | grep -vE "/($posix_only)\.c$")
plain_sources=$(echo "$sources" | grep -vE "/($linux_only)\.c$")
jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)

# part NAME COMMAND...: it must succeed, and say nothing.
part() {
    echo "---- $1"
    shift
    if "$@" >"$work/said" 2>&1 && [ ! -s "$work/said" ]; then
        suite_passed=$((suite_passed + 1))
    else
        suite_failed=$((suite_failed + 1))
        cat "$work/said"
        echo "it FAILED"
    fi
}

# lacks TOOL PACKAGE: then its part is skipped.
lacks() {
    if have "$1"; then
        return 1
    fi
    echo "skipped: $1 is missing: install $2"
    suite_skipped=$((suite_skipped + 1))
}

# is_version_14 TOOL: other versions see other things.
is_version_14() {
    if "$1" --version | grep -q 'version 14\.'; then
        return 0
    fi
    echo "skipped: $1 is not version 14"
    suite_skipped=$((suite_skipped + 1))
    return 1
}

each() { # each FILES COMMAND...: the command with each file behind it, as many at once as there are processors
    files=$1
    shift
    echo "$files" | tr ' ' '\n' | xargs -P "$jobs" -n 1 "$@"
}

# shellcheck disable=SC2086
tidy() { each "$1" sh -c 'flags=$1; clang-tidy --quiet "$2" -- $flags 2>"$0.$$" || { cat "$0.$$"; exit 1; }' "$work/tidy" "$2"; }
# The fortified calls of -O2 hide from it what they do.
analyze() { # shellcheck disable=SC2086
    each "$1" gcc -c -o /dev/null -O0 -Wall -Wextra -fanalyzer -Werror $2
}
# Not uninitvar, which both compilers look for too: it takes &unused, where a result nobody asked for goes, for a use.
check_with_cppcheck() {
    # shellcheck disable=SC2086
    cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
        --suppress=missingIncludeSystem --suppress=uninitvar -j "$jobs" $2 $1
}

if ! lacks clang-format clang-format && is_version_14 clang-format; then
    part clang-format clang-format --dry-run -Werror $(find include src test man -name '*.[ch]')
fi
if ! lacks mandoc mandoc; then
    part mandoc mandoc -T lint -W warning $(find man -name '*.[37]')
fi
if ! lacks cppcheck cppcheck; then
    part cppcheck check_with_cppcheck "$native_sources" "-Iinclude -Isrc -D__linux__ -D_GNU_SOURCE -DCLONE_PIDFD=0x1000"
    part "cppcheck, POSIX_ONLY" check_with_cppcheck "$plain_sources" "-Iinclude -Isrc -DPROC_POSIX_ONLY"
fi
if ! lacks gcc gcc; then
    part "gcc -fanalyzer" analyze "$native_sources" "$linux_flags"
    part "gcc -fanalyzer, POSIX_ONLY" analyze "$plain_sources" "$posix_flags"
fi
if ! lacks clang-tidy clang-tidy && is_version_14 clang-tidy; then
    part clang-tidy tidy "$native_sources" "$linux_flags"
    part "clang-tidy, POSIX_ONLY" tidy "$plain_sources" "$posix_flags"
fi
total
