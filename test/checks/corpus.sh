# What the fuzz targets have learned still holds: each runs its corpus, on both builds, without a fuzzer.
. "$(dirname "$0")/prelude"

names=$(cd test/fuzz && ls fuzz_*.c | sed 's/^fuzz_\(.*\)\.c$/\1/')
$make BUILD=build/native replays
$make BUILD=build/posix POSIX_ONLY=1 replays
for name in $names; do
    [ -d "test/fuzz/corpus/$name" ] || fail "fuzz_$name has no corpus"
    for build in native posix; do
        timeout 60 "build/$build/replay/$name" "test/fuzz/corpus/$name" || fail "$name, $build: status $?"
    done
done
