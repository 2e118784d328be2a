# proc.h stands alone, in C and in C++, without a warning.
. "$(dirname "$0")/prelude"

printf '#include "proc.h"\n#include "proc.h"\nint main(void)\n{\n    return proc_version() == 0;\n}\n' >"$work/user.c"
cp "$work/user.c" "$work/user.cc"
warnings='-Wall -Wextra -Wconversion -Wshadow -pedantic -Werror'

for compiler in "$CC" gcc clang; do
    have "$compiler" || continue
    for standard in c99 c11 gnu17; do
        # shellcheck disable=SC2086
        $compiler -std=$standard $warnings -Wstrict-prototypes -Iinclude -fsyntax-only "$work/user.c" || fail "$compiler $standard"
    done
done

for compiler in g++ clang++; do
    have "$compiler" || continue
    tried=1
    for standard in c++11 c++20; do
        # shellcheck disable=SC2086
        $compiler -std=$standard $warnings -Iinclude -fsyntax-only "$work/user.cc" || fail "$compiler $standard"
    done
done
[ -n "${tried:-}" ] || echo "no C++ compiler here: tried as C only"
