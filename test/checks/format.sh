# The sources are as clang-format leaves them. Another version would put some lines differently.
. "$(dirname "$0")/prelude"
have clang-format || skip "clang-format is missing"

version=$(clang-format --version | sed 's/.*version \([0-9]*\).*/\1/')
[ "$version" = 14 ] || skip "clang-format is version $version, not 14"
find include src test man -name '*.[ch]' | sort | xargs clang-format --dry-run -Werror 2>&1 | grep -E 'error:|warning:' |
    sed 's/:[0-9]*: error.*//' | sort | uniq -c | sort -rn >"$work/lines"
[ ! -s "$work/lines" ] || { cat "$work/lines" && fail "make format changes these (number of places, file:line)"; }
