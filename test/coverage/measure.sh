# Builds library and tests so that they count what they take, runs test/unit in every way in which test/run does, and merges
# what was counted into build/coverage/all.json. Says which tests failed; status 1 if any did, 77 if it cannot be done here.
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top"
folder=build/coverage
: "${MAKE:=make}"
unset MAKEFLAGS MFLAGS MAKELEVEL

missing() { echo "$*" && exit 77; }
[ "$(uname -s)" = Linux ] || missing "Linux alone has both builds"
command -v gcc >/dev/null && command -v gcov >/dev/null || missing "gcc is missing"
command -v gcovr >/dev/null || missing "gcovr is missing"

export CC=gcc CFLAGS='-O0 -g --coverage -fprofile-update=atomic -fdata-sections'
export LDFLAGS="$top/$folder/forked.o -Wl,-T,$top/test/coverage/counters.ld"
export PROC_TEST_PATIENCE=3
export GCOV_ERROR_FILE=/dev/null # a program may end with no right, or no descriptor, to write what it has counted

# measure SYSTEM LAUNCHER [VARIABLE=VALUE]
measure() (
    system=$1 log="$folder/log.$1.$2${3:+.${3#*=}}"
    export PROC_TEST_LAUNCHER="$2"
    [ $# -lt 3 ] || export "${3?}"
    BUILD=$folder/$system MAKE="$MAKE SYSTEM=$system" test/run unit >"$log" 2>&1 || {
        grep -v ' passed$' "$log"
        touch "$folder/failed"
    }
)

mkdir -p $folder
rm -f $folder/failed $folder/*.json
find $folder -name '*.gcda' -delete
$CC -O2 -Wall -Wextra -c -o $folder/forked.o test/coverage/forked.c
for system in native posix; do
    $MAKE -s -j2 SYSTEM=$system BUILD=$folder/$system tests
done

(measure native vfork && measure native fork) &
(measure posix posix && measure native vfork PROC_TEST_EXITWATCH=thread) &
wait

for system in native posix; do
    gcovr -r . --gcov-executable "$top/test/coverage/gcov" --exclude-throw-branches --exclude-unreachable-branches \
        --filter src/ --json $folder/$system.json $folder/$system/obj
done
gcovr -r . -a $folder/native.json -a $folder/posix.json --json $folder/all.json
[ ! -e $folder/failed ]
