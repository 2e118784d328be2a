# Both libraries compile with clang, without a warning.
. "$(dirname "$0")/prelude"
have clang || skip "clang is missing"

$make CC=clang WERROR=1 BUILD=build/clang all
$make CC=clang WERROR=1 BUILD=build/clang-posix POSIX_ONLY=1 all
