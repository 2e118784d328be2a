# shellcheck shell=sh
# Builds library and tests so that they count what they take, runs test/unit in every way in which test/run does and the
# cases of test/fault, and merges what was counted into build/coverage/all.json. Says which tests failed; status 1 if any
# did, 77 if it cannot be done here.
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top"
folder=build/coverage
: "${MAKE:=make}"
unset MAKEFLAGS MFLAGS MAKELEVEL CPPFLAGS CFLAGS LDFLAGS

have() { command -v "$1" >/dev/null 2>&1; }
skip() { echo "$*" && exit 77; }
[ "$(uname -s)" = Linux ] || skip "Linux alone has both builds"
have gcov || skip "gcov is missing: install gcc"
have gcovr || skip "gcovr is missing"

export CC=gcc COVERAGE=1 PROC_TEST_PATIENCE=3
export GCOV_ERROR_FILE=/dev/null # a program may end with no right, or no descriptor, to write what it has counted

# measure POSIX_ONLY BUILD [VARIABLE=VALUE...]
measure() (
    export POSIX_ONLY="$1" BUILD="$folder/$2"
    log=$folder/log.$(echo "$2 ${3:-}" | tr -d " ")
    shift 2
    env "$@" test/run unit >"$log" 2>&1 || {
        grep -v ' passed$' "$log"
        touch "$folder/failed"
    }
)

# fail_calls BUILD: a part of the cases, always the same, and all of two scenarios. Whether they pass is for check-fault to say.
fail_calls() {
    "$folder/$1/fault/fault" -s 1 -f 0.3 >"$folder/log.fault.$1" 2>&1 || true
    "$folder/$1/fault/fault" -s 1 -f 1 terminal messages >>"$folder/log.fault.$1" 2>&1 || true
}

mkdir -p $folder
rm -f $folder/failed $folder/*.json $folder/log.*
find $folder -name '*.gcda' -delete
$MAKE -s -j2 POSIX_ONLY= BUILD=$folder/native tests fault
$MAKE -s -j2 POSIX_ONLY=1 BUILD=$folder/posix tests fault

(measure '' native && measure '' native PROC_TEST_LAUNCHER=fork && fail_calls native) &
(measure 1 posix && measure '' native PROC_TEST_EXITWATCH=thread && fail_calls posix) &
wait

for build in native posix; do
    gcovr -r . --gcov-executable "$top/test/coverage/gcov" --exclude-throw-branches --exclude-unreachable-branches \
        --filter src/ --json $folder/$build.json $folder/$build/obj
done
gcovr -r . -a $folder/native.json -a $folder/posix.json --json $folder/all.json
[ ! -e $folder/failed ]
