#!/bin/sh
# Fails each system call, each allocation and each thread's start of each scenario of test/fault, on both builds. For every
# day a part of the cases, chosen by SEED (the day's, unless it is given) and FRACTION (0.3), less than two minutes in all; with
# FULL=1 every one, and once more under the address sanitizer. A case that failed is printed with the command that runs it again.
# shellcheck source-path=SCRIPTDIR/../checks
. "$(dirname "$0")/../checks/prelude"

[ "$(uname -s)" = Linux ] || skip "the shim is written for Linux"
seed=${SEED:-$(date +%Y%m%d)}
fraction=${FRACTION:-0.3}
if [ "${FULL:-0}" != 0 ]; then fraction=1; fi

$make BUILD=build/native fault
$make POSIX_ONLY=1 BUILD=build/posix fault

# What cannot fail is worth nothing: each fault of test/fault/mutants has to be found.
find_mutant() { # NAME FILE SCENARIO SED-SCRIPT
    mutant=build/native/mutant/$1
    mkdir -p build/native/mutant
    sed "$4" "$2" >"$mutant.c"
    if cmp -s "$2" "$mutant.c"; then fail "test/fault/mutants: $1 no longer fits $2"; fi
    $make BUILD=build/native REPLACES="$2" "$mutant" || fail "test/fault/mutants: $1 does not compile"
    if "$mutant" -x -p 5 "$3" >"$work/mutant"; then fail "A fault that was put in was not found: $1"; fi
    grep FAILED "$work/mutant" | sed "s/^FAILED/mutant $1:/"
}
grep -v '^#' test/fault/mutants >"$work/mutants"
while read -r name file scenario script; do
    find_mutant "$name" "$file" "$scenario" "$script"
done <"$work/mutants"

builds="native posix"
if [ "$fraction" = 1 ]; then
    # What is read or written after it was freed on the way out of an error shows only so.
    $make BUILD=build/fault-asan CFLAGS="-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all" fault &&
        builds="$builds fault-asan"
fi

run() { # BUILD
    nice env ASAN_OPTIONS=detect_leaks=0 "build/$1/fault/fault" -s "$seed" -f "$fraction" >"$work/$1" 2>&1 ||
        echo failed >"$work/$1.failed"
}

for build in $builds; do
    run "$build" &
done
wait

for build in $builds; do
    echo "$build, SEED=$seed, FRACTION=$fraction:"
    sed 's/^/    /' "$work/$build"
done
for build in $builds; do
    [ ! -e "$work/$build.failed" ] || fail "FAULTS FOUND"
done
