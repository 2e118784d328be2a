# proc.c compiles alone beside proc.h, with every compiler here, and shows proc_* only.
. "$(dirname "$0")/prelude"

$make amalgamation
cp build/amalgamation/proc.c build/amalgamation/proc.h test/checks/hello.c "$work"
cd "$work"
ls >before

for compiler in "$CC" gcc clang; do
    have "$compiler" || continue
    for defines in '' -DPROC_POSIX_ONLY; do
        # shellcheck disable=SC2086
        $compiler $defines -c proc.c 2>messages || { cat messages && fail "$compiler $defines"; }
        [ ! -s messages ] || { cat messages && fail "$compiler $defines: warnings"; }
        if nm --defined-only --extern-only proc.o | awk '{ print $NF }' | grep -v '^proc_'; then
            fail "$compiler $defines: these names are seen"
        fi
        # shellcheck disable=SC2086
        $compiler $defines -std=c11 -Wall -Wextra -Werror -c proc.c || fail "$compiler $defines: warnings with -Wall -Wextra"
        $compiler -I. -o hello hello.c proc.o -pthread
        works ./hello
    done
done
