# The programs of man/examples, and the one of README.md, build as a user builds them, without a warning.
. "$(dirname "$0")/prelude"

[ -n "$(find man/examples -name '*.c')" ] || fail "there are no examples"
awk '/^```c$/ { inside = 1; next } /^```$/ { inside = 0 } inside' README.md >"$work/readme.c"
for compiler in "$CC" clang; do
    have "$compiler" || continue
    for file in man/examples/*.c "$work/readme.c"; do
        $compiler -Wall -Wextra -Werror -Iinclude -O2 -c -o "$work/example.o" "$file" || bad=1
    done
done
$make BUILD=build/native examples
[ -z "${bad:-}" ]
