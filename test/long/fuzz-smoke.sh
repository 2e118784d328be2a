# Each fuzz target for SECONDS_EACH (10) seconds, with clang's fuzzer and sanitizers.
. "$(dirname "$0")/../checks/prelude"

have clang || skip "clang is missing"
echo 'int LLVMFuzzerTestOneInput(const char *data, long size) { return (int)(size * 0 * (data == 0)); }' >"$work/none.c"
clang -fsanitize=fuzzer,address,undefined -o "$work/none" "$work/none.c" 2>/dev/null ||
    skip "clang has no fuzzer here: install libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev"

$make fuzz-smoke SECONDS_EACH="${SECONDS_EACH:-10}" >"$work/log" 2>&1 || { tail -n 60 "$work/log" && fail "a target has failed"; }
grep '^stat::number_of_executed_units' "$work/log"
