# The tests of test/unit with POSIX_ONLY=1, by each compiler there is.
. "$(dirname "$0")/../checks/prelude"

for compiler in gcc clang; do
    if have $compiler; then
        suite unit BUILD=build/posix-$compiler CC=$compiler POSIX_ONLY=1 WERROR=1
    else
        echo "skipped: $compiler is missing: install it"
        suite_skipped=$((suite_skipped + 1))
    fi
done
total
