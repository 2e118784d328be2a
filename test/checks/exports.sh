# The library shows proc_* and nothing else, the archive too; every function of proc.h is there; nothing inside ends the
# program, writes to its stderr or takes over its signals.
. "$(dirname "$0")/prelude"

inlined=proc_argv
banned='abort|exit|__assert_fail|signal|system|popen|f?printf|__(f|v)?printf_chk|puts|perror|psignal'
banned="$banned|wait|wait3|sleep|setenv|putenv|strtok"
public_functions | grep -vx "$inlined" >"$work/declared"

for posix_only in '' 1; do
    build=build/native
    [ -z "$posix_only" ] || build=build/posix
    $make POSIX_ONLY=$posix_only BUILD=$build all

    nm -D --defined-only "$build/libproc.so" | awk '{ print $NF }' | sort >"$work/shared"
    nm --defined-only --extern-only "$build/libproc.a" | awk 'NF == 3 { print $NF }' | sort >"$work/archived"
    for kind in shared archived; do
        diff "$work/declared" "$work/$kind" || fail "$build: proc.h (<) and the names that are $kind (>) differ"
    done

    nm --undefined-only "$build/libproc.a" | awk '{ print $NF }' | sed 's/@.*//' | sort -u >"$work/used"
    if grep -Ex "$banned" "$work/used"; then
        fail "$build: the library must not call these"
    fi
done

have readelf || exit 0
readelf -dlW build/native/libproc.so >"$work/elf"
grep -q "soname: \[libproc.so.$(sed -n 's/.*define PROC_VERSION "\([0-9]*\).*/\1/p' include/proc.h)\]" "$work/elf" || fail "soname"
grep -q 'GNU_RELRO' "$work/elf" && grep -Eq 'BIND_NOW|FLAGS.* NOW' "$work/elf" || fail "not linked with -z relro -z now"
grep -q 'GNU_STACK.* RW ' "$work/elf" || fail "the stack would be executable"
! grep -q TEXTREL "$work/elf" || fail "text relocations"
